"""Runs the suite for two revisions: against the fixture alone, and against Sentinel in front of it, over both transports and
in both eras of the server. Writes what came of it as a page.

run.py PROGRAMS PEERS FIXTURE PAGE

A scenario that passes direct and fails through Sentinel, without a reason in `REASONS`, fails the run: so does a reason
that is no longer needed.
"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
from sentinel import Sentinel, free_port, listens, until  # noqa: E402

REVISIONS = ("2026-07-28", "2025-11-25")
LINE = re.compile(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed")
UNSCORED = re.compile(r"^  [✓✗] ([\w-]+) \(")


class Way:
    """How the fixture stands behind Sentinel: by which transport, in which era."""

    def __init__(self, title, transport, era):
        self.title, self.transport, self.era = title, transport, era


def ways(revision):
    same, other = ("modern", "legacy") if revision == "2026-07-28" else ("legacy", "modern")
    return (Way(f"stdio, {same}", "stdio", same), Way(f"HTTP, {same}", "http", same),
            Way(f"stdio, {other}", "stdio", other))


# (revision, start of the scenario's name, era of the server or `*`): why it fails through Sentinel alone.
REASONS = {
    ("2026-07-28", "input-required-result-basic-elicitation", "legacy"):
        "the check wants the question under the tool's own key; what a legacy server asks has none",
    ("2026-07-28", "tasks-", "legacy"): "a legacy server has no such tasks, and none are made of its own (decisions/tasks.md)",
}


class Suite:
    def __init__(self, peers):
        self.modules = os.path.join(peers, "conformance", "node_modules")
        with open(os.path.join(self.modules, "@modelcontextprotocol", "conformance", "package.json"),
                  encoding="utf-8") as package:
            self.version = re.search(r'"version": "([^"]+)"', package.read())[1]

    def run(self, url, revision):
        """{scenario: (passed, failed, why)} and the names that are not scored."""
        node = os.path.join(self.modules, "node", "bin", "node")
        script = os.path.join(self.modules, "@modelcontextprotocol", "conformance", "dist", "index.js")
        with tempfile.TemporaryDirectory() as folder:
            ran = subprocess.run([node, script, "server", "--url", url, "--requirements", revision, "-o", folder],
                                 cwd=folder, capture_output=True, text=True, timeout=900)
            found, unscored = {}, set()
            for line in ran.stdout.splitlines():
                if match := LINE.match(line):
                    found[match[1]] = (int(match[2]), int(match[3]), self.failing(folder, match[1]))
                elif match := UNSCORED.match(line):
                    unscored.add(match[1])
        assert found, (ran.stdout[-2000:], ran.stderr[-2000:])
        return found, unscored


    @staticmethod
    def failing(folder, scenario):
        """What the checks say that fail: of use to whoever mends it."""
        said = []
        for file in glob.glob(os.path.join(folder, f"server-{scenario}-2*", "checks.json")):
            with open(file, encoding="utf-8") as checks:
                said += [f"{check['id']}: {str(check.get('errorMessage'))[:300]}" for check in json.load(checks)
                         if check["status"] == "FAILURE"]
        return "; ".join(said)


class Served:
    """The fixture over HTTP, on a port of its own."""

    def __init__(self, fixture):
        self.port = free_port()
        self.process = subprocess.Popen([fixture, "http", str(self.port)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("the fixture listens", lambda: listens(self.port), 60)

    def __enter__(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def __exit__(self, *_fault):
        self.process.terminate()
        self.process.wait(20)


def through(suite, programs, fixture, revision, way, folder):
    """The suite can send no token: `mode = "none"`, with one role for everybody; all else is on."""
    backend = {"name": "fixture", "prefix": "", "era": way.era}
    if way.era == "legacy":
        backend["isolation"] = "per-session"
    with Served(fixture) as url:
        if way.transport == "http":
            backend["url"] = url
        else:
            backend |= {"command": fixture, "args": ["stdio"]}
        sentinel = Sentinel(programs, folder, [backend], os.environ,
                            # One scenario that fails is no reason to leave the server alone for those after it.
                            auth=("[circuit_breaker]", "failures = 1000", "[gateway]",
                                  'allowed_origins = ["http://127.0.0.1:PORT", "http://localhost:PORT"]',
                                  "[auth]", 'mode = "none"', 'default_role = "operator"'),
                            flags=("--allow-anonymous",))
        try:
            assert not sentinel.until_backends(["fixture"]), sentinel.tail()
            return suite.run(sentinel.url, revision)[0]
        finally:
            sentinel.stop()


def why(revision, name, era):
    for (of, start, its), reason in REASONS.items():
        if of == revision and name.startswith(start) and its in ("*", era):
            return (of, start, its), reason
    return None, None


def shown(found):
    if found is None:
        return "not run"
    passed, failed, _why = found
    return f"{passed} of {passed + failed}" if failed else "passes"


def good(found, scored):
    return sum(not found.get(name, (0, 1, ""))[1] for name in scored)


def table(revision, alone, behind, unscored, faults, used):
    """The revision's part of the page; what nobody expected goes into `faults`."""
    scored = [name for name in alone if name not in unscored]
    count = len(scored)
    if good(alone, scored) < count:
        faults += [f"{revision} {name}: {shown(alone[name])} direct: {alone[name][2]}" for name in scored if alone[name][1]]
    lines = [f"## {revision}", "", f"Scored scenarios that pass: {good(alone, scored)} of {count} direct; through Sentinel "
             + ", ".join(f"{good(found, scored)} of {count} ({way.title})" for way, found in behind) + ".", "",
             "| scenario | direct | " + " | ".join(way.title for way, _ in behind) + " | |",
             "| --- " * (len(behind) + 3) + "|"]
    for name in alone:
        cells, notes = [], dict.fromkeys(["not scored"] if name in unscored else [])
        for way, found in behind:
            other = found.get(name)
            cells.append(shown(other))
            if other is not None and other[1] <= alone[name][1]:
                continue
            key, reason = why(revision, name, way.era)
            if reason:
                used.add(key)
                notes[reason] = None
            else:
                faults.append(f"{revision} {name}: {shown(alone[name])} direct, {shown(other)} through ({way.title}): "
                              f"{other and other[2]}")
        if alone[name][1]:
            notes["the fixture does not do it"] = None
        lines.append(f"| `{name}` | {shown(alone[name])} | " + " | ".join(cells) + f" | {'; '.join(notes)} |")
    return lines + [""]


