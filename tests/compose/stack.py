"""The Compose stack as somebody uses it: up, calls, kill switches, each container killed under load, down and up."""

import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import engine
from engine import COMPOSE, PORTS, PROJECT, ROOT, SERVICES, WORK, compose, ctl, gone, healthy, name, ok, rows, run, state, until
from load import Client, Load
from mistakes import mistakes

PROMETHEUS = 19090


def size_of(image):
    return int(run("docker", "image", "inspect", "-f", "{{.Size}}", image).stdout)


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
    wanted = {key: value for key, value in os.environ.items() if re.match(r"SENTINEL_(BUILDER|RUNTIME|POSTGRES|PROGRAMS|PROMETHEUS)$", key)}
    # The example, and limits that the load does not reach.
    config = WORK / "config"
    config.mkdir(exist_ok=True)
    config.chmod(0o755)
    limits = "[rate_limit]\ndefault = { requests = 1000000, per_secs = 1 }\nper_client = { requests = 1000000, per_secs = 1 }\n"
    (config / "sentinel.toml").write_text((ROOT / "deploy/config/sentinel.toml").read_text() + limits)
    wanted |= {"SENTINEL_CONFIG_DIR": config, "SENTINEL_PORT": 19200, "SENTINEL_OPS_PORT": 19201, "SENTINEL_PORT_2": 19210, "SENTINEL_OPS_PORT_2": 19211, "SENTINEL_PROMETHEUS_PORT": PROMETHEUS}
    text = env.read_text().replace("COMPOSE_PROJECT_NAME=sentinel\n", f"COMPOSE_PROJECT_NAME={PROJECT}\n")
    env.write_text(text + "".join(f"{key}={value}\n" for key, value in wanted.items()))
    os.environ["COMPOSE_PROJECT_NAME"] = PROJECT
    gone()
    for part in (stack, mistakes):
        try:
            part()
        finally:
            gone()
    print(f"{engine.passed} passed, 0 failed")


def watched():
    """The profile `metrics`: Prometheus reaches all daemons with the ops token, and has the alert rules."""
    compose("up", "-d", "--no-build", profiles=("two", "metrics"))

    def asked(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PROMETHEUS}/api/v1/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except (OSError, ValueError) as fault:
            return {"fault": str(fault)}

    def all_up():
        targets = [(t["labels"]["job"], t["health"], t["lastError"]) for t in asked("targets").get("activeTargets", [])]
        return sorted(t[:2] for t in targets) == [("sentinel-controlplane", "up"), ("sentinel-dataplane", "up"), ("sentinel-dataplane", "up")] or targets

    until("Prometheus scrapes all three daemons", all_up)
    rules = sum(len(group["rules"]) for group in asked("rules")["groups"])
    ok(f"Prometheus scrapes all three daemons and has {rules} alert rules", rules > 10)


def stack():
    began = time.monotonic()
    compose("up", "-d", "--no-build")
    until("the stack is healthy", healthy)
    ok(f"up and healthy in {time.monotonic() - began:.0f} s")
    for part in ("controlplane", "dataplane"):
        size = size_of(f"sentinel-{part}")
        base = f", {(size - size_of(os.environ['SENTINEL_RUNTIME'])) / 1e6:.0f} MB of it on top of the base" if "SENTINEL_RUNTIME" in os.environ else ""
        print(f"    image sentinel-{part}: {size / 1e6:.0f} MB{base}")

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
        load.end()
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

    watched()
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
