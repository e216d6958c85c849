"""A long history, made once, and repositories that share its objects.

The history is a line of commits of which three in ten merge a side branch, in
one pack, without a bitmap (a bitmap makes a plain push ten times slower, and so
hides what hooks cost), with a current commit-graph."""
import os
import random
import shutil
import subprocess

VERSION = 1  # of the shape below: another number makes a new history

FILES = {
    ".models.yaml": "train:\n  command: [sh, src/train.sh]\n",
    "deploy/train-config.yaml": "optimizer:\n  lr: 0.01\nepochs: 20\nmodel:\n  name: net\n  hidden: 8\n",
    "src/train.sh": "exit 0\n",
    "README.md": "A project.\n",
}


def git(*words, at, **more):
    """Runs git in the folder at and returns what it printed."""
    done = subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(words)} in {at}: {done.stderr.strip()}")
    return done.stdout.strip()


def blob(path, text):
    return f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n"


def commit(ref, mark, seconds, links="", changes="", subject="step"):
    """One commit of a stream for git fast-import, which goes on from the tip of
    ref unless links ("from" and "merge" lines) say otherwise."""
    return (f"commit {ref}\nmark :{mark}\ncommitter A <a@example.com> {seconds} +0000\n"
            f"data {len(subject)}\n{subject}\n{links}{changes}\n")


# git fast-import asks for the memory of zlib anew for every object; kept by
# malloc instead of given back each time, it is twenty times as fast.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_TOP_PAD_": str(64 << 20)}


def fast_import(at, stream):
    """Feeds the parts of stream to git fast-import in the repository at."""
    fed = subprocess.Popen(["git", "-c", "pack.compression=1", "fast-import", "--quiet", "--done"],
                           cwd=at, stdin=subprocess.PIPE, env={**os.environ, **KEEP_MEMORY})
    part, size = [], 0
    for text in stream:
        part.append(text)
        size += len(text)
        if size > 1 << 20:
            fed.stdin.write("".join(part).encode())
            part, size = [], 0
    fed.stdin.write("".join(part).encode() + b"done\n")
    fed.stdin.close()
    if fed.wait():
        raise RuntimeError(f"git fast-import failed in {at}")


def long_history(commits):
    """The stream of the history: main, whose first commit holds FILES, and four
    lanes that merge main and are merged into it. git fast-import is quick with
    this shape: every commit goes on from the tip of its branch."""
    rng = random.Random(1)
    main = "refs/heads/main"
    yield commit(main, 1, 1_400_000_000, "", "".join(blob(*f) for f in FILES.items()), "first")
    tip, lanes = 1, {}  # of each lane its tip, 0 when main holds it
    for mark in range(2, commits + 1):
        on, links, dice = main, "", rng.random()
        lane = f"refs/heads/lane{rng.randrange(4)}"
        ahead = [x for x in lanes if lanes[x]]
        if len(ahead) > commits - mark:
            lane, dice = ahead[0], 0  # all of it is in main at last
        if dice < 0.15 and lanes.get(lane):
            links = f"merge :{lanes[lane]}\n"
            lanes[lane] = 0
        elif dice < 0.6:
            on = lane
            if lane not in lanes:
                links = f"from {main}\n"
            elif dice < 0.33:
                links = f"merge :{tip}\n"
            lanes[lane] = mark
        if on == main:
            tip = mark
        yield commit(on, mark, 1_400_000_000 + 60 * mark, links, blob("notes.txt", f"{mark}\n") if mark % 20 == 0 else "")


def cached(folder, commits):
    """The bare repository that holds the history, made on the first call."""
    path = os.path.join(folder, f"history-{VERSION}-{commits}.git")
    if os.path.isdir(path):
        return path
    making = f"{path}.making-{os.getpid()}"
    os.makedirs(folder, exist_ok=True)
    try:
        git("init", "-q", "--bare", making, at=folder)
        fast_import(making, long_history(commits))
        git("-c", "repack.writeBitmaps=false", "-c", "gc.auto=0", "repack", "-a", "-d", "-q", at=making,
            env={**os.environ, **KEEP_MEMORY})
        git("pack-refs", "--all", at=making)
        git("commit-graph", "write", "--reachable", at=making)
        os.rename(making, path)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return path


def server_of(history, path):
    """A bare repository at path with the history's objects, by hard links, a
    folder of refs and objects of its own, and models at main."""
    git("init", "-q", "--bare", path, at="/")
    try:
        shutil.copytree(f"{history}/objects", f"{path}/objects", copy_function=os.link, dirs_exist_ok=True)
    except OSError:  # another file system
        shutil.copytree(f"{history}/objects", f"{path}/objects", dirs_exist_ok=True)
    tip = git("rev-parse", "main", at=history)
    for branch in ("main", "models"):
        git("update-ref", f"refs/heads/{branch}", tip, at=path)
    return path


def work_of(history, path):
    """A work repository at path that borrows the history's objects."""
    git("init", "-q", path, at="/")
    with open(f"{path}/.git/objects/info/alternates", "w") as f:
        f.write(f"{history}/objects\n")
    git("reset", "-q", "--hard", git("rev-parse", "main", at=history), at=path)
    return path