HEAD = """# Conformance

The official suite (`@modelcontextprotocol/conformance` {version}) against our own server of both eras on rmcp \
(`tests/conformance/fixture/`), direct over HTTP and through Sentinel in front of it: with the server in the suite's era over \
stdio and over HTTP, and in the other era. `prefix = ""`, roles, limits, schema checks and audit are on; `mode = "none"`, \
because the suite can send no token. Where the server is legacy, `isolation = "per-session"`: what a server needs that asks. \
Made by `make conformance`; not edited by hand.
"""


def main():
    programs, peers, fixture, page = (os.path.abspath(path) for path in sys.argv[1:5])
    suite, faults, lines, used = Suite(peers), [], [], set()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as folder:
        for revision in REVISIONS:
            with Served(fixture) as url:
                alone, unscored = suite.run(url, revision)
            behind = []
            for number, way in enumerate(ways(revision)):
                place = os.path.join(folder, f"{revision[:4]}-{number}")
                behind.append((way, through(suite, programs, fixture, revision, way, place)))
                print(f"{time.monotonic() - begun:.0f} s: {revision}, {way.title}", flush=True)
            lines += table(revision, alone, behind, unscored, faults, used)
    with open(page, "w", encoding="utf-8") as out:
        out.write(HEAD.format(version=suite.version) + "\n" + "\n".join(lines).rstrip() + "\n")
    faults += [f"no scenario needs this reason any more: {key}" for key in REASONS if key not in used]
    print(f"written: {page}")
    for fault in faults:
        print("FAILED", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
