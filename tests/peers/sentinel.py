"""Sentinel's own programs, on free ports and in a folder of their own. Nothing is known here of what they serve."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(what, done, seconds=60):
    """The first true answer of `done`; raises with `what` after the deadline."""
    end = time.monotonic() + seconds
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s still not: {what}")
        time.sleep(0.05)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def toml(value):
    """A TOML value; JSON's strings are TOML's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


class Sentinel:
    """`sentinelctl up` with `backends` (dicts of keys of [[backends]]); `auth` are the file's first lines, in which
    PORT stands for MCP's. `client_file`: instead of them what `--import` makes of this file."""

    def __init__(self, programs, folder, backends, env, auth=("[auth]",), flags=(), client_file=None):
        self.programs, self.folder, self.token = programs, folder, None
        self.is_open = 'mode = "none"' in auth
        os.makedirs(folder, exist_ok=True)
        self.data = os.path.join(folder, "data")
        file, self.port, self.ops = os.path.join(folder, "sentinel.toml"), free_port(), free_port()
        lines = [*(line.replace("PORT", str(self.port)) for line in auth), "[roles.operator]", 'allow = ["*"]',
                 "[rate_limit]", "default = { requests = 100000, per_secs = 60 }",
                 "per_client = { requests = 100000, per_secs = 60 }"]
        for backend in backends:
            lines += ["[[backends]]"] + [f"{key} = {toml(value)}" for key, value in backend.items()]
        if client_file:
            flags = ("--import", client_file, *flags)
        else:
            with open(file, "w", encoding="utf-8") as out:
                out.write("\n".join(lines) + "\n")
        self.env = dict(env, XDG_RUNTIME_DIR=folder, SENTINEL_DATA_DIR=self.data)
        self.log = open(os.path.join(folder, "sentinel.log"), "wb")
        self.process = subprocess.Popen(
            [self.program("sentinelctl"), "up", "--config", file, "--listen", f"127.0.0.1:{self.port}",
             "--ops-listen", f"127.0.0.1:{self.ops}", "--controlplane-ops-listen", f"127.0.0.1:{free_port()}", *flags],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self.begin()
        except BaseException:
            self.stop()
            raise

    def begin(self):
        until("the plane is ready", self.is_ready, 120)
        if self.is_open:
            return
        self.token = self.ctl("--output", "json", "token", "mint", "--client", "peers", "--role", "operator")["token"]

    def program(self, name):
        return os.path.join(self.programs, name)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"sentinelctl up ended with {self.process.returncode}:\n{self.tail()}")
        ready = self.ready()
        return ready and ready[0] == 200

    def ready(self):
        """(status, what /ready says), or None while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/ready", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)
        except OSError:
            return None

    def until_backends(self, names, seconds=150):
        """Waits for these backends to be listed; answers those that never were."""
        def missing():
            ready = self.ready()
            states = {one["name"]: one["state"] for one in (ready[1].get("backends", []) if ready else [])}
            return [name for name in names if states.get(name) != "ready"]
        try:
            until("all backends are ready", lambda: not missing(), seconds)
        except TimeoutError:
            pass
        return missing()

    def ctl(self, *args):
        ran = subprocess.run([self.program("sentinelctl"), *args], env=self.env, capture_output=True, text=True,
                             timeout=60, check=True)
        return json.loads(ran.stdout)

    def tail(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as text:
            return text.read()[-3000:]

    def plane(self):
        """The data plane's process id."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline", "rb") as line:
                    parent = stat.read().rsplit(")", 1)[1].split()[1]
                    if parent == str(self.process.pid) and b"sentinel-dataplane" in line.read():
                        return int(pid)
            except OSError:
                continue
        raise LookupError("no data plane under sentinelctl up")

    def stop(self):
        """SIGTERM to `up`; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.log.close()
