"""The official SDKs' clients and Claude Code, unmodified, over HTTP and over stdio, with the example server behind."""

import itertools
import json
import os
import subprocess
import urllib.request

from sentinel import Sentinel, until


def ran(command, env, cwd, seconds=90):
    """What it printed; raises with that when it fails."""
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout[-1500:]} {done.stderr[-2500:]}")
    return done.stdout


def sdk(command, env, cwd):
    lines = ran(command, env, cwd).splitlines()
    return "; ".join(line.removeprefix("ok ") for line in lines)


def claude(program, sentinel, attached, folder):
    """`claude mcp list` is its health check: it connects to each server."""
    home = os.path.join(folder, "home")
    os.makedirs(home, exist_ok=True)
    env = dict(os.environ, HOME=home, XDG_RUNTIME_DIR=folder)
    env.pop("CLAUDE_CONFIG_DIR", None)
    add = [program, "mcp", "add", "-s", "user"]
    ran([*add, "--transport", "http", "over-http", sentinel.url, "--header",
         f"Authorization: Bearer {sentinel.token}"], env, home)
    ran([*add, "over-stdio", "-e", f"SENTINEL_TOKEN={sentinel.token}", "--", *attached], env, home)
    ran([*add, "--transport", "http", "wrong-token", sentinel.url, "--header", "Authorization: Bearer x.y.z"],
        env, home)
    lines = ran([program, "mcp", "list"], env, home).splitlines()
    state = {line.split(":")[0]: line.rsplit(" - ", 1)[-1] for line in lines if " - " in line}
    for name in ("over-http", "over-stdio"):
        assert "✔ Connected" in state.get(name, ""), lines
    wrong = next(line for line in lines if line.startswith("wrong-token"))
    assert "token is malformed" in wrong, wrong
    return "; ".join(f"{name}: {state[name]}" for name in ("over-http", "over-stdio"))


def received(log):
    """How many calls of `slow` the server was told to give up."""
    with open(log, encoding="utf-8") as lines:
        return sum(json.loads(line)["event"] == "cancelled" for line in lines)


def node(peers):
    node24 = os.path.join(peers, "npm", "node_modules", "node", "bin", "node")
    return node24 if os.path.exists(node24) else "node"


def everything(peers):
    """The server that asks its clients."""
    return os.path.join(peers, "npm", "node_modules", "@modelcontextprotocol", "server-everything", "dist", "index.js")


def asks(peers):
    """Backends that ask their clients, by name: one of the legacy era, one of the modern."""
    npm = os.path.join(peers, "npm", "node_modules", "@modelcontextprotocol")
    here = os.path.dirname(os.path.abspath(__file__))
    offer = os.path.join(here, "..", "conformance", "fixture", "offer.json")
    found = {}
    if os.path.exists(everything(peers)):
        found["everything"] = {"args": [everything(peers), "stdio"], "isolation": "per-session", "era": "legacy"}
    if os.path.exists(os.path.join(npm, "server")):
        found["cells"] = {"args": [os.path.join(here, "cells", "server.mjs"), os.path.join(npm, "server"), offer],
                          "era": "modern"}
    return {name: {"name": name, "command": node(peers)} | backend for name, backend in found.items()}


def run(report, programs, peers, folder):
    log = os.path.join(folder, "receive.log")
    os.makedirs(folder, exist_ok=True)
    backends = [{"name": "example", "args": ["--log", log],
                 "command": os.path.join(programs, "sentinel-example-server")}]
    backends += asks(peers).values()
    sentinel = Sentinel(programs, folder, backends, os.environ)
    try:
        each(report, sentinel, peers, folder, log)
    finally:
        sentinel.stop()


