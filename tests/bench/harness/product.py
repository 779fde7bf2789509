"""What is measured on the product alone: start, memory, kill switch, reloads under load, allocations per call.

Each function starts daemons of its own in a folder of the lab and ends them. Tables and ratios are made elsewhere.
"""
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request

from .processes import Process, own_kb, say, wait_ready
from .settings import fill, words_for
from .targets import start_backends, start_target, stop_target, wait_shipped


def ctl(live, *words, timeout=30):
    """Runs sentinelctl against the daemons of `live`; its JSON."""
    argv = [*live["ctl"], "--output", "json", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"sentinelctl {' '.join(words)}: exit {done.returncode}\n{done.stderr[-800:]}")
    return json.loads(done.stdout) if done.stdout.strip() else None


@contextlib.contextmanager
def running(args, settings, name="sentinel", backend="small", binary=None):
    """Both daemons with one backend; `binary` takes the place of the data plane's program."""
    backends = start_backends(args, settings, [backend])
    spec = settings["target"][name]
    live = None
    kept = spec["argv"]
    try:
        if binary:
            spec["argv"] = [str(binary), *kept[1:]]
        live = start_target(args, settings, name, backend)
        state = words_for(args, settings, name, backend)["work"] / "state"
        live["ctl"] = [str(args.sentinel_bin / "sentinelctl"), "--data-dir", str(state)]
        live["state"] = state
        yield live
    finally:
        spec["argv"] = kept
        if live:
            stop_target(live)
        for process in backends.values():
            process.stop()


def load(args, live, *words, seconds=None, max_ops=None):
    """One run of the load; its JSON."""
    argv = [str(args.bench_bin), "load", "--url", live["mcp"], "--token", live["token"], *words]
    argv += ["--seconds", str(seconds or args.seconds)]
    if max_ops:
        argv += ["--max-ops", str(max_ops), "--warmup", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"load: {done.stderr[-400:]}")
    return json.loads(done.stdout)


def memory(args, live):
    """MB resident: the plane idle and after load, the control plane after it took in what the load left."""
    time.sleep(2)
    idle = own_kb(live["process"].pid)
    for words in (["--scenario", "echo64", "--concurrency", "64"], ["--scenario", "big1m", "--concurrency", "16"]):
        load(args, live, *words, seconds=3)
    wait_shipped(live)
    after, control = own_kb(live["process"].pid), own_kb(live["helpers"][0].pid)
    return idle / 1024, after / 1024, control / 1024


def start_to_ready(args, settings, live, times):
    """Milliseconds from the program's start to /ready, on a directory that it knows; its backend is up."""
    spec = settings["target"]["sentinel"]
    words = words_for(args, settings, "sentinel", "small")
    readings = []
    for _ in range(times):
        live["process"].stop()
        begin = time.monotonic()
        live["process"] = Process(
            "sentinel", fill(spec["argv"], words), fill(spec["env"], words), words["work"], words["work"] / "log"
        )
        wait_ready(live["process"], fill(spec["ready"], words), 30, pause=0.002)
        readings.append((time.monotonic() - begin) * 1000)
    return readings


