"""Real npx servers, three processes each, killed and frozen under calls: the caller is told, nothing is left of the old
tree (a browser among it), and the next calls are served."""

import json
import os
import signal
import threading
import time

import servers
from orphans import marked
from sentinel import Sentinel, until
from wire import Http

# A call may take so long; a frozen server is found out by it.
DEADLINE = 5
# "At once", on a machine with other work.
AT_ONCE = 2
FROZEN = 30


def stat_of(pid):
    """(parent, start time, state); None: it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(fields[1]), fields[19], fields[0]


def tree(top):
    """[(pid, start time)] of a process and all below it, parents first."""
    found = [top]
    for above in found:
        found += [int(pid) for pid in filter(str.isdigit, os.listdir("/proc"))
                  if (stat_of(pid) or (0,))[0] == above and int(pid) not in found]
    return [(pid, stat[1]) for pid in found if (stat := stat_of(pid))]


def alive(processes):
    return [pid for pid, began in processes if (stat := stat_of(pid)) and stat[1] == began and stat[2] != "Z"]


def server_of(processes):
    """The server itself: below npm and its shell, the first program that is node again."""
    for pid, _ in processes[1:]:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            if os.path.basename(line.read().split(b"\0")[0]) in (b"node", b"MainThread"):
                return pid
    raise LookupError(f"no server in {processes}")


class Abused:
    """One server behind a Sentinel, with its call."""

    def __init__(self, sentinel, name, tool, arguments):
        self.sentinel, self.name = sentinel, name
        self.tool, self.arguments = f"{name}__{tool}", arguments
        self.client = Http(sentinel.url, sentinel.token)

    def state(self):
        return next(one for one in self.sentinel.ctl("--output", "json", "backend", "list") if one["name"] == self.name)

    def works(self):
        result, error = self.client.call(self.tool, self.arguments)
        return result is not None and not error

    def in_flight(self):
        """A call from a client of its own; its answer and seconds come into the list that is returned."""
        told, begun = [], time.monotonic()

        def ask():
            result, error = Http(self.sentinel.url, self.sentinel.token).call(self.tool, self.arguments)
            told.append((time.monotonic() - begun, result, json.loads(error or "{}")))
        threading.Thread(target=ask, daemon=True).start()
        return told

    def until_busy(self):
        until(f"a call is at {self.name}", lambda: self.state()["in_flight"] > 0, 20)

    def back(self, old):
        """Seconds until calls are served again, by processes that are none of the old."""
        begun = time.monotonic()
        until(f"{self.name} serves again", self.works, 60)
        took = time.monotonic() - begun
        until(f"nothing is left of {old}: {alive(old)}", lambda: not alive(old), 10)
        return took


def processes_of(abused):
    until(f"{abused.name} works", abused.works, 60)
    pid = until(f"{abused.name} has a process", lambda: abused.state()["pid"], 60)
    return tree(pid)


def killed(abused, whom):
    """kill -9 under a call that cannot end: its server is frozen first."""
    old = processes_of(abused)
    server = server_of(old)
    os.kill(server, signal.SIGSTOP)
    told = abused.in_flight()
    abused.until_busy()
    victim = old[0][0] if whom == "parent" else server
    begun = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    until("the call is told", lambda: told, DEADLINE + AT_ONCE)
    took = time.monotonic() - begun
    kind = told[0][2].get("data", {}).get("kind")
    assert kind == "backend_error", told
    assert took < AT_ONCE, f"told after {took:.2f} s: {told}"
    back = abused.back(old)
    return f"{len(old)} processes, told {kind} after {took:.2f} s, served again {back:.2f} s later"


def frozen(abused):
    """SIGSTOP of the server for half a minute: calls end at their deadline, and a new process is there before it is over."""
    old = processes_of(abused)
    server = server_of(old)
    os.kill(server, signal.SIGSTOP)
    begun = time.monotonic()
    told = [abused.in_flight() for _ in range(3)]
    until("all calls are told", lambda: all(told), DEADLINE + 10)
    kinds = {one[0][2].get("data", {}).get("kind") for one in told}
    slowest = max(one[0][0] for one in told)
    assert kinds <= {"timeout", "backend_error"} and slowest < DEADLINE + AT_ONCE, told
    back = None
    while time.monotonic() - begun < FROZEN:
        if back is None and abused.works():
            back = time.monotonic() - begun
        time.sleep(0.2)
    if server in alive(old):
        os.kill(server, signal.SIGCONT)
    abused.back(old)
    assert back is not None, f"not served within {FROZEN} s: {abused.state()}"
    return f"told {'/'.join(sorted(kinds))} after {slowest:.2f} s, served again {back:.2f} s after the freeze"


def backends(peers, folder):
    """(definition, tool, arguments) of each that is installed."""
    there = {one.name: one for one in servers.all_of(peers, folder) if servers.is_installed(one, peers)}
    calls = {
        "thinking": ("npm", "mcp-server-sequential-thinking", servers.THINKING[1]),
        "context7": ("services", "context7-mcp", ("resolve-library-id", {"query": "how", "libraryName": "react"})),
        "playwright": ("services", "playwright-mcp", ("browser_navigate", {"url": servers.PAGE})),
    }
    for name, (part, program, (tool, arguments)) in calls.items():
        if name not in there or (name == "playwright" and not there[name].calls):
            continue
        env = dict(there[name].env, PEERS_ORPHANS=folder, npm_config_update_notifier="false")
        definition = {"name": name, "command": "npx", "args": ["--no-install", program, *there[name].command[1:]],
                      "cwd": os.path.join(peers, part), "env": env, "timeout_secs": DEADLINE, "max_timeout_secs": DEADLINE}
        yield definition, tool, arguments


def run(report, programs, peers, folder):
    os.makedirs(folder, exist_ok=True)
    servers.fresh(folder)
    wanted = list(backends(peers, folder))
    names = [definition["name"] for definition, _, _ in wanted]
    for absent in {"thinking", "context7", "playwright"} - set(names):
        report.note(f"abuse: {absent} is not there and was not tried")
    sentinel = Sentinel(programs, folder, [definition for definition, _, _ in wanted], os.environ)
    try:
        missing = sentinel.until_backends(names)
        assert not missing, f"{missing} not ready: {sentinel.tail()}"
        for definition, tool, arguments in wanted:
            name = definition["name"]
            abused = Abused(sentinel, name, tool, arguments)
            report.case(f"abuse: {name}, kill -9 of npx's own process", killed, abused, "parent")
            report.case(f"abuse: {name}, kill -9 of the server under npx", killed, abused, "server")
            report.case(f"abuse: {name}, SIGSTOP for {FROZEN} s", frozen, abused)
    finally:
        sentinel.stop()
    report.case("abuse: nothing is left at the end", lambda: until("none", lambda: not marked(folder), 10) and None)
