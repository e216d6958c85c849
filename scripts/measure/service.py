"""What the service does with pushes: how soon, how many, and none twice."""
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from datetime import datetime

from history import FILES, KEEP_MEMORY, blob, commit as import_commit, fast_import, git
from place import Broken, median, ms, pairs

# A job that writes down when it began, when it was told to stop and when it
# ended, by the commit; src/ends says how it ends, and src/waits whether it waits.
JOB = """set -eu
now() { date +%s.%N; }
mark() { now > "MARKS/$GIT_SHORT_SHA.$1.$$"; }
mark begun
trap 'mark told; exit 1' TERM
if [ -f src/waits ]; then sleep 60 & wait; fi
mark ended
exit "$(cat src/ends)"
"""


def project(site, name="work"):
    """A training repository whose jobs leave marks in the folder marks."""
    marks, work = site.path("marks"), site.path(name)
    os.makedirs(marks, exist_ok=True)
    git("init", "-q", work, at=site.root)
    files = FILES | {"src/train.sh": JOB.replace("MARKS", marks), "src/ends": "0\n"}
    site.commit(work, "first", files)
    return work


def marks(site, kind):
    """The marks of that kind: (short name of the commit, time) of each."""
    found = []
    for name in os.listdir(site.path("marks")):
        short, what, _ = name.split(".")
        if what == kind:
            with open(site.path(f"marks/{name}")) as f:
                text = f.read()
            if text.endswith("\n"):
                found.append((short, float(text)))
    return found


def mark(site, kind, commit, seconds=30):
    """Waits for the mark of that commit."""
    return site.until(lambda: next((at for short, at in marks(site, kind) if commit.startswith(short)), None),
                      seconds, f"a job to be {kind}", every=0.005)


