"""The table of cells: clients on three SDKs, in both eras, through Sentinel, to servers on three SDKs, in both eras, each
trying every feature. Writes docs/cells.md.

cells.py PROGRAMS PEERS FIXTURE PAGE
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from sentinel import Sentinel, free_port, listens, until  # noqa: E402

ERAS = ("legacy", "modern")
SDKS = ("TypeScript", "Python", "rmcp")


class Stack:
    """Where everything is."""

    def __init__(self, programs, peers, fixture):
        self.programs, self.peers, self.fixture = programs, peers, fixture
        self.python = os.path.join(peers, "python", "bin", "python")
        npm = os.path.join(peers, "npm", "node_modules")
        self.node = os.path.join(npm, "node", "bin", "node")
        self.client = os.path.join(npm, "@modelcontextprotocol", "client")
        self.server = os.path.join(npm, "@modelcontextprotocol", "server")
        self.first = os.path.join(npm, "@modelcontextprotocol", "sdk")
        self.offer = os.path.join(HERE, "..", "..", "conformance", "fixture", "offer.json")

    def served(self, sdk):
        """The server's command, over stdio."""
        return {"TypeScript": [self.node, os.path.join(HERE, "server.mjs"), self.server, self.offer],
                "Python": [self.python, os.path.join(HERE, "server.py"), "stdio"],
                "rmcp": [self.fixture, "stdio"]}[sdk]

    def trying(self, sdk, era):
        """The client's command, without the way to Sentinel."""
        return {"TypeScript": [self.node, os.path.join(HERE, "client.mjs"), self.client, era],
                "Python": [self.python, os.path.join(HERE, "client.py"), era],
                "rmcp": [self.fixture, "client", era]}[sdk]


def ran(command, way):
    """{feature: (works, why)} of one client."""
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run([*command, *way], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                              text=True, timeout=600)
        said.seek(0)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found = {line["feature"]: (line["works"], line["why"]) for line in lines}
        if done.returncode or not found:
            found.setdefault("opening", (False, f"exit {done.returncode}: {said.read()[-300:]}"))
        return found


