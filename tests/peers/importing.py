"""A client's own file with seven real servers and their keys: `up --import` takes it over, every one is listed, and no
key stands in the configuration or in what is printed."""

import json
import os
import stat

import servers
from sentinel import Sentinel, until

# As the servers' own pages name them; none of them is a real key.
KEYS = {"context7": "CONTEXT7_API_KEY", "exa": "EXA_API_KEY", "n8n": "N8N_API_KEY", "firecrawl": "FIRECRAWL_API_KEY"}
SECRET = "TopSecret-0123456789abcdef-"
NAMES = ("everything", "files", "memory", "thinking", "context7", "exa", "n8n", "firecrawl", "time")
MOST = 7


def client_file(peers, folder):
    """`.mcp.json` as people write it, of the first seven that are installed: its text, and their names."""
    there = {one.name: one for one in servers.all_of(peers, folder) if servers.is_installed(one, peers)}
    chosen = [there[name] for name in NAMES if name in there][:MOST]
    entries = {}
    for one in chosen:
        env = dict(one.env)
        if one.name in KEYS:
            env[KEYS[one.name]] = SECRET + one.name
        entries[one.name] = {"command": one.command[0], "args": one.command[1:]} | ({"env": env} if env else {})
    return json.dumps({"mcpServers": entries}, indent=2), [one.name for one in chosen]


def check(report, sentinel, names):
    def listed():
        return {tool["backend"] for tool in sentinel.ctl("--output", "json", "tool", "list")}

    missing = sentinel.until_backends(names)
    if not missing:
        # The control plane hears of a list a moment after the plane has it.
        until("all are listed", lambda: set(names) <= listed())
    report.one(f"import: {len(names)} servers of a client's file are listed ({', '.join(names)})",
               f"not ready: {missing}; {sentinel.tail()}" if missing else None)
    with open(os.path.join(sentinel.folder, "sentinel.toml"), encoding="utf-8") as file:
        toml = file.read()
    secrets = os.path.join(sentinel.folder, "sentinel.env")
    with open(secrets, encoding="utf-8") as file:
        kept = sum(line.count(SECRET) for line in file)
    given = sum(name in KEYS for name in names)
    mode = stat.S_IMODE(os.stat(secrets).st_mode)
    with open(sentinel.log.name, encoding="utf-8", errors="replace") as file:
        printed = file.read()
    fault = None
    if SECRET in toml or SECRET in printed:
        fault = "a key stands in the configuration, or was printed"
    elif (kept, mode) != (given, 0o600):
        fault = f"{kept} of {given} keys are in sentinel.env, which has mode {mode:o}"
    report.one(f"import: {given} keys are in a private file alone", fault)


def run(report, programs, peers, folder):
    os.makedirs(folder, exist_ok=True)
    servers.fresh(folder)
    text, names = client_file(peers, folder)
    if len(names) < MOST:
        report.note(f"import: {len(names)} of {MOST} servers are installed: {', '.join(names)}")
    if not names:
        return
    path = os.path.join(folder, ".mcp.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    sentinel = Sentinel(programs, folder, [], dict(os.environ), client_file=path)
    try:
        check(report, sentinel, names)
    finally:
        report.one("import: it ends in order", None if sentinel.stop() == 0 else sentinel.tail())
