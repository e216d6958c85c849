"""What the hooks cost a push, as a whole and part by part."""
import os
import random
import subprocess
import tempfile
import time

from history import commit as import_commit, fast_import, git, server_of, work_of
from place import Broken, median, ms, pairs

# What post-receive finds in its environment.
PASSED = {**os.environ, "GIT_DIR": ".", "GIT_PUSH_OPTION_COUNT": "0"}


def prepare(site, history):
    """The work repository and a server for each way of serving it."""
    work = work_of(history, site.path("work"))
    servers = {name: server_of(history, site.path(f"{name}.git")) for name in ("plain", "gate", "quiet", "served")}
    for name in ("gate", "quiet"):
        site.install(servers[name], site.quiet)
    site.install(servers["served"])
    git("config", "models.validate", "off", at=servers["gate"])
    os.remove(f"{servers['gate']}/hooks/post-receive")
    return work, servers


def whole(site, history):
    """Pushes of one and of five commits, with and without hooks in turn."""
    work, servers = prepare(site, history)
    site.start_runner()
    times = {}
    for commits in (1, 5):
        for i in range(-2, site.rounds):  # the first two warm the caches
            for n in range(commits):
                site.commit(work, f"step {i} {n}")
            for name in random.sample(list(servers), len(servers)):
                took = site.push(work, servers[name], "main:models")
                if name == "served":
                    site.until(lambda: not site.spooled(), 30, "the spool to be read")
                    time.sleep(0.02)  # the runner's own work must not weigh on the next push
                if i >= 0:
                    times.setdefault((name, commits), []).append(took)
    site.settle()
    recorded = {r["commit"] for r in site.rows(servers["served"])}
    pushed = git("rev-parse", "models", at=servers["served"])
    if pushed not in recorded:
        raise Broken(f"{pushed} was pushed and is not recorded")
    site.stop_runner()
    for name, what, ratio, more in (
        ("gate", "gate alone, `models.validate = off`", 1.4, None),
        ("quiet", "both hooks, validation on, no runner answers", 2, 18),
        ("served", "both hooks, validation on, a runner answers", 2, 18),
    ):
        for commits in (1, 5):
            p = pairs(times[name, commits], times["plain", commits])
            plain = ms(median(times["plain", commits]))
            yield {
                "row": f"{what}, {commits} commit{'s' if commits > 1 else ''}",
                "figure": f"{p['ratio']} ×, {p['more_ms']} ms more ({p['ms']} ms; without hooks {plain} ms)",
                "reach": f"≤ {ratio} ×" + (f" and ≤ {more} ms more" if more else ""),
                "met": p["ratio"] <= ratio and (more is None or p["more_ms"] <= more),
                "how": f"medians of {site.rounds} pairs of pushes, in random order",
                "values": p | {"plain_ms": plain},
            }


def cases(site, history, work, server):
    """What pre-receive is asked to judge: the line, its environment and the
    status it must end with, by name."""
    main = git("rev-parse", "main", at=history)
    tip = git("rev-parse", "models", at=server)

    def fresh(name, count, start):
        """A line of new commits on top of start, which no server has."""
        branch = f"refs/heads/{name}"
        began = 1_700_000_000
        fast_import(work, (import_commit(branch, n, began + n, f"from {start}\n" if n == 1 and start else "",
                                         "M 100644 inline new.txt\ndata 2\nx\n" if n == 1 else "")
                           for n in range(1, count + 1)))
        return git("rev-parse", branch, at=work)

    back = git("rev-parse", f"{main}~5", at=history)
    first = git("rev-list", "--max-parents=0", main, at=history)
    made = {
        "1 commit": (fresh("one", 1, tip), 0),
        "5 commits": (fresh("five", 5, tip), 0),
        "divergence": (fresh("aside", 1, back), 1),
        "rewind": (back, 1),
        "orphan": (fresh("orphan", 1, ""), 1),
        "very old tip": (first, 1),
        "10,000 new commits": (fresh("many", 10_000, tip), 0),
        "10,000 new commits that diverge": (fresh("elsewhere", 10_000, back), 1),
    }
    return {
        name: (f"{tip} {new} refs/heads/models\n", site.quarantine(server, work, new, [tip, main]), status)
        for name, (new, status) in made.items()
    }


def alone(site, history):
    """Each hook by itself, as receive-pack starts it: decisions, and parts."""
    work = work_of(history, site.path("alone"))
    server = server_of(history, site.path("alone.git"))
    loose = server_of(history, site.path("loose.git"))
    for path in (server, loose):
        site.install(path)
    for key in ("models.validate", "models.source"):
        git("config", key, "off", at=loose)
    gate, hand = f"{site.home}/bin/pre-receive", f"{site.home}/bin/post-receive"
    judged = cases(site, history, work, server)
    yield from decisions(site, gate, server, judged)
    moved, handed = moved_server(site, history, work)
    gated = (gate, server, *judged["1 commit"][:2])
    yield memory(site, gated, (hand, moved["quiet"], handed, PASSED))
    yield from parts(site, gated, loose, hand, moved, handed)


def decisions(site, gate, server, judged):
    took = {name: [] for name in judged}
    for i in range(-1, site.rounds):
        for name in random.sample(list(judged), len(judged)):
            line, env, status = judged[name]
            seconds, said = site.hook(gate, server, line, env, status)
            if status and "git-models: refused refs/heads/models: " not in said:
                raise Broken(f"{name} was refused without words: {said}")
            if i >= 0:
                took[name].append(seconds)
    for name, seconds in took.items():
        reach = 100 if name.startswith("10,000") else 10
        figure = ms(median(seconds))
        yield {
            "row": f"decision: {name}{', refused with words' if judged[name][2] else ''}",
            "figure": f"{figure} ms", "reach": f"≤ {reach} ms", "met": figure <= reach,
            "how": f"pre-receive by itself over a quarantine, files judged; median of {site.rounds}",
            "values": {"ms": figure},
        }