class Caller:
    """One kept-alive connection with a session, by hand: what urllib adds would be in the milliseconds."""

    def __init__(self, live):
        host, port = re.match(r"http://([^:/]+):(\d+)", live["mcp"]).groups()
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.head = (
            f"POST /mcp HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nAuthorization: Bearer {live['token']}\r\n"
        )
        self.send("initialize", {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "sentinel-bench", "version": "0.1.0"},
        })
        self.send("notifications/initialized", {}, number=None)

    def send(self, method, params, number=1):
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({"id": number} if number else {})
        body = json.dumps(message)
        self.socket.sendall(f"{self.head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        length = 0
        while (line := self.stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
            if name.lower() == "mcp-session-id":
                self.head += f"Mcp-Session-Id: {value.strip()}\r\n"
        return json.loads(self.stream.read(length)) if length else {}

    def echo(self):
        return self.send("tools/call", {"name": "bench__echo", "arguments": {"text": "x"}})


def kill_switch(live, times):
    """Milliseconds from the start of the command (its process included) to the first refused call, and to its end."""
    refused, ended = [], []
    caller = Caller(live)
    for _ in range(times):
        found = threading.Event()
        seen = []

        def watch():
            while not found.is_set():
                answer = caller.echo()
                if answer.get("error", {}).get("code") == -31423:
                    seen.append(time.monotonic())
                    return

        thread = threading.Thread(target=watch)
        begin = time.monotonic()
        thread.start()
        try:
            ctl(live, "kill-switch", "tool", "bench__echo", "--reason", "bench")
            ended.append((time.monotonic() - begin) * 1000)
            thread.join(5)
        finally:
            found.set()
            thread.join(5)
        if not seen:
            raise RuntimeError("the kill switch came back and the tool was still served five seconds later")
        refused.append((seen[0] - begin) * 1000)
        ctl(live, "kill-switch", "tool", "bench__echo", "--lift")
    return refused, ended


def reloads(args, live, work, times):
    """Calls that failed, of how many, during `times` reloads that each change the file."""
    file = work / "sentinel.toml"
    text = file.read_text()
    argv = [str(args.bench_bin), "load", "--url", live["mcp"], "--token", live["token"], "--scenario", "echo64"]
    argv += ["--concurrency", "8", "--seconds", "600"]
    # A load that is told to stop prints nothing, so it runs until a file's worth of reloads is surely done.
    box = {}

    def drive():
        box["load"] = subprocess.run(argv[:-1] + [str(box["seconds"])], capture_output=True, text=True, timeout=700)

    begin = time.monotonic()
    file.write_text(text.replace("per_secs = 1, burst = 10000000", "per_secs = 1, burst = 9999999"))
    ctl(live, "reload")
    box["seconds"] = round((time.monotonic() - begin) * times * 1.5 + 2, 1)
    thread = threading.Thread(target=drive)
    thread.start()
    for turn in range(times):
        file.write_text(text.replace("per_secs = 1, burst = 10000000", f"per_secs = 1, burst = {9_000_000 + turn}"))
        ctl(live, "reload")
    within = thread.is_alive()
    thread.join()
    file.write_text(text)
    done = box["load"]
    if done.returncode != 0:
        raise RuntimeError(f"load under reloads: {done.stderr[-400:]}")
    found = json.loads(done.stdout)
    if not within:
        say(f"  the last reloads came after the load had ended ({found['seconds']} s)")
    return found["errors_all"], found["ops_all"]


def allocations(args, settings, binary):
    """Allocations and bytes per call, of the plane's build that counts, at c = 1 and c = 16: {scenario: (calls, count, bytes)}."""
    found = {}
    for name, backend in (("sentinel", "small"), ("sentinel-stdio", "stdio")):
        path = args.lab / f"allocations-{name}.sock"
        with contextlib.suppress(OSError):
            path.unlink()
        os.environ["SENTINEL_BENCH_ALLOCATIONS"] = str(path)
        try:
            with running(args, settings, name, backend, binary) as live:
                for concurrency in (1, 16):
                    words = ["--scenario", "echo64", "--concurrency", str(concurrency)]
                    load(args, live, *words, max_ops=2000)
                    wait_shipped(live)
                    few = counted(path)
                    small = load(args, live, *words, max_ops=2000)["ops_all"]
                    wait_shipped(live)
                    some = counted(path)
                    large = load(args, live, *words, max_ops=12000)["ops_all"]
                    wait_shipped(live)
                    many = counted(path)
                    # what opens and closes the run is the same in both, so the difference is the calls alone
                    calls = large - small
                    cost = [(late - middle) - (middle - early) for early, middle, late in zip(few, some, many)]
                    found[f"{name} c={concurrency}"] = (calls, cost[0] / calls, cost[1] / calls)
        finally:
            del os.environ["SENTINEL_BENCH_ALLOCATIONS"]
    return found


def counted(path):
    """(allocations, bytes) so far, from the plane that counts."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(5)
        stream.connect(str(path))
        return tuple(int(word) for word in stream.makefile().readline().split())