def stamp(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def first_stage(site):
    """From the accepted push to the first stage of its run, with a runner up."""
    work, server = project(site), site.bare("server.git")
    site.start_runner()
    stage, job = [], []
    for i in range(-1, site.rounds):
        new = site.commit(work, f"step {i}", {"src/step": f"{i}\n"})
        site.push(work, server, "HEAD:models")
        begun = mark(site, "begun", new)
        site.settle()
        row = shown(site, server, new)
        if i >= 0:
            accepted = stamp(row["pushes"][0]["at"])
            stage.append(stamp(row["started"]) - accepted)
            job.append(begun - accepted)
    figure = ms(median(stage))
    yield {
        "row": "accepted push → first stage started, a runner is up",
        "figure": f"{figure} ms (the job's own first line after {ms(median(job))} ms)",
        "reach": "median ≤ 50 ms", "met": figure <= 50,
        "how": f"from the time in the spool's entry to the time in the ledger; median of {site.rounds}",
        "values": {"stage_ms": figure, "job_ms": ms(median(job))},
    }


def shown(site, server, commit):
    return json.loads(git("models", "--home", site.home, "show", "--json", commit, at=server))


def told(site):
    """From a failure to its note; from a pushed cancel to the job's SIGTERM."""
    work, server = project(site), site.bare("server.git")
    site.start_runner()
    rounds = max(1, min(site.rounds, 10))
    noted, cancelled = [], []
    for i in range(rounds):
        new = site.commit(work, f"fail {i}", {"src/ends": f"{3 + i}\n"})
        site.push(work, server, "HEAD:models")
        ended = mark(site, "ended", new)
        site.until(lambda: has_note(server, new), 30, "a note", every=0.005)
        noted.append(os.stat(f"{server}/refs/notes/models").st_mtime - ended)
        site.settle()
    yield soon("failure → note published", noted, 2)
    for i in range(rounds):
        new = site.commit(work, f"wait {i}", {"src/waits": f"{i}\n"})
        site.push(work, server, "HEAD:models")
        mark(site, "begun", new)
        asked = time.time()
        site.push(work, server, f"{new}:refs/run/cancel")
        cancelled.append(mark(site, "told", new) - asked)
        site.settle()
        if shown(site, server, new)["state"] != "cancelled":
            raise Broken(f"{new} was cancelled and is not")
        if left := git("for-each-ref", "refs/run", at=server):
            raise Broken(f"a control ref stayed: {left}")
    yield soon("cancel pushed → the job is told (SIGTERM)", cancelled, 1)


def soon(what, values, reach):
    return {
        "row": what, "figure": f"{ms(median(values))} ms (at most {ms(max(values))} ms)",
        "reach": f"≤ {reach} s", "met": max(values) <= reach,
        "how": f"the job writes down the time; median of {len(values)}",
        "values": {"median_ms": ms(median(values)), "most_ms": ms(max(values))},
    }


def has_note(server, commit):
    return subprocess.run(["git", "notes", "--ref=models", "show", commit], cwd=server, capture_output=True).returncode == 0


def load(site):
    """Many pushes to many repositories at once."""
    pushes, repositories = (200, 20) if site.rounds >= 10 else (40, 4)
    git("config", "--global", "models.limit.runs", "4", at=site.root)
    work = project(site)
    served = [site.bare(f"served{i}.git") for i in range(repositories)]
    plain = [site.path(f"plain{i}.git") for i in range(repositories)]
    for server in plain:
        git("init", "-q", "--bare", server, at=site.root)
    for server in served + plain:
        site.push(work, server, "HEAD:main")
    expected = set()

    def wave(servers, name):
        """All pushes at once: returns how many a second."""
        ready = []
        for i in range(pushes):
            git("checkout", "-q", "--detach", "main", at=work)
            ready.append((servers[i % repositories], site.commit(work, f"{name} {i}"), f"models/{name}-{i}"))
        start = time.perf_counter()
        running = [subprocess.Popen(["git", "push", "-q", server, f"{new}:refs/heads/{branch}"], cwd=work,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for server, new, branch in ready]
        for child, (server, _, branch) in zip(running, ready):
            said = child.communicate()[1]
            if child.returncode:
                raise Broken(f"a push of {branch} to {server}: {said.decode()}")
        took = time.perf_counter() - start
        if servers is served:
            expected.update((os.path.basename(server)[:-4], new) for server, new, _ in ready)
        return pushes / took

    quiet, up, bare = [], [], []
    for i in range(1 if site.rounds < 10 else 3):
        bare.append(wave(plain, f"bare{i}"))
        quiet.append(wave(served, f"quiet{i}"))
    site.start_runner()
    bare.append(wave(plain, "bare-up"))
    up.append(wave(served, "up"))
    site.settle(600)
    once(site, expected)
    ratio, ratio_up = median(q / b for q, b in zip(quiet, bare)), up[0] / bare[-1]
    yield {
        "row": f"{pushes} pushes to {repositories} repositories at once",
        "figure": f"all recorded, each trained once; {median(quiet):.0f} pushes a second, {ratio:.2f} of those without "
                  f"hooks ({median(bare):.0f}); {up[0]:.0f} ({ratio_up:.2f}) while a runner trains them",
        "reach": "all recorded, none twice", "met": True,
        "how": f"{len(quiet)} pairs of waves before the runner starts, one after; every commit looked up in ledger, notes and jobs",
        "values": {"hooks": round(median(quiet), 1), "without": round(median(bare), 1), "runner": round(up[0], 1)},
    }


def once(site, expected):
    """Every expected (repository, commit) has one run and one job, and there is
    nothing else."""
    rows = site.rows()
    listed = [(r["repository"], r["commit"]) for r in rows if r["run"]]
    if sorted(listed) != sorted(expected):
        missing, more = expected - set(listed), set(listed) - expected
        raise Broken(f"{len(missing)} pushes are not recorded, {len(more)} runs were not pushed, "
                     f"{len(listed) - len(set(listed))} are listed twice")
    for r in rows:
        if r["run"] and (r["state"] != "succeeded" or r["attempt"] != 1 or r["decision"] != "run"):
            raise Broken(f"{r['commit']} of {r['repository']}: {r['decision']}, {r['state']}, attempt {r['attempt']}")
    begun = sorted(short for short, _ in marks(site, "begun"))
    if begun != sorted(commit[:7] for _, commit in expected):
        raise Broken(f"{len(begun)} jobs ran for {len(expected)} pushes")


def spool(site):
    """A runner that comes up finds many pushes waiting."""
    pushes = 10_000 if site.rounds >= 10 else 500
    work, server = project(site), site.bare("server.git")
    first = git("rev-parse", "HEAD", at=work)
    site.push(work, server, "HEAD:models")
    site.start_runner()
    site.settle()
    site.stop_runner()
    fast_import(server, (import_commit("refs/heads/models", n, 1_700_000_000 + n, "from refs/heads/models^0\n" if n == 1 else "",
                                       blob("src/step", f"{n}\n")) for n in range(1, pushes + 1)))
    commits = [first, *git("rev-list", "--reverse", f"{first}..models", at=server).split()]
    # What a repository that keeps logs of its refs has after these pushes.
    with open(f"{server}/logs/refs/heads/models", "a") as f:
        for i in range(pushes):
            f.write(f"{commits[i]} {commits[i + 1]} A <a@example.com> {1_700_000_000 + i} +0000\tpush\n")
    for i in range(pushes):
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + i))
        entry = {"id": f"{at.replace('-', '').replace(':', '')}.{i:09}Z-{random.getrandbits(64):016x}", "repository": server,
                 "updates": [{"old": commits[i], "new": commits[i + 1], "ref": "refs/heads/models"}],
                 "pusher": {"name": "a"}, "at": f"{at}Z"}
        with open(f"{site.home}/spool/new/{entry['id']}.json", "w") as f:
            json.dump(entry, f)
        os.chmod(f.name, 0o640)
    start = time.perf_counter()
    site.start_runner()
    site.until(lambda: not site.spooled(), 900, "the spool to be read", every=0.02)
    took = time.perf_counter() - start
    site.stop_runner()
    rows = site.rows(server)
    if sorted(r["commit"] for r in rows) != sorted(commits):
        raise Broken(f"{len(rows)} commits are recorded, want {len(commits)}")
    if bad := os.listdir(f"{site.home}/spool/bad"):
        raise Broken(f"{len(bad)} spool entries were set aside")
    if len({r["run"] for r in rows} - {None}) != len(commits):
        raise Broken("a commit that changed what trains has no run of its own")
    yield {
        "row": f"{pushes:,} spool entries imported",
        "figure": f"{took:.1f} s", "reach": "≤ 10 s" if pushes == 10_000 else "", "met": took <= 10 if pushes == 10_000 else None,
        "how": "from the runner's start until the spool is empty; fast-forwards of one branch, each with a change that trains",
        "values": {"seconds": round(took, 2)},
    }