def memory(site, gated, handed):
    """The most that a hook and its children hold at one time: the sum of the
    peaks of the processes that are there together (resident sets, so that pages
    they share count in each), looked at without a pause while the hook runs."""
    peaks = {}
    for name, (program, server, line, env) in (("pre-receive", gated), ("post-receive", handed)):
        most = most_itself = 0
        for _ in range(max(site.rounds, 20)):
            with tempfile.TemporaryFile() as stdin:
                stdin.write(line.encode())
                stdin.seek(0)
                hook = subprocess.Popen([program], cwd=server, env=env, stdin=stdin, stderr=subprocess.DEVNULL)
                while hook.poll() is None:
                    itself = high_water(hook.pid)
                    most_itself = max(most_itself, itself)
                    most = max(most, itself + sum(map(high_water, children(hook.pid))))
        peaks[name], peaks[f"{name} itself"] = round(most / 1024, 1), round(most_itself / 1024, 1)
    figure = max(peaks["pre-receive"], peaks["post-receive"])
    return {
        "row": "memory of a hook with its children",
        "figure": f"{figure} MB (pre-receive {peaks['pre-receive']}, itself {peaks['pre-receive itself']}; "
                  f"post-receive {peaks['post-receive']}, itself {peaks['post-receive itself']})",
        "reach": "≤ 24 MB", "met": figure <= 24,
        "how": "sum of the peak resident sets of processes that run at one time, the most of many hooks",
        "values": peaks,
    }


def children(pid):
    """The processes that pid started and that are still there (proc(5))."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                found += f.read().split()
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def high_water(pid):
    """VmHWM of a process in KiB, 0 once it has ended (proc(5))."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def parts(site, gated, loose, hand, moved, handed):
    """Where the time of one small push goes: programs started with ever more to
    do, in turn; a part is the median difference between two of them."""
    gate, server, line, env = gated
    wiki = {"GITEA_REPO_IS_WIKI": "true"}  # none of ours: read the input, look for an older hook, go
    other = line.replace("refs/heads/models", "refs/heads/other")
    runs = {
        "true": lambda: site.hook("true", server, line, env),
        "gate, wiki, shim": lambda: site.hook(f"{server}/hooks/pre-receive", server, line, env | wiki),
        "gate, wiki": lambda: site.hook(gate, server, line, env | wiki),
        "gate, other": lambda: site.hook(gate, server, other, env),
        "gate, no files, no source": lambda: site.hook(gate, loose, line, env),
        "gate": lambda: site.hook(gate, server, line, env),
        "hand, other": lambda: site.hook(hand, moved["quiet"], other, PASSED),
        "hand": lambda: site.hook(hand, moved["quiet"], handed, PASSED),
        "hand, runner": lambda: site.hook(hand, moved["served"], handed, PASSED),
        "spool": lambda: (durable(site.quiet), ""),
    }
    took = {name: [] for name in runs}
    site.start_runner()
    for i in range(-1, max(site.rounds, 10)):
        for name in random.sample(list(runs), len(runs)):
            seconds, _ = runs[name]()
            if name == "hand, runner":
                site.until(lambda: not site.spooled(), 30, "the spool to be read")
            if i >= 0:
                took[name].append(seconds)
    site.stop_runner()
    for part, of, without in (
        ("starting any program from here", "true", None),
        ("the shim, each hook", "gate, wiki, shim", "gate, wiki"),
        ("pre-receive starts and reads its input", "gate, wiki", "true"),
        ("pre-receive reads the policy", "gate, other", "gate, wiki"),
        ("pre-receive asks history whether it is a fast-forward", "gate, no files, no source", "gate, other"),
        ("pre-receive judges the files, and looks for the tip on its source branch", "gate", "gate, no files, no source"),
        ("post-receive starts and reads the policy", "hand, other", "true"),
        ("post-receive spools, finds no runner, and words it", "hand", "hand, other"),
        ("of that, a durable file as the spool writes it", "spool", None),
        ("post-receive with a runner, against without: the ring and the receipt", "hand, runner", "hand"),
    ):
        values = took[of] if without is None else [a - b for a, b in zip(took[of], took[without])]
        yield {
            "row": f"part: {part}", "figure": f"{ms(median(values))} ms", "reach": "", "met": None,
            "how": "the program by itself" + (f", {of!r} less {without!r}" if without else ""),
            "values": {"ms": ms(median(values))},
        }


def moved_server(site, history, work):
    """Two servers that took one more commit before any hook was there, one whose
    state directory has a runner and one without; and the line of that push."""
    servers, new = {}, site.commit(work, "moved")
    for name, home in (("quiet", site.quiet), ("served", site.home)):
        server = servers[name] = server_of(history, site.path(f"moved-{name}.git"))
        old = git("rev-parse", "models", at=server)
        site.push(work, server, "HEAD:models")
        site.install(server, home)
    return servers, f"{old} {new} refs/heads/models\n"


def durable(home):
    """Writes a file of a spool entry's size as the spool does; returns how long
    it took, in seconds."""
    folder = f"{home}/spool/new"
    start = time.perf_counter()
    fd = os.open(f"{home}/spool/tmp/bench", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    os.write(fd, b"x" * 400)
    os.fsync(fd)
    os.close(fd)
    os.rename(f"{home}/spool/tmp/bench", f"{folder}/bench.json")
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    took = time.perf_counter() - start
    os.remove(f"{folder}/bench.json")
    return took
