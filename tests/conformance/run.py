"""Runs the suite four times (two revisions; the fixture alone, and behind Sentinel) and writes what came of it as a page.

A scenario that passes direct and fails through Sentinel, without a reason in `WHY`, fails the run: so does a reason that is
no longer needed.
"""

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
NOT_YET = {
    "resources": "resources come later",
    "prompts": "prompts come later",
    "completion": "completion comes later",
    "caching": "asks for it on resources and prompts too, which come later",
    "sep-2164": "resources come later",
    "input-required": "questions to the client (`input_required`) come later",
    "elicitation": "questions to the client come later",
    "tools-call-sampling": "questions to the client come later",
    "tools-call-elicitation": "questions to the client come later",
    "tasks": "tasks come later",
    "http-custom-header": "`Mcp-Param-*` is ignored (decisions/modern-era.md)",
}


def suite(peers, url, revision):
    """{scenario: (passed, failed)} and the names that are not scored."""
    modules = os.path.join(peers, "conformance", "node_modules")
    node = os.path.join(modules, "node", "bin", "node")
    script = os.path.join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js")
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run([node, script, "server", "--url", url, "--requirements", revision, "-o", folder],
                             cwd=folder, capture_output=True, text=True, timeout=600)
    found, unscored = {}, set()
    for line in ran.stdout.splitlines():
        if match := LINE.match(line):
            found[match[1]] = (int(match[2]), int(match[3]))
        elif match := UNSCORED.match(line):
            unscored.add(match[1])
    assert found, (ran.stdout[-2000:], ran.stderr[-2000:])
    return found, unscored


def direct(peers, revision):
    port = free_port()
    here = os.path.dirname(os.path.abspath(__file__))
    fixture = subprocess.Popen([python(peers), os.path.join(here, "fixture.py"), "http", str(port)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until("the fixture listens", lambda: listens(port), 60)
        return suite(peers, f"http://127.0.0.1:{port}/mcp", revision)
    finally:
        fixture.terminate()
        fixture.wait(20)


def python(peers):
    return os.path.join(peers, "python", "bin", "python")


def through(programs, peers, revision, folder):
    """The suite can send no token: `mode = "none"`, with one role for everybody; all else is on."""
    here = os.path.dirname(os.path.abspath(__file__))
    backend = {"name": "fixture", "prefix": "", "command": python(peers),
               "args": [os.path.join(here, "fixture.py"), "stdio"]}
    sentinel = Sentinel(programs, folder, [backend], os.environ,
                        auth=("[gateway]", 'allowed_origins = ["http://127.0.0.1:PORT", "http://localhost:PORT"]',
                              "[auth]", 'mode = "none"', 'default_role = "operator"'), flags=("--allow-anonymous",))
    try:
        assert not sentinel.until_backends(["fixture"]), sentinel.tail()
        return suite(peers, sentinel.url, revision)
    finally:
        sentinel.stop()


def why(name):
    return next((reason for start, reason in NOT_YET.items() if name.startswith(start)), None)


def shown(found):
    if found is None:
        return "not run"
    passed, failed = found
    return f"{passed} of {passed + failed}" if failed else "passes"


def table(revision, alone, behind, unscored, faults):
    """The revision's part of the page; what nobody expected goes into `faults`."""
    scored = [name for name in alone if name not in unscored]
    good = [sum(not runs.get(name, (0, 1))[1] for name in scored) for runs in (alone, behind)]
    lines = [f"## {revision}", "",
             f"Scored scenarios that pass: {good[0]} of {len(scored)} direct, {good[1]} of {len(scored)} through Sentinel.",
             "", "| scenario | direct | through Sentinel | |", "| --- | --- | --- | --- |"]
    for name in alone:
        one, other = alone[name], behind.get(name)
        worse = other is None or other[1] > one[1]
        reason = why(name) if worse else None
        if worse and not reason:
            reason = REASONS.get((revision, name))
            if not reason:
                faults.append(f"{revision} {name}: {shown(one)} direct, {shown(other)} through")
        mark = "" if name not in unscored else "not scored; "
        fixture = "" if not one[1] else "the fixture does not do it; "
        lines.append(f"| `{name}` | {shown(one)} | {shown(other)} | {(mark + fixture + (reason or '')).rstrip('; ')} |")
    return lines + [""]


# One scenario each: checks that fail through Sentinel alone.
REASONS = {}


def main():
    programs, peers, page = (os.path.abspath(path) for path in sys.argv[1:4])
    faults, lines = [], []
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as folder:
        for revision in REVISIONS:
            alone, unscored = direct(peers, revision)
            behind, _same = through(programs, peers, revision, os.path.join(folder, revision[:4]))
            lines += table(revision, alone, behind, unscored, faults)
    head = ["# Conformance", "",
            "The official suite (`@modelcontextprotocol/conformance` 0.2.0-alpha.12) against a server on the Python SDK "
            "(`tests/conformance/fixture.py`), direct and through Sentinel with that server as a stdio backend, "
            '`prefix = ""`, roles, limits, schema checks and audit on; `mode = "none"`, because the suite can send no '
            "token. Made by `make conformance`; not edited by hand.", "",
            "Sentinel speaks the legacy era to servers yet, so a scenario of 2026-07-28 crosses the eras on its way.", ""]
    with open(page, "w", encoding="utf-8") as out:
        out.write("\n".join(head + lines).rstrip() + "\n")
    print(f"written: {page} ({time.strftime('%H:%M:%S')})")
    for fault in faults:
        print("FAILED", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