def ledger(site):
    """The ledger by itself, and `git models ls`, with a long past."""
    runs = 100_000 if site.rounds >= 10 else 2000
    server = site.bare("server.git")
    # A short stay in memory, so that filling does not wait for the disk.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as quick:
        shutil.copy(f"{site.home}/ledger.db", quick)
        subprocess.run([os.environ["FILL"], "runs", quick, server, str(runs), str(2 * site.rounds)], check=True)
        shutil.copy(f"{quick}/ledger.db", site.home)
    rows = site.rows(server)
    if len(rows) != runs + 2 * site.rounds:
        raise Broken(f"{len(rows)} runs are listed, want {runs + 2 * site.rounds}")
    started = [start_to_end(["git", "models", "--home", site.home, "ls"], server) for _ in range(site.rounds + 2)][2:]
    took = json.loads(subprocess.run([os.environ["FILL"], "times", site.home, server, str(site.rounds)],
                                     check=True, capture_output=True, text=True).stdout)
    size = f"{took['bytes'] / 1e6:.0f} MB"
    for what, figure, reach, how in (
        ("ls", took["list_ms"], 100, f"the newest 31 rows from the ledger ({size}); median of {site.rounds}"),
        ("claim", took["claim_ms"], 5, f"a claim of one of {2 * site.rounds} queued runs, durable; median of {site.rounds}"),
        ("`git models ls` start to end", ms(median(started)), 100, f"the command on the server, no runner; median of {site.rounds}"),
    ):
        yield {
            "row": f"{runs:,} runs: {what}", "figure": f"{figure:.1f} ms", "reach": f"≤ {reach} ms",
            "met": figure <= reach, "how": how, "values": {"ms": figure},
        }


