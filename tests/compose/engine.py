"""What the tests of the Compose stack use: the engine, the stack's commands, and waiting."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = Path(os.environ["WORK"])
COMPOSE = shlex.split(os.environ["COMPOSE"]) + ["-f", str(ROOT / "deploy/compose.yaml"), "--env-file", str(WORK / ".env")]
PROJECT = "sentinelcomposetest"
PORTS = {"dataplane": 19200, "dataplane-2": 19210}
SERVICES = ["postgres", "controlplane", "dataplane", "dataplane-2"]
PATIENCE = 120
passed = 0


def run(*words, code=0, **more):
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, **more)
    if code is not None and done.returncode != code:
        sys.exit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def compose(*words, files=(), profiles=("two",), **more):
    """`docker compose` with both planes; `files` are laid over deploy/compose.yaml."""
    over = [word for file in files for word in ("-f", str(file))]
    over += [word for profile in profiles for word in ("--profile", profile)]
    return run(*COMPOSE, *over, *words, **more)


def gone():
    compose("down", "-v", profiles=("two", "metrics"), code=None)


def ctl(*words, **more):
    return run("docker", "exec", name("controlplane"), "sentinelctl", *words, **more)


def name(service):
    for between in "_-":
        found = f"{PROJECT}{between}{service}{between}1"
        if subprocess.run(["docker", "inspect", found], capture_output=True).returncode == 0:
            return found
    return f"{PROJECT}-{service}-1"


def ok(what, is_so=True, why=""):
    global passed
    if not is_so:
        sys.exit(f"FAILED: {what}: {why}\n" + "".join(run("docker", "logs", "--tail", "20", name(s), code=None).stderr for s in SERVICES))
    passed += 1
    print(f"ok  {what}", flush=True)


def until(what, holds, patience=PATIENCE):
    began = time.monotonic()
    while True:
        said = holds()
        if said is True:
            return time.monotonic() - began
        if time.monotonic() - began > patience:
            ok(what, False, said)
        time.sleep(0.1)


def state(service):
    return json.loads(run("docker", "inspect", "-f", "{{json .State}}", name(service), code=None).stdout or "{}")


def healthy(services=SERVICES):
    states = {s: (state(s).get("Health") or {}).get("Status") for s in services}
    return all(value == "healthy" for value in states.values()) or states


def warnings():
    return json.loads(ctl("status", "--output", "json").stdout)["warnings"]


def rows():
    query = "select request_id from sentinel.audit_logs"
    return set(run("docker", "exec", name("postgres"), "psql", "-U", "sentinel", "-d", "sentinel", "-Atc", query, code=None).stdout.split())