def each(report, sentinel, peers, folder, log):
    assert not sentinel.until_backends(["example"]), sentinel.tail()
    env = dict(os.environ, SENTINEL_TOKEN=sentinel.token)
    attached = [sentinel.program("sentinel-dataplane"), "stdio", "--data-dir", sentinel.data, "--log", "warn"]
    ways = {"HTTP": ["http", sentinel.url, sentinel.token], "stdio": ["stdio", *attached]}
    report.case("a modern client's first question", probed, sentinel)
    here = os.path.dirname(os.path.abspath(__file__))
    tried = 0
    modules = os.path.join(peers, "npm", "node_modules")
    for package, mode in (("sdk", "first"), ("client", "legacy"), ("client", "auto"), ("client", "pin")):
        path = os.path.join(modules, "@modelcontextprotocol", package)
        if not os.path.exists(path):
            continue
        for name, way in ways.items():
            tried += 1
            report.case(f"TypeScript {package}, mode {mode}, over {name}", sdk,
                        [node(peers), os.path.join(here, "sdk.mjs"), path, mode, *way], env, folder)
    python = os.path.join(peers, "python", "bin", "python")
    if os.path.exists(os.path.join(peers, "python", "installed")):
        for mode in ("auto", "legacy"):
            for name, way in ways.items():
                tried += 1
                report.case(f"Python SDK, mode {mode}, over {name}", sdk,
                            [python, os.path.join(here, "sdk_client.py"), mode, *way], env, folder)
    asked(report, sentinel, peers, attached, env, folder)
    if tried:
        report.case("each cancel reached the server", cancels, log, tried)
        report.case("each cancel is in the audit trail", audited, sentinel, tried)
    program = os.path.join(peers, "claude", "node_modules", ".bin", "claude")
    if os.path.exists(program):
        report.case("Claude Code", claude, program, sentinel, attached, folder)


def asked(report, sentinel, peers, attached, env, folder):
    """Clients of both eras that servers of both eras ask: sampling, elicitation, roots."""
    servers = asks(peers)
    assert not sentinel.until_backends(list(servers)), sentinel.tail()
    here = os.path.dirname(os.path.abspath(__file__))
    modules = os.path.join(peers, "npm", "node_modules", "@modelcontextprotocol")
    python = os.path.join(peers, "python", "bin", "python")
    programs = [(f"TypeScript {package}, mode {mode}",
                 [node(peers), os.path.join(here, "asking.mjs"), os.path.join(modules, package), mode])
                for package, mode in (("sdk", "first"), ("client", "legacy"), ("client", "auto"))
                if os.path.exists(os.path.join(modules, package))]
    if os.path.exists(os.path.join(peers, "python", "installed")):
        programs += [(f"Python SDK, mode {mode}", [python, os.path.join(here, "asking_client.py"), mode])
                     for mode in ("auto", "legacy")]
    for number, (title, program) in enumerate(programs):
        # A client of its own: what a server keeps of one (its roots) is no other's.
        minted = sentinel.ctl("--output", "json", "token", "mint", "--client", f"asked-{number}", "--role", "operator")
        ways = {"HTTP": ["http", sentinel.url, minted["token"]], "stdio": ["stdio", *attached]}
        for server, (name, way) in itertools.product(servers, ways.items()):
            report.case(f"{title}, asked by {server}, over {name}", sdk, [*program, server, *way],
                        dict(env, SENTINEL_TOKEN=minted["token"]), folder)


def probed(sentinel):
    """What a modern client asks first: whoever gets an error there opens a session instead."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    asked = {"jsonrpc": "2.0", "id": "probe-1", "method": "server/discover", "params": {"_meta": meta}}
    request = urllib.request.Request(sentinel.url, json.dumps(asked).encode(), {
        "Authorization": f"Bearer {sentinel.token}", "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "server/discover"})
    with urllib.request.urlopen(request, timeout=30) as response:
        status, answer = response.status, json.load(response)
    assert (status, answer["id"]) == (200, "probe-1"), (status, answer)
    assert answer["result"]["supportedVersions"][0] == "2026-07-28", answer
    return f"{status} {answer['result']['supportedVersions']}"


def cancels(log, expected):
    until(f"{expected} cancels, not {received(log)}", lambda: received(log) >= expected, 10)
    assert received(log) == expected, received(log)
    return f"{expected} of {expected}"


def audited(sentinel, expected):
    def rows():
        return sentinel.ctl("--output", "json", "audit", "list", "--status", "cancelled", "--tool", "example__slow")
    until(f"{expected} rows", lambda: len(rows()) >= expected, 30)
    assert len(rows()) == expected, rows()
    return f"{expected} rows"
