"""Real servers through Sentinel: every definition and every result is the text that the server itself gives."""

import json
import os
import re
import subprocess

import servers
from sentinel import Sentinel, free_port, listens, until
from wire import Http, HttpSse, Stdio, members

# What differs between any two runs of the server alone.
VARIES = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\d{1,2}:\d\d:\d\d [AP]M"), "TIME"),
    # "Resource …: … created at …", as base64.
    (re.compile(r'"blob":"UmVzb3VyY2Ug[\w+/=]*"'), "BLOB"),
    (re.compile(r"page-TIME\w*|page-\d{4}-[\w-]+\.yml|\bAge: \d+"), "FILE"),
]


def environment(**more):
    """What Sentinel gives a server, but for its own mark."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | more


def varying(text):
    for pattern, word in VARIES:
        text = pattern.sub(word, text)
    return text


def same_environment(direct, through):
    """get-env tells of the process that it runs in: the same but for the mark, in whatever order."""
    def variables(text):
        found = json.loads(json.loads(text)["content"][0]["text"])
        found.pop("SENTINEL_CHILD", None)
        return found
    return variables(direct) == variables(through)


class Started:
    """An HTTP server, ended with its group's first process."""

    def __init__(self, server, port):
        self.port = port
        command, env = server.started(self.port)
        self.process = subprocess.Popen(command, env=environment(**env), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(f"{server.name} listens", lambda: listens(self.port))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def direct(server, folder, port):
    """What the server says without Sentinel: its tools, an answer for each call, whether calls can be tasks."""
    started = Started(server, port) if server.http else None
    if started:
        client = (HttpSse if server.transport else Http)(f"http://127.0.0.1:{started.port}{server.http}")
    else:
        command, env = server.started()
        client = Stdio(command, environment(**env), folder)
    try:
        return client.tools(), [client.call(name, arguments) for name, arguments in server.calls], client.has_tasks
    finally:
        client.close()
        if started:
            started.stop()


def backend(server, folder, started):
    """In the era that the direct client speaks: a server of both words some things otherwise in the other."""
    if server.http:
        keys = {"transport": server.transport} if server.transport else {}
        return {"name": server.name, "url": f"http://127.0.0.1:{started.port}{server.http}", "era": "legacy"} | keys
    keys = {name: f"${{{name}:-}}" for name in server.keys}
    return {"name": server.name, "command": server.command[0], "args": server.command[1:], "env": server.env | keys,
            "cwd": folder, "era": "legacy"}


def chosen(server, folder):
    """The same, in the era that Sentinel chooses."""
    return backend(server, folder, None) | {"name": f"{server.name}-auto", "era": "auto"}


def alike(text):
    """What both eras say, whatever its order and times; a server may say more of itself in `_meta`."""
    value = json.loads(varying(text))
    value.pop("_meta", None)
    value.pop("execution", None)
    return value


def in_either_era(server, alone, listed, client, sentinel):
    """A server of both eras offers and answers the same in the modern one, which is chosen."""
    spoken = next(one for one in sentinel.ctl("--output", "json", "backend", "list") if one["name"] == f"{server.name}-auto")
    assert spoken["protocol_version"] == "2026-07-28", spoken
    tools, answers, _ = alone
    for name, text in tools.items():
        got = alike(listed[f"{server.name}-auto__{name}"])
        assert dict(got, name=name) == alike(text), f"{name}: {got} instead of {text[:400]}"
    for (name, arguments), answer in zip(server.calls, answers):
        for had, wanted in zip(client.call(f"{server.name}-auto__{name}", arguments), answer):
            assert had == wanted or alike(had) == alike(wanted), f"{name}: {had} instead of {wanted}"
    return f"{len(tools)} tools and {len(answers)} answers"


def exposable(tools):
    """All but what can only be a task of 2025-11-25, of a server that has none (docs/decisions/tasks.md)."""
    return {name: text for name, text in tools.items()
            if json.loads(text).get("execution", {}).get("taskSupport") != "required"}


def definitions(server, tools, has_tasks, listed):
    """Every tool of the server is listed, its definition the same text but for the name and, of a server without tasks,
    `execution`, which is about those, in the server's order."""
    tools = tools if has_tasks else exposable(tools)
    exposed = [name for name in listed if name.startswith(server.name + "__")]
    expected = [f"{server.name}__{name}" for name in tools]
    assert exposed == expected, f"listed {exposed}, expected {expected}"
    exact = 0
    for name, text in tools.items():
        got = listed[f"{server.name}__{name}"]
        wanted, had = members(text), members(got)
        wanted["name"] = json.dumps(f"{server.name}__{name}")
        if not has_tasks:
            wanted.pop("execution", None)
        assert had == wanted, f"{name}: {got[:400]} instead of {text[:400]}"
        renamed = text.replace(members(text)["name"], wanted["name"], 1)
        exact += got == renamed
    return f"{len(tools)} tools, {exact} of them the same bytes in the same order"


def result(server, call, alone, client):
    """One call through Sentinel, compared with the answer without it."""
    name, arguments = call
    through = client.call(f"{server.name}__{name}", arguments)
    for had, wanted, part in zip(through, alone, ("result", "error")):
        if had == wanted:
            continue
        both = had is not None and wanted is not None
        if both and name == "get-env" and same_environment(wanted, had):
            return "the same environment, but for Sentinel's mark"
        if both and varying(had) == varying(wanted):
            return "the same text but for times and ids that the server makes anew"
        if refused_alike(through, alone):
            return f"refused by both; Sentinel: {through[1][:160]}"
        raise AssertionError(f"{part} is {had and had[:300]} instead of {wanted and wanted[:300]}")
    assert through != (None, None)
    return f"{len((through[0] or through[1]).encode())} bytes of {'result' if through[0] else 'error'}, identical"


def refused_alike(through, alone):
    """Arguments that do not fit are refused by Sentinel before the server can, in its own words."""
    if through[1] is None or json.loads(through[1])["code"] != -32602:
        return False
    return alone[1] is not None or json.loads(alone[0]).get("isError") is True


def run(report, programs, peers, folder, stack):
    """Both runs, and every comparison. What it started ends with `stack`."""
    tried, alone, ports = [], {}, {}
    os.makedirs(folder, exist_ok=True)
    servers.fresh(folder)
    for server in servers.all_of(peers, folder):
        if not servers.is_installed(server, peers):
            report.note(f"{server.name} is not installed here: not tried")
            continue
        try:
            ports[server.name] = free_port()
            alone[server.name] = direct(server, folder, ports[server.name])
            tried.append(server)
        except Exception as fault:  # it says nothing of Sentinel
            report.note(f"{server.name} does not run here without Sentinel either: {type(fault).__name__} {fault}")
    servers.fresh(folder)
    running = {}
    for server in tried:
        if server.http:
            running[server.name] = Started(server, ports[server.name])
            stack.callback(running[server.name].stop)
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    sentinel = Sentinel(programs, os.path.join(folder, "up"),
                        [backend(server, folder, running.get(server.name)) for server in tried]
                        + [chosen(server, folder) for server in tried if server.both], env)
    stack.callback(sentinel.stop)
    missing = sentinel.until_backends([server.name for server in tried]
                                      + [f"{server.name}-auto" for server in tried if server.both])
    http = Http(sentinel.url, sentinel.token)
    attached = attach(sentinel)
    listed, listed_attached = http.tools(), attached.tools()
    report.one("HTTP and stdio list the same tools", None if listed == listed_attached else "they differ")
    for server in tried:
        if server.name in missing or f"{server.name}-auto" in missing:
            report.one(f"{server.name} starts and lists", "it was not ready in time")
            continue
        tools, answers, has_tasks = alone[server.name]
        report.case(f"{server.name}: definitions", definitions, server, tools, has_tasks, listed)
        for number, (call, answer) in enumerate(zip(server.calls, answers)):
            client = (http, attached)[number % 2]
            over = ("HTTP", "stdio")[number % 2]
            report.case(f"{server.name} {call[0]} over {over}", result, server, call, answer, client)
        if server.both:
            report.case(f"{server.name} in the modern era", in_either_era, server, alone[server.name], listed, http,
                        sentinel)
    attached.close()
    code = sentinel.stop()
    report.one("SIGTERM ends it with 0", f"exit code {code}" if code else None)


def attach(sentinel):
    return Stdio([sentinel.program("sentinel-dataplane"), "stdio", "--data-dir", sentinel.data, "--log", "warn"],
                 dict(os.environ, SENTINEL_TOKEN=sentinel.token))
