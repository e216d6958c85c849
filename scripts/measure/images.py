"""What images cost: exports, and the way from a push to a container."""
import os
import shutil
import subprocess
import time

from history import git
from place import Broken, median, ms, pairs
from service import shown, stamp

# The job's first line is the time since the machine started, which a container
# has in common with its host.
JOB = 'cat /proc/uptime > "$ARTIFACTS_DIR/begun"\n'


def export(site):
    """10,000 files, 200 MB: our export beside git archive | tar x, in turn."""
    files, size = 10_000, 20_000
    server = site.path("large.git")
    git("init", "-q", "--bare", server, at=site.root)
    stream = ["commit refs/heads/main\ncommitter A <a@example.com> 1700000000 +0000\ndata 1\n.\n"]
    with subprocess.Popen(["git", "fast-import", "--quiet"], cwd=server, stdin=subprocess.PIPE) as importer:
        importer.stdin.write(stream[0].encode())
        for i in range(files):
            data = os.urandom(size // 2).hex().encode()
            importer.stdin.write(b"M 100644 inline src/%d/%d\ndata %d\n%b\n" % (i % 100, i, len(data), data))
    if importer.returncode:
        raise Broken("git fast-import failed")
    commit = git("rev-parse", "refs/heads/main", at=server)
    ours, theirs, most = [], [], 0
    for i in range(max(3, min(site.rounds, 7))):
        target = site.path("ours")
        start = time.perf_counter()
        used = subprocess.run([os.environ["EXPORT"], server, commit, target], capture_output=True, check=True, text=True).stdout
        ours.append(time.perf_counter() - start)
        most = max(most, int(used))
        shutil.rmtree(target)
        os.mkdir(target)
        start = time.perf_counter()
        archive = subprocess.Popen(["git", "archive", commit], cwd=server, stdout=subprocess.PIPE)
        subprocess.run(["tar", "x", "-C", target], stdin=archive.stdout, check=True)
        if archive.wait():
            raise Broken("git archive failed")
        theirs.append(time.perf_counter() - start)
        shutil.rmtree(target)
    used = subprocess.run([os.environ["EXPORT"], server, commit, site.path("none"), "src"], capture_output=True, check=True, text=True).stdout
    values = pairs(ours, theirs)
    yield {
        "row": "export of 10,000 files, 200 MB", "reach": "≤ 1.1 ×, memory flat",
        "figure": f"{values['ratio']} × `git archive \\| tar x` ({values['ms']} ms), {most / 1024:.1f} MB; as a build context {int(used) / 1024:.1f} MB",
        "met": values["ratio"] <= 1.1 and most < 64 << 10, "how": f"{len(ours)} pairs; the most memory of the process itself",
        "values": values | {"export_kib": most, "context_kib": int(used)},
    }


class Engine:
    """A docker daemon of the bench's own, and a registry with a base image."""

    def __init__(self, site):
        self.dir = site.path("docker")
        os.mkdir(self.dir)
        self.host = f"unix://{self.dir}/sock"
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", f"{self.dir}/data", "--exec-root", f"{self.dir}/exec", "--pidfile", f"{self.dir}/pid", "-H", self.host,
             "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"],
            stdout=open(f"{self.dir}/log", "wb"), stderr=subprocess.STDOUT)
        self.registry = subprocess.Popen([os.environ["REGISTRY"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = self.registry.stdout.readline().strip()
        site.until(lambda: subprocess.run(["docker", "version"], env={**os.environ, "DOCKER_HOST": self.host},
                                          capture_output=True).returncode == 0, 120, "dockerd", every=0.2)

    def end(self):
        self.registry.stdin.close()
        self.registry.wait()
        self.daemon.terminate()
        self.daemon.wait()
        subprocess.run(["umount", f"{self.dir}/exec/netns/default"], capture_output=True)


def image(site):
    """From a push to its container, when only a parameter changed, beside the
    same push whose image is built anew."""
    what = "push that changes only parameters → the job's first line in its container"
    if os.getuid() or not shutil.which("dockerd") or not shutil.which("docker"):
        yield {"row": what, "figure": "not measured: dockerd needs root and docker.io here", "reach": "≤ 1 s", "met": None, "how": "", "values": {}}
        return
    engine = Engine(site)
    try:
        yield from pushes(site, engine, what)
    finally:
        site.stop_runner()
        engine.end()


def pushes(site, engine, what):
    for key, value in {"engine": "container", "registry": f"{engine.address}/models", "builder": "docker",
                       "engineEnv": f"DOCKER_HOST={engine.host}"}.items():
        git("config", "--global", f"models.{key}", value, at=site.root)
    work, server = site.path("work"), site.bare("server.git")
    git("init", "-q", work, at=site.root)
    site.commit(work, "first", {
        ".models.yaml": "train:\n  command: [sh, src/train.sh]\n", "deploy/train-config.yaml": "seed: 0\n",
        "src/Dockerfile": f"FROM {engine.address}/python:demo\nCOPY . src/\n", "src/train.sh": JOB, "src/n": "0\n"})
    site.start_runner()
    reused, anew, alone = [], [], []
    for i in range(-1, max(3, min(site.rounds, 10))):
        for made, files in ((anew, {"src/n": f"{i}\n"}), (reused, {"deploy/train-config.yaml": f"seed: {i}\n"})):
            new = site.commit(work, "step", files)
            site.push(work, server, "HEAD:models")
            site.settle()
            row = shown(site, server, new)
            if row["state"] != "succeeded" or row["built"] != (made is anew):
                raise Broken(f"{new} {row['state']}, built {row['built']}: {row['cause']}")
            with open(row["artifacts"].removeprefix("file://") + "/begun") as f, open("/proc/uptime") as now:
                begun = time.time() - (float(now.read().split()[0]) - float(f.read().split()[0]))
            if i >= 0:
                made.append(begun - stamp(row["pushes"][0]["at"]))
        start = time.perf_counter()
        subprocess.run(["docker", "run", "--rm", "--pull", "never", "--network", "none", f"{row['image']}@{row['digest']}", "sh", "-c", ":"],
                       env={**os.environ, "DOCKER_HOST": engine.host}, check=True, capture_output=True)
        alone.append(time.perf_counter() - start)
    yield {
        "row": what, "reach": "≤ 1 s", "met": median(reused) <= 1,
        "figure": f"{ms(median(reused))} ms; built anew {ms(median(anew))} ms; a bare `docker run` {ms(median(alone))} ms",
        "how": f"docker of the bench's own, a registry on loopback; median of {len(reused)} pairs",
        "values": {"reused_ms": ms(median(reused)), "anew_ms": ms(median(anew)), "alone_ms": ms(median(alone))},
    }