def tried(stack, sdk, era, folder):
    """Every client against one server of one era: {(client's SDK, its era): {feature: (works, why)}}."""
    backend = {"name": "fixture", "prefix": "", "era": era}
    started = None
    if sdk == "rmcp":
        # The two others are spoken to over stdio: so both transports are in the table.
        port = free_port()
        started = subprocess.Popen([stack.fixture, "http", str(port)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("the fixture listens", lambda: listens(port), 60)
        backend["url"] = f"http://127.0.0.1:{port}/mcp"
    else:
        backend["command"], *backend["args"] = stack.served(sdk)
    if era == "legacy":
        backend["isolation"] = "per-session"
    backends = [backend]
    if (sdk, era) == ("TypeScript", "legacy"):
        # The one SDK here with tasks of that revision is the first of the two on TypeScript.
        backends.append({"name": "tasks", "prefix": "", "era": era, "isolation": "per-session", "command": stack.node,
                         "args": [os.path.join(HERE, "tasks.mjs"), stack.first]})
    # What an SDK cannot do is no reason to leave its server alone for the features after it.
    auth = ("[circuit_breaker]", "failures = 1000", "[auth]")
    sentinel = Sentinel(stack.programs, folder, backends, os.environ, auth=auth)
    try:
        assert not sentinel.until_backends([one["name"] for one in backends]), sentinel.tail()
        way = ["http", sentinel.url, sentinel.token]
        return {(client, its): ran(stack.trying(client, its), way) for client in SDKS for its in ERAS}
    finally:
        sentinel.stop()
        if started:
            started.terminate()
            started.wait(20)


def features(found):
    """In the clients' own order."""
    names = {}
    for cell in found.values():
        for client in cell.values():
            names.update(dict.fromkeys(client))
    return list(names)


VARIES = re.compile(r"\(?\{.*|[0-9a-f]{8}-[0-9a-f-]{27}|\d{4,}")


def why(feature, client, its, server, era, seen):
    """The reason that is known, for what does not work; else what was seen."""
    for key, reason in REASONS.items():
        if all(want in ("*", is_it) for want, is_it in zip(key, (feature, client, its, server, era))):
            NEEDED.add(key)
            return reason, True
    return VARIES.sub("…", seen).replace("\n", " ").replace("|", "/")[:160], False


# (feature, client's SDK, its era, server's SDK, its era), `*` for any: why it cannot be.
BESIDE = ("what a stdio server that all share logs belongs to no call that could be named, and a modern client has nowhere "
          "else for it")
NO_REVISION = ("no revision has both: the tasks of 2025-11-25 are made where the client asks for one, those of 2026-07-28 where "
               "the server wants one, and neither end has the other's (decisions/tasks.md)")
REFUSES_TASKS = "this SDK's client takes no answer that is a task, whatever it declares"
REASONS = {
    ("tasks", "*", "legacy", "*", "modern"): NO_REVISION,
    ("tasks", "*", "modern", "*", "legacy"): NO_REVISION,
    ("tasks", "TypeScript", "modern", "rmcp", "modern"): REFUSES_TASKS,
    ("tasks", "Python", "legacy", "TypeScript", "legacy"): REFUSES_TASKS,
    ("log messages", "*", "modern", "TypeScript", "modern"): BESIDE,
    ("log messages", "*", "modern", "Python", "modern"): BESIDE,
}


NEEDED = set()

# What the servers here do not do, by SDK and era: not asked of them.
NOT_SERVED = {
    ("Python", "legacy"): {"all kinds of forms", "elicitation by a URL", "a prompt that asks", "log messages",
                           "resources/updated", "tasks"},
    ("Python", "modern"): {"all kinds of forms", "elicitation by a URL", "a prompt that asks", "tasks"},
    ("rmcp", "legacy"): {"tasks"},
    ("TypeScript", "modern"): {"tasks"},
}


def page(found):
    """The lines of the page, and what failed without a known reason."""
    rows, notes, faults = [], {}, []
    cells = [(its, era) for its in ERAS for era in ERAS]
    for feature in features(found):
        row = []
        for its, era in cells:
            good, bad, said = [], {}, set()
            for server in SDKS:
                if feature in NOT_SERVED.get((server, era), ()):
                    continue
                for client in SDKS:
                    works, seen = found[server, era][client, its].get(feature, (False, "it was not tried"))
                    if works:
                        good.append((client, server))
                        said.update({seen} - {""})
                        continue
                    reason, is_known = why(feature, client, its, server, era, seen)
                    bad.setdefault(reason, []).append(f"{client} → {server}")
                    if not is_known:
                        faults.append(f"{feature}, {its} → {era}, {client} → {server}: {seen}")
            marks, count = [], len(good) + sum(map(len, bad.values()))
            for reason, pairs in bad.items():
                note = notes.setdefault((reason, tuple(pairs) if good or len(bad) > 1 else ("all pairs",)), len(notes) + 1)
                marks.append(f"[{note}]")
            text = next(iter(said)) if len(said) == 1 and not bad else "works" if good else "does not"
            row.append(" ".join([text + (f" in {len(good)} of {count}" if good and bad else ""), *marks]))
        rows.append(f"| {feature} | " + " | ".join(row) + " |")
    faults += [f"nothing needs this reason any more: {key}" for key in REASONS if key not in NEEDED]
    head = "| feature | " + " | ".join(f"{its} → {era}" for its, era in cells) + " |"
    lines = [head, "| --- " * (len(cells) + 1) + "|", *rows, ""]
    for (reason, pairs), number in notes.items():
        lines.append(f"{number}. {', '.join(pairs)}: {reason}")
    return lines, faults


HEAD = """# Cells

Clients and servers of either era, with Sentinel between them: what works. Made by `make cells`; not edited by hand.

Each cell is nine pairs (six where the server on the Python SDK here has no such thing): the clients of the TypeScript (`@modelcontextprotocol/client`), Python (`mcp`) and Rust (`rmcp`) \
SDKs, over HTTP, each with a server on `@modelcontextprotocol/server` and on `mcp` over stdio, and on `rmcp` over HTTP \
(`tests/peers/cells/`, `tests/conformance/fixture/`). *legacy* is 2025-11-25, *modern* is 2026-07-28; the client's era \
stands before the arrow. Tasks are three pairs: of these SDKs' servers `rmcp` alone has those of 2026-07-28, and none has those of 2025-11-25, \
for which a server on `@modelcontextprotocol/sdk` stands beside the one on TypeScript; clients whose SDK has none ask by hand, on its transport. Legacy servers have `isolation = "per-session"`: what a server needs that asks.
"""


def main():
    programs, peers, fixture, out = (os.path.abspath(path) for path in sys.argv[1:5])
    stack, found = Stack(programs, peers, fixture), {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as folder:
        def one(of):
            server, era = of
            found[of] = tried(stack, server, era, os.path.join(folder, f"{server[:2]}{era[:2]}"))
            print(f"{time.monotonic() - begun:.0f} s: a {era} server on {server}", flush=True)

        # Most of it is waiting; more at once are late to start on two cores. Each server has a Sentinel of its own; its
        # clients come one after the other.
        with ThreadPoolExecutor(3) as all_at_once:
            list(all_at_once.map(one, [(server, era) for server in SDKS for era in ERAS]))
    lines, faults = page(found)
    with open(out, "w", encoding="utf-8") as file:
        file.write(HEAD + "\n" + "\n".join(lines).rstrip() + "\n")
    for fault in faults:
        print("FAILED", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
