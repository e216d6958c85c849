"""The place of a measurement: a HOME of its own, the programs, a runner, and
what every row needs to push, to run a hook by itself and to wait."""
import json
import os
import signal
import statistics
import subprocess
import time

from history import git

CONFIG = {
    "user.name": "A", "user.email": "a@example.com", "init.defaultBranch": "main", "gc.auto": "0",
    "receive.autogc": "false", "maintenance.auto": "false", "advice.detachedHead": "false",
    "models.engine": "process", "models.allowProcess": "unsandboxed", "models.retry.lost": "1",
}


class Broken(Exception):
    """Something does not do what it is for: no figure can make up for it."""


def ms(seconds):
    return round(seconds * 1000, 1)


def median(values):
    return statistics.median(values)


def pairs(ours, others):
    """The medians of a list of pairs: ours, its ratio and its difference."""
    both = list(zip(ours, others))
    return {
        "ms": ms(median(ours)), "ratio": round(median(a / b for a, b in both), 2),
        "more_ms": ms(median(a - b for a, b in both)),
    }


class Site:
    def __init__(self, root, rounds):
        self.root, self.rounds = root, rounds
        self.home = f"{root}/home"  # a state directory with a runner, when one is started
        self.quiet = f"{root}/quiet"  # and one where none ever answers
        self.runner = None
        for key, value in CONFIG.items():
            git("config", "--global", key, value, at=root)

    def path(self, name):
        return f"{self.root}/{name}"

    def install(self, server, home=None):
        git("models", "--home", home or self.home, "install", server, at=self.root)

    def bare(self, name, home=None):
        """An empty bare repository, installed in home."""
        server = self.path(name)
        git("init", "-q", "--bare", server, at=self.root)
        self.install(server, home)
        return server

    # The runner.

    def start_runner(self):
        log = open(self.path("runner.log"), "ab")
        self.runner = subprocess.Popen(["git-models", "--home", self.home, "runner"], cwd=self.root,
                                       stdout=log, stderr=log)
        socket = f"{self.home}/runner.sock"
        self.until(lambda: os.path.exists(socket) and self.answers(), 30, "the runner to answer")

    def answers(self):
        return subprocess.run(["git-models", "--home", self.home, "ls", "--all", "-n", "1"], cwd=self.root,
                              capture_output=True).returncode == 0

    def stop_runner(self):
        if self.runner:
            self.runner.send_signal(signal.SIGTERM)
            self.runner.wait()
            self.runner = None

    def until(self, done, seconds, what, every=0.01):
        end = time.monotonic() + seconds
        while True:
            answer = done()
            if answer:
                return answer
            if time.monotonic() > end:
                raise Broken(f"waited {seconds} s for {what}")
            time.sleep(every)

    def spooled(self):
        try:
            return len(os.listdir(f"{self.home}/spool/new"))
        except FileNotFoundError:
            return 0

    def rows(self, *where):
        """What `git models ls --json` lists, of one repository or of all."""
        at, which = (where[0], []) if where else (self.root, ["--all"])
        return json.loads(git("models", "--home", self.home, "ls", "--json", *which, at=at))

    def settle(self, seconds=120):
        """Until everything that was pushed is recorded and has ended."""
        self.until(lambda: not self.spooled(), seconds, "the spool to be read")
        self.until(lambda: all(r["finished"] or r["run"] is None for r in self.rows()), seconds,
                   "all runs to end", every=0.05)

    # Pushes and hooks.

    def commit(self, work, subject="step", files=None):
        """One more commit in work; it changes nothing unless files are given."""
        for path, text in (files or {}).items():
            os.makedirs(os.path.dirname(f"{work}/{path}") or work, exist_ok=True)
            with open(f"{work}/{path}", "w") as f:
                f.write(text)
            git("add", path, at=work)
        git("commit", "-q", "--allow-empty", "-m", subject, at=work)
        return git("rev-parse", "HEAD", at=work)

    def push(self, work, server, *refs):
        """Pushes and returns how long it took, in seconds."""
        start = time.perf_counter()
        done = subprocess.run(["git", "push", "-q", server, *refs], cwd=work, capture_output=True, text=True)
        took = time.perf_counter() - start
        if done.returncode:
            raise Broken(f"git push {server} {' '.join(refs)}: {done.stderr}")
        return took

    def quarantine(self, server, work, new, old):
        """The environment of pre-receive with the objects between old and new
        (either may be empty) in a folder of their own, as receive-pack makes it:
        loose below receive.unpackLimit, in a pack from there on."""
        folder = f"{server}/objects/tmp_objdir-incoming-{new[:12]}-{len(os.listdir(server + '/objects'))}"
        os.makedirs(folder)
        env = {**os.environ, "GIT_DIR": ".", "GIT_PUSH_OPTION_COUNT": "0", "GIT_QUARANTINE_PATH": folder,
               "GIT_OBJECT_DIRECTORY": folder, "GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{server}/objects"}
        lines = new + "\n" + "".join(f"^{o}\n" for o in old)
        pack = subprocess.run(["git", "pack-objects", "--revs", "--thin", "--stdout", "-q"], cwd=work,
                              input=lines.encode(), capture_output=True, check=True).stdout
        if int.from_bytes(pack[8:12], "big"):
            unpack = ["unpack-objects", "-q"] if int.from_bytes(pack[8:12], "big") < 100 else ["index-pack", "--stdin", "--fix-thin"]
            subprocess.run(["git", *unpack], cwd=server, env=env, input=pack, capture_output=True, check=True)
        return env

    def hook(self, program, server, line, env, status=0):
        """Runs one hook by itself; returns how long it took and what it said."""
        start = time.perf_counter()
        done = subprocess.run([program], cwd=server, env=env, input=line.encode(), capture_output=True)
        took = time.perf_counter() - start
        if done.returncode != status:
            raise Broken(f"{program} in {server} ended with {done.returncode}: {done.stderr.decode()}")
        return took, done.stderr.decode()
