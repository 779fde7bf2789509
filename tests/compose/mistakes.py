"""What goes wrong around a stack: another token, a clock that is off, full volumes, a database that is not ours. Each is
named by `sentinelctl status`, nothing goes round in a crash loop, and no record is lost."""

import json
import os
import urllib.error

from engine import PORTS, WORK, compose, ctl, healthy, name, ok, rows, run, until, warnings
from load import Client, Load

OVER = WORK / "mistakes.json"
PLANE = "/var/lib/sentinel/plane/fill"
DATABASE = "/var/lib/postgresql/data/fill"
# Empty where libfaketime can't be had: run.sh says so.
FAKETIME = os.environ.get("FAKETIME_LIBRARY", "")


def lay_over():
    """Small volumes in memory; the second plane with a token of its own and a clock that is an hour behind."""
    small = {"type": "tmpfs", "device": "tmpfs"}
    second = {"environment": {"SENTINEL_PLANE_TOKEN_FILE": "/run/secrets/other_token"}, "secrets": ["other_token"]}
    if FAKETIME:
        second["environment"] |= {"LD_PRELOAD": "/faketime.so", "FAKETIME": "-1h", "DONT_FAKE_MONOTONIC": "1"}
        second["volumes"] = [f"{FAKETIME}:/faketime.so:ro"]
    volumes = {
        "plane-1": {"driver_opts": small | {"o": "size=48m,uid=10001,gid=10001,mode=0700"}},
        "database": {"driver_opts": small | {"o": "size=160m"}},
    }
    other = WORK / "secrets/other_token"
    secrets = {"other_token": {"file": str(other)}}
    OVER.write_text(json.dumps({"services": {"dataplane-2": second}, "volumes": volumes, "secrets": secrets}))
    put(other, "0123456789abcdef" * 4)


def put(secret, text):
    """In place: containers hold the file, not its name."""
    if secret.exists():
        secret.chmod(0o644)
    secret.write_text(text)
    secret.chmod(0o444)


def says(words, of=warnings):
    """Whether a warning of `status` has the words; else all that it says."""
    said = of()
    return any(words in warning for warning in said) or said


def never_restarted(service):
    count = run("docker", "inspect", "-f", "{{.RestartCount}}", name(service)).stdout.strip()
    ok(f"{service} was not restarted once", count == "0", count)


def store():
    return [json.loads(ctl("status", "--output", "json").stdout)["store"]["state"]]


def fill(service, path):
    run("docker", "exec", name(service), "dd", "if=/dev/zero", f"of={path}", "bs=64k", code=1)


def mistakes():
    lay_over()
    compose("up", "-d", "--no-build", files=[OVER])
    until("the stack is healthy but for the second plane", lambda: healthy(["postgres", "controlplane", "dataplane"]))
    token = ctl("token", "mint", "--client", "compose-test", "--role", "operator").stdout.strip()
    another_token()
    if FAKETIME:
        a_clock_an_hour_off(token)
    a_full_volume_of_a_plane(token)
    a_full_volume_of_the_database(token)
    a_database_that_is_not_ours(token)


def another_token():
    until("status names a plane with another token", lambda: says("a plane was turned away"))
    ready = run("docker", "exec", name("dataplane-2"), "/usr/bin/sentinel-dataplane", "health", "--ready", code=1).stderr
    ok("another plane token: status names the plane, and its /ready says why", "no_snapshot" in ready and "SENTINEL_PLANE_TOKEN" in ready, ready)
    never_restarted("dataplane-2")
    put(WORK / "secrets/other_token", (WORK / "secrets/plane_token").read_text())
    run("docker", "restart", "-t", "45", name("dataplane-2"))
    until("with the right token it is healthy", lambda: healthy(["dataplane-2"]))


def a_clock_an_hour_off(token):
    until("status names the clock", lambda: says("plane-2: its clock is 3600 s behind"))
    try:
        Client(PORTS["dataplane-2"], token).initialize()
        refused = "nothing was refused"
    except urllib.error.HTTPError as answer:
        refused = answer.read().decode()
    ok("a clock an hour behind: status says by how much, and a client learns that its token is not valid yet", "not_yet_valid" in refused, refused)


def a_full_volume_of_a_plane(token):
    client = Client(PORTS["dataplane"], token).initialize()
    call = lambda: client.call("example__echo", {"text": "x"})[1]
    kind = lambda: (call().get("error") or {}).get("data", {}).get("kind", "no error")
    fill("dataplane", PLANE)
    until("calls are refused while the plane's volume is full", lambda: kind() == "audit_unavailable" or kind())
    until("status names the full volume", lambda: says("disk is full"))
    ok("a full volume of a plane: calls are refused as audit_unavailable, and status says why")
    run("docker", "exec", name("dataplane"), "rm", PLANE)
    until("calls pass again once there is room", lambda: kind() == "no error" or kind())
    until("and the warning goes", lambda: says("calls are refused") is not True)
    never_restarted("dataplane")


def a_full_volume_of_the_database(token):
    load = Load(PORTS["dataplane"], token)
    fill("postgres", DATABASE)
    until("status says that the store takes no records", lambda: says("takes no records", store))
    before = len(load.answered)
    until("calls go on meanwhile", lambda: len(load.answered) > before + 50 or len(load.answered))
    run("docker", "exec", name("postgres"), "rm", DATABASE)
    load.end()
    until("every answered call has its row", lambda: not set(load.answered) - rows() or f"{len(set(load.answered) - rows())} have none")
    until("the store is well", lambda: says("ok", store))
    ok(f"a full volume of the database: status says so, {len(load.answered)} calls were answered meanwhile, every one has its row")
    never_restarted("controlplane")


def a_database_that_is_not_ours(token):
    file = WORK / "secrets/database_url"
    right = file.read_text()
    server = right.rsplit("/", 1)[0]
    psql = ["docker", "exec", name("postgres")]
    run(*psql, "createdb", "-U", "sentinel", "invoices")
    run(*psql, "psql", "-q", "-U", "sentinel", "-d", "invoices", "-c", "create table bills (id int)")
    client = Client(PORTS["dataplane"], token).initialize()
    for what, url, words in [
        ("a database of something else", server + "/invoices", "belongs to something else"),
        ("a database that is not there", server + "/nowhere", "does not exist"),
        ("a wrong password", right.replace("@", "x@"), "password authentication failed"),
    ]:
        put(file, url)
        run("docker", "restart", "-t", "15", name("controlplane"))
        until("status answers", lambda: ctl("status", code=None).returncode == 0 or ctl("status", code=None).stderr)
        until(f"status names {what}", lambda: says(words, store))
        answer = client.call("example__echo", {"text": "x"})[1]
        ok(f"{what}: status says so, calls go on", "result" in answer, answer)
        never_restarted("controlplane")
    put(file, right)
    run("docker", "restart", "-t", "15", name("controlplane"))
    until("with the right address it is healthy", lambda: healthy(["controlplane"]))
