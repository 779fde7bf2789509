"""Everything that is tried with real servers and real clients, in order; the last line counts."""

import contextlib
import os
import shutil
import sys
import tempfile

import abuse
import clients
import compare
import importing
import orphans
from report import Report


def main():
    programs, peers = (os.path.abspath(path) for path in sys.argv[1:3])
    report = Report()
    # Short: the path of a Unix socket has at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="sp-", dir="/tmp")
    try:
        with contextlib.ExitStack() as stack:
            report.part("real servers", compare.run, report, programs, peers, os.path.join(folder, "a"), stack)
        report.part("real clients", clients.run, report, programs, peers, os.path.join(folder, "c"))
        report.part("import", importing.run, report, programs, peers, os.path.join(folder, "i"))
        if os.path.exists(os.path.join(peers, "npm", "installed")):
            report.part("orphans", orphans.run, report, programs, peers, os.path.join(folder, "o"))
            report.part("abuse", abuse.run, report, programs, peers, os.path.join(folder, "b"))
    finally:
        if os.environ.get("SENTINEL_KEEP"):
            print("kept:", folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"peers: {report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
