"""The table of what git-models costs: scripts/bench runs it in a HOME of its
own, with the programs in PATH."""
import json
import os
import subprocess
import sys

import history
import images
import place
import pushes
import service

# The rows, by the names that ROWS chooses from.
ROWS = {
    "push": lambda site, long: pushes.whole(site, long()),
    "hooks": lambda site, long: pushes.alone(site, long()),
    "first": lambda site, _: service.first_stage(site),
    "told": lambda site, _: service.told(site),
    "load": lambda site, _: service.load(site),
    "spool": lambda site, _: service.spool(site),
    "ledger": lambda site, _: service.ledger(site),
    "tags": lambda site, _: service.tags(site),
    "ls": lambda site, _: service.ls(site),
    "export": lambda site, _: images.export(site),
    "image": lambda site, _: images.image(site),
}


def main(root, as_json):
    commits, rounds = int(os.environ["COMMITS"]), int(os.environ["ROUNDS"])
    chosen = os.environ.get("ROWS", "").replace(",", " ").split() or list(ROWS)
    for name in chosen:
        if name not in ROWS:
            sys.exit(f"scripts/bench: ROWS names {name}, want some of {' '.join(ROWS)}")

    def long():
        print(f"a history of {commits} commits ...", file=sys.stderr)
        return history.cached(os.environ["BENCH_CACHE"], commits)

    rows, broken = [], []
    for name in chosen:
        # Every row has a folder, and so state directories, of its own.
        folder = os.path.join(root, name)
        os.mkdir(folder)
        site = place.Site(folder, rounds)
        print(f"{name} ...", file=sys.stderr)
        try:
            for row in ROWS[name](site, long):
                rows.append(row)
                print(f"  {row['row']}: {row['figure']}", file=sys.stderr)
        except place.Broken as e:
            broken.append(f"{name}: {e}")
            print(f"  BROKEN: {e}", file=sys.stderr)
        finally:
            site.stop_runner()
    if as_json:
        print(json.dumps({"commits": commits, "rounds": rounds, "rows": rows, "broken": broken}, indent=2))
    else:
        print_table(rows, commits)
    if broken:
        sys.exit("scripts/bench: does not do what it is for: " + "; ".join(broken))


def print_table(rows, commits):
    """The rows as a table in Markdown."""
    version = subprocess.run(["git", "--version"], capture_output=True, text=True).stdout.split()[2]
    print(f"A generated history of {commits:,} commits, three in ten merges, a current commit-graph,\n"
          f"no bitmap, pushes by path; git {version}, {os.cpu_count()} processors.\n")
    print("| what | measured | reach | |\n|---|---|---|---|")
    for row in rows:
        met = {True: "", False: "**missed**", None: ""}[row["met"]]
        print(f"| {row['row']} | {row['figure']} {met} | {row['reach']} | {row['how']} |".replace("  ", " "))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "--json")
