"""The Compose stack as somebody uses it: up, calls, kill switches, each container killed under load, down and up."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
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


def compose(*words, **more):
    return run(*COMPOSE, "--profile", "two", *words, **more)


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


class Client:
    """The least that speaks MCP: one session on one plane."""

    def __init__(self, port, token):
        self.url, self.token, self.session, self.last = f"http://127.0.0.1:{port}/mcp", token, None, 0

    def post(self, message):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.session:
            headers |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": "2025-11-25"}
        request = urllib.request.Request(self.url, json.dumps(message).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers, answer.read()

    def initialize(self):
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "compose-test", "version": "1"}}
        headers, _ = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        self.session = headers["Mcp-Session-Id"]
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def call(self, tool, arguments):
        """The request id and the answer."""
        self.last += 1
        headers, body = self.post({"jsonrpc": "2.0", "id": self.last, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        return headers["x-request-id"], json.loads(body)


class Load:
    """Calls on a plane until told; keeps the request id of each answered one."""

    def __init__(self, port, token):
        self.answered, self.failed, self.lost, self.stop = [], 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.go, args=(port, token), daemon=True)
        self.thread.start()

    def go(self, port, token):
        client = None
        while not self.stop.is_set():
            try:
                client = client or Client(port, token).initialize()
                request, answer = client.call("example__echo", {"text": "x"})
                self.answered.append(request)
                # An error is an answer too, and has its row.
                self.failed += "result" not in answer
            except (OSError, ValueError):
                self.lost += 1
                time.sleep(0.05)
            time.sleep(0.005)


def rows():
    query = "select request_id from sentinel.audit_logs"
    return set(run("docker", "exec", name("postgres"), "psql", "-U", "sentinel", "-d", "sentinel", "-Atc", query, code=None).stdout.split())


def without_secrets():
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("SENTINEL_", "COMPOSE_"))}
    empty = WORK / "empty"
    empty.touch()
    said = run(*COMPOSE[:-1], str(empty), "config", code=None, env=bare)
    line = said.stderr.strip()
    ok("without secrets it says which are missing and what makes them", said.returncode != 0 and "sh deploy/make-secrets.sh" in line and "\n" not in line, line)


def main():
    without_secrets()
    run("sh", "deploy/make-secrets.sh", str(WORK))
    env = WORK / ".env"
    wanted = {key: value for key, value in os.environ.items() if re.match(r"SENTINEL_(BUILDER|RUNTIME|POSTGRES|PROGRAMS)$", key)}
    # The example, and limits that the load does not reach.
    config = WORK / "config"
    config.mkdir(exist_ok=True)
    config.chmod(0o755)
    limits = "[rate_limit]\ndefault = { requests = 1000000, per_secs = 1 }\nper_client = { requests = 1000000, per_secs = 1 }\n"
    (config / "sentinel.toml").write_text((ROOT / "deploy/config/sentinel.toml").read_text() + limits)
    wanted |= {"SENTINEL_CONFIG_DIR": config, "SENTINEL_PORT": 19200, "SENTINEL_OPS_PORT": 19201, "SENTINEL_PORT_2": 19210, "SENTINEL_OPS_PORT_2": 19211}
    text = env.read_text().replace("COMPOSE_PROJECT_NAME=sentinel\n", f"COMPOSE_PROJECT_NAME={PROJECT}\n")
    env.write_text(text + "".join(f"{key}={value}\n" for key, value in wanted.items()))
    os.environ["COMPOSE_PROJECT_NAME"] = PROJECT
    compose("down", "-v", code=None)
    try:
        stack()
    finally:
        compose("down", "-v", code=None)
    print(f"{passed} passed, 0 failed")


def stack():
    began = time.monotonic()
    compose("up", "-d", "--no-build")
    until("the stack is healthy", healthy)
    ok(f"up and healthy in {time.monotonic() - began:.0f} s")
    for part in ("controlplane", "dataplane"):
        size = int(run("docker", "image", "inspect", "-f", "{{.Size}}", f"sentinel-{part}").stdout)
        print(f"    image sentinel-{part}: {size / 1e6:.0f} MB")

    token = ctl("token", "mint", "--client", "compose-test", "--role", "operator").stdout.strip()
    clients = {service: Client(port, token).initialize() for service, port in PORTS.items()}
    for service, client in clients.items():
        answer = client.call("example__echo", {"text": "hello"})[1]
        ok(f"a call through {service}", answer.get("result", {}).get("content", [{}])[0].get("text") == "hello", answer)

    thrown = json.loads(ctl("kill-switch", "tool", "example__echo", "--reason", "compose test", "--output", "json").stdout)
    times = {ack["plane_name"]: ack["took_ms"] for ack in thrown["acks"]}
    ok(f"a kill switch on two planes: {times} ms", thrown["complete"] and len(times) == 2, thrown)
    for service, client in clients.items():
        answer = client.call("example__echo", {"text": "hello"})[1]
        ok(f"{service} refuses", answer.get("error", {}).get("data", {}).get("kind") == "disabled", answer)
    ctl("kill-switch", "tool", "example__echo", "--lift")

    for service in SERVICES[1:]:
        told = json.loads(run("docker", "inspect", name(service)).stdout)[0]
        host, pid = told["HostConfig"], told["State"]["Pid"]
        ok(f"{service}: not root, read-only, no capabilities", told["Config"]["User"] == "10001:10001" and host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["Memory"] and host["PidsLimit"], host)
        held = Path(f"/proc/{pid}/status").read_text()
        ok(f"{service}: the kernel agrees", re.search(r"CapEff:\s*0+$", held, re.M) and re.search(r"NoNewPrivs:\s*1$", held, re.M), held)
        for at in (host.get("PortBindings") or {}).values():
            ok(f"{service}: published on loopback alone", all(one["HostIp"] == "127.0.0.1" for one in at), at)

    loads = [Load(port, token) for port in PORTS.values()]
    time.sleep(2)
    for service in SERVICES:
        before = sum(len(load.answered) for load in loads)
        run("docker", "kill", name(service))
        time.sleep(2)
        run("docker", "start", name(service))
        took = until(f"{service} is well again", lambda: healthy([service]))
        until("calls go on", lambda: sum(len(load.answered) for load in loads) > before + 50 or "no calls")
        print(f"    docker kill {service}: healthy {took:.1f} s after its start")
    # The policy is for what dies by itself: docker kill is an operator's word, and is not undone.
    pid = state("dataplane")["Pid"]
    run("kill", "-9", str(pid))
    until("dataplane is started again", lambda: state("dataplane").get("Pid") not in (0, pid) and healthy(["dataplane"]) is True or "down")
    ok("what dies by itself is started again")
    time.sleep(1)
    for load in loads:
        load.stop.set()
        load.thread.join(15)
    answered = {request for load in loads for request in load.answered}
    failed, lost = sum(load.failed for load in loads), sum(load.lost for load in loads)
    until("every answered call has its row", lambda: not answered - rows() or f"{len(answered - rows())} of {len(answered)} have none")
    ok(f"{len(answered)} calls answered while each container was killed ({failed} with an error; {lost} tries met a dead plane), every one has its row")

    dump = WORK / "sentinel.dump"
    with dump.open("wb") as file:
        subprocess.run(["docker", "exec", name("postgres"), "pg_dump", "-U", "sentinel", "-d", "sentinel", "-n", "sentinel", "-Fc"], stdout=file, check=True)
    run("docker", "cp", f"{name('controlplane')}:/var/lib/sentinel/controlplane/signing.key", str(WORK / "signing.key"))
    ok("a backup while it runs", dump.stat().st_size > 1000 and (WORK / "signing.key").stat().st_size > 0)
    ctl("kill-switch", "tool", "example__add", "--reason", "must stay")
    began = time.monotonic()
    run("docker", "stop", "-t", "45", name("dataplane"))
    ended = state("dataplane")
    ok(f"docker stop drains in {time.monotonic() - began:.1f} s, exit 0", ended["ExitCode"] == 0, ended)
    planes_before = json.loads(ctl("plane", "list", "--output", "json").stdout)
    had = rows()
    compose("down")
    compose("up", "-d", "--no-build")
    until("healthy again", healthy)
    ok(f"down and up keep {len(had)} rows", had and had <= rows(), len(rows()))
    planes = json.loads(ctl("plane", "list", "--output", "json").stdout)
    ok("the planes are the same ones", sorted(p["id"] for p in planes) == sorted(p["id"] for p in planes_before), planes)
    answer = Client(PORTS["dataplane"], token).initialize().call("example__add", {"a": 1, "b": 2})[1]
    ok("the kill switch and the token's key as well", answer.get("error", {}).get("data", {}).get("kind") == "disabled", answer)

    for service in ("dataplane", "dataplane-2", "controlplane"):
        run("docker", "stop", "-t", "45", name(service))
    psql = ["docker", "exec", "-i", name("postgres")]
    run(*psql, "psql", "-q", "-U", "sentinel", "-d", "sentinel", "-c", "drop schema sentinel cascade")
    with dump.open("rb") as file:
        subprocess.run([*psql, "pg_restore", "-U", "sentinel", "-d", "sentinel"], stdin=file, check=True)
    for service in ("controlplane", "dataplane", "dataplane-2"):
        run("docker", "start", name(service))
    until("healthy again", healthy)
    answer = Client(PORTS["dataplane"], token).initialize().call("example__add", {"a": 1, "b": 2})[1]
    ok("a restore of the older dump brings the rows and does not undo the kill", answer.get("error", {}).get("data", {}).get("kind") == "disabled" and answered <= rows(), answer)

    told = ""
    for service in SERVICES:
        logs = run("docker", "logs", name(service))
        told += run("docker", "inspect", name(service)).stdout + logs.stdout + logs.stderr
    for part in ("controlplane", "dataplane"):
        told += run("docker", "history", "--no-trunc", f"sentinel-{part}").stdout + run("docker", "inspect", f"sentinel-{part}").stdout
    for secret in [*(WORK / "secrets").iterdir()]:
        ok(f"{secret.name} is in no docker inspect, history or log", secret.read_text() not in told)
    ok("nor is the client's token", token not in told)


main()
