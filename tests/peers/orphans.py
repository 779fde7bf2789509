"""What is left of npx servers, three processes each, when the plane ends: nothing, however it ends."""

import json
import os
import signal
import time

import servers
from sentinel import Sentinel, until
from wire import Http


def marked(folder):
    """{pid: (group, has Sentinel's mark, command line)} of what runs under this Sentinel: by the folder's name in the
    environment, which every child and grandchild inherits."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                names = file.read().split(b"\0")
            if f"PEERS_ORPHANS={folder}".encode() not in names:
                continue
            with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline", "rb") as line:
                state, _, group = stat.read().rsplit(")", 1)[1].split()[:3]
                has_mark = any(name.startswith(b"SENTINEL_CHILD=") for name in names)
                if state != "Z":
                    found[int(pid)] = (int(group), has_mark, line.read().replace(b"\0", b" ").decode()[:80])
        except OSError:
            continue
    return found


def left(before, folder):
    """Of those that were there: what still runs, by the mark or by the process group."""
    groups, now = {group for group, _, _ in before.values()}, marked(folder)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                state, _, group = stat.read().rsplit(")", 1)[1].split()[:3]
            if int(group) in groups and state != "Z":
                now.setdefault(int(pid), (int(group), False, "(of the group; its environment is overwritten)"))
        except OSError:
            continue
    return now


def backends(peers, folder):
    cwd, env = os.path.join(peers, "npm"), {"PEERS_ORPHANS": folder}
    # The folder of its own keeps npm from asking the network anything.
    env["npm_config_update_notifier"] = "false"
    found = [{"name": name, "command": "npx", "args": ["--no-install", *args], "cwd": cwd, "env": env}
             for name, args in (("everything", ["mcp-server-everything", "stdio"]),
                                ("memory", ["mcp-server-memory"]), ("files", ["mcp-server-filesystem", folder]))]
    browser = next((one for one in servers.all_of(peers, folder)
                    if one.name == "playwright" and one.calls and servers.is_installed(one, peers)), None)
    if browser:
        found.append({"name": "playwright", "command": browser.command[0], "args": browser.command[1:], "env": env})
    return found


def started(programs, peers, folder):
    """Sentinel with all of them ready, and what runs under it."""
    os.makedirs(folder, exist_ok=True)
    kinds = backends(peers, folder)
    sentinel = Sentinel(programs, folder, kinds, os.environ)
    missing = sentinel.until_backends([kind["name"] for kind in kinds])
    assert not missing, f"{missing} not ready: {sentinel.tail()}"
    client = Http(sentinel.url, sentinel.token)
    result, error = client.call("everything__echo", {"message": "x"})
    assert result, error
    if any(kind["name"] == "playwright" for kind in kinds):
        result, error = client.call("playwright__browser_navigate", {"url": servers.PAGE})
        assert result and not json.loads(result).get("isError"), error or result
    before = left(marked(folder), folder)
    assert len(before) >= 9, before
    return sentinel, before


def killed(programs, peers, folder):
    sentinel, before = started(programs, peers, folder)
    try:
        groups, unmarked = {one[0] for one in before.values()}, [one for one in before.values() if not one[1]]
        print("      ", *sorted(f"{group} {line}" for group, _, line in before.values()), sep="\n       ")
        os.kill(sentinel.plane(), signal.SIGKILL)
        begun = time.monotonic()
        # `up` starts the plane again at once, and it its servers: those are in groups of their own.
        rest = lambda: {pid: one for pid, one in left(before, folder).items() if pid in before or one[0] in groups}
        until(f"nothing left of {len(before)}", lambda: not rest(), 5)
        took = time.monotonic() - begun
        return (f"{len(before)} processes in {len(groups)} groups, {len(unmarked)} of them without the mark; "
                f"none left after {took:.2f} s")
    finally:
        sentinel.stop()


def ended(programs, peers, folder):
    sentinel, before = started(programs, peers, folder)
    begun = time.monotonic()
    code = sentinel.stop()
    took, now = time.monotonic() - begun, left(before, folder)
    assert code == 0, f"exit code {code}: {sentinel.tail()}"
    assert not now, now
    return f"exit 0 after {took:.2f} s, none left of {len(before)}"


def run(report, programs, peers, folder):
    report.case("kill -9 of the plane leaves no child or grandchild", killed, programs, peers, folder + "/k")
    report.case("SIGTERM leaves none", ended, programs, peers, folder + "/t")
