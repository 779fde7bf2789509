"""Starts the reference backends and the targets, and says what the load has to know of each."""
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request

from .processes import Process, wait_ready
from .settings import HERE, fill, jwt, words_for


def start_backends(args, settings, names):
    running = {}
    for name in names:
        spec = settings["backend"][name]
        if "port" not in spec:
            continue
        argv = [str(args.bench_bin), "backend", "--port", str(spec["port"]), "--tools", str(spec.get("tools", 3))]
        argv += spec.get("args", [])
        process = Process(f"backend {name}", argv, {}, args.lab, args.lab / f"backend-{name}.log")
        running[name] = process
        wait_ready(process, f"http://127.0.0.1:{spec['port']}/health", 10)
    return running


def start_target(args, settings, name, backend):
    """Starts one target against one backend; returns what the load needs to know of it."""
    spec = settings["target"][name]
    words = words_for(args, settings, name, backend)
    work = words["work"]
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if "jwt" in spec:
        words["token"] = jwt(fill(spec["jwt"], words))
    for source, place in spec.get("files", {}).items():
        (work / place).write_text(fill((HERE / source).read_text(), words))
    live = {
        "name": name,
        "process": None,
        "mcp": fill(spec["mcp"], words),
        "token": fill(spec.get("token", words.get("token", "")), words),
        "headers": fill(spec.get("headers", []), words),
        "metrics": fill(spec.get("metrics", ""), words),
        "freeze": spec.get("freeze", True),
        "helpers": [],
    }
    if "argv" in spec:
        try:
            for helper in fill(spec.get("helper", []), words):
                log = work / f"{helper['name']}.log"
                live["helpers"].append(Process(helper["name"], helper["argv"], helper.get("env", {}), work, log, args.helper_core))
                wait_ready(live["helpers"][-1], helper["ready"], 20)
            argv, env = fill(spec["argv"], words), fill(spec.get("env", {}), words)
            live["process"] = process = Process(name, argv, env, work, work / "log")
            wait_ready(process, fill(spec.get("ready", spec["mcp"]), words), spec.get("ready_s", 20))
            if "setup" in spec:
                words["token"] = live["token"]
                done = subprocess.run(
                    fill(spec["setup"], words), capture_output=True, text=True, timeout=spec.get("setup_s", 120)
                )
                if done.returncode != 0:
                    raise RuntimeError(f"{name}: set-up failed\n{done.stderr[-1500:]}\n{process.tail()}")
                live.update(json.loads(done.stdout))
        except BaseException:
            stop_target(live)
            raise
    return live


def stop_target(live):
    for process in [live["process"], *live["helpers"]]:
        if process:
            process.stop()


def metric(url, name):
    """A gauge or counter without labels of a Prometheus page; None where it is not there."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
        for line in page.read().decode().splitlines():
            if line.split(" ")[0] == name:
                return float(line.split(" ")[1])
    return None


def wait_shipped(live, limit=30):
    """Waits until the audit backlog is gone, so that the next target is not measured beside it; the seconds it took."""
    start = time.monotonic()
    while live["metrics"] and time.monotonic() - start < limit:
        if metric(live["metrics"], "sentinel_audit_backlog") == 0:
            break
        time.sleep(0.1)
    return round(time.monotonic() - start, 1)


def version_of(args, settings, name):
    spec = settings["target"][name]
    if "version" not in spec:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        argv = fill(spec["version"], words_for(args, settings, name))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        text = (done.stdout + done.stderr).strip()
        return text.splitlines()[0].strip() if text else None
    return None