def start_to_end(argv, at):
    start = time.perf_counter()
    subprocess.run(argv, cwd=at, check=True, capture_output=True)
    return time.perf_counter() - start


def ls(site):
    """`git models ls` from its start to its end, where most people type it."""
    runs = 50
    work, server = project(site), site.bare("server.git")
    git("remote", "add", "origin", server, at=work)
    site.start_runner()
    for i in range(runs if site.rounds >= 10 else 3):
        site.commit(work, f"step {i}", {"src/step": f"{i}\n"})
        site.push(work, "origin", "HEAD:models")
        site.settle()
    git("models", "install", at=work)
    site.until(lambda: git("fetch", "-q", "origin", at=work) == "" and has_note(work, "HEAD"), 30, "the last note")
    ways = {"on the server, a runner answers": server, "in a clone, from its notes": work}
    took = {way: [] for way in ways}
    for i in range(-2, site.rounds):
        for way, at in ways.items():
            seconds = start_to_end(["git", "models", "--home", site.home, "ls"] if at == server else ["git", "models", "ls"], at)
            if i >= 0:
                took[way].append(seconds)
    for way, values in took.items():
        figure = ms(median(values))
        yield {
            "row": f"`git models ls` start to end, warm, {way}", "figure": f"{figure} ms", "reach": "≤ 60 ms",
            "met": figure <= 60, "how": f"median of {site.rounds}", "values": {"ms": figure},
        }


def tags(site):
    """Pushes to a repository with a long past, by what it left in the refs."""
    outcomes = 10_000 if site.rounds >= 10 else 300
    best = outcomes // 100  # a run that beats all before it is rare
    work = project(site)
    fast_import(work, (import_commit("refs/heads/main", n, 1_600_000_000 + n, "from refs/heads/main^0\n" if n == 1 else "",
                                     blob("src/step", f"{n}\n")) for n in range(1, outcomes + 1)))
    git("reset", "-q", "--hard", at=work)
    past = git("rev-list", "--reverse", "main", at=work)
    servers = {}
    for name, tagged in (("none", 0), ("best", best), ("succeeded", outcomes)):
        server = servers[name] = site.bare(f"{name}.git", site.quiet)
        git("config", "models.tags", name, at=server)
        site.push(work, server, "HEAD:models")
        stream = subprocess.run([os.environ["FILL"], "outcomes", str(tagged)], input=past, check=True, capture_output=True, text=True).stdout
        subprocess.run(["git", "fast-import", "--quiet", "--done"], cwd=server, input=stream, text=True, check=True,
                       env={**os.environ, **KEEP_MEMORY})
        git("-c", "repack.writeBitmaps=false", "repack", "-a", "-d", "-q", at=server)
        git("pack-refs", "--all", at=server)
        git("commit-graph", "write", "--reachable", at=server)
    took = {name: [] for name in servers}
    for i in range(-2, site.rounds):
        site.commit(work, f"push {i}")
        for name in random.sample(list(servers), len(servers)):
            seconds = site.push(work, servers[name], "HEAD:models")
            if i >= 0:
                took[name].append(seconds)
    for name, reach in (("best", 1.1), ("succeeded", None)):
        p = pairs(took[name], took["none"])
        yield {
            "row": f"push to a repository with {outcomes:,} recorded outcomes, `models.tags = {name}`",
            "figure": f"{p['ratio']} × the same with none ({p['ms']} ms, {p['more_ms']} ms more)",
            "reach": f"≤ {reach} ×" if reach else "shown", "met": p["ratio"] <= reach if reach else None,
            "how": f"a note and a kept commit for each, {best if name == 'best' else outcomes:,} tags; both hooks; "
                   f"medians of {site.rounds} pairs",
            "values": p,
        }
