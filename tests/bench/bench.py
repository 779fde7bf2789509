#!/usr/bin/env python3
"""Measures Sentinel and its peers side by side, in one run, on one (noisy) machine: the command line.

Without a mode it runs scenarios rep by rep and target by target, and prints a table whose ratios are taken against the
bare proxy of the same rep. `--goals` holds the product to its goals (`make bench`), `--curves` shows what grows with
what, `--fairness` what the bad do to the good. Standard library only. See docs/benchmarks.md.
"""
import argparse
import signal
import sys
import time
from pathlib import Path

from harness.comparing import compare
from harness.curves import curves
from harness.fairness import fairness
from harness.goals import goals
from harness.measuring import Spinners
from harness.settings import HERE, build_bench, install, read_settings
from harness.tables import read_results, table


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", type=Path, help="folder for the peers, build output, logs and work files")
    parser.add_argument("--install", action="store_true", help="install the peers into --lab, then stop")
    parser.add_argument("--goals", action="store_true", help="the goals of a release, in at most 15 minutes")
    parser.add_argument("--curves", action="store_true", help="cost by tools, backends and clients (takes longer)")
    parser.add_argument("--fairness", action="store_true", help="a good backend beside bad ones, a polite client beside a flood")
    parser.add_argument("--quick", action="store_true", help="with --goals: one short rep of each, to see that all works")
    parser.add_argument("--targets", action="append", type=Path, default=[], help="further targets file(s)")
    parser.add_argument("--only", help="comma-separated targets (bare is always added)")
    parser.add_argument("--scenarios", help="comma-separated scenarios, or beginnings of their names")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--sentinel-bin", type=Path, help="folder with the product's binaries")
    parser.add_argument("--counted-bin", type=Path, help="a sentinel-dataplane that counts its allocations")
    parser.add_argument("--bench-bin", type=Path, help="a built sentinel-bench (default: build it in --lab)")
    parser.add_argument("--results", type=Path, help="results file, appended to (default: LAB/results.jsonl)")
    parser.add_argument("--report", type=Path, help="only print the table of an existing results file")
    parser.add_argument("--last", action="store_true", help="with --report: only the last run in the file")
    parser.add_argument("--quiet-wait", type=float, default=3, help="seconds to wait, at most, for others to be quiet")
    parser.add_argument("--quiet-cores", type=float, default=0.4, help="what counts as quiet: cores in use")
    parser.add_argument("--no-freeze", dest="freeze", action="store_false", help="let targets run while others are measured")
    parser.add_argument("--awake", action="store_true", help="keep the cores from halting (see docs/benchmarks.md)")
    parser.add_argument("--pin", type=int, metavar="CORE", help="run load, backend and targets on this one core")
    parser.add_argument("--priority", type=int, metavar="NICE", help="run everything measured at this nice value, against other sessions too")
    parser.add_argument("--list", action="store_true", help="list targets and scenarios")
    return parser.parse_args()


def main():
    args = arguments()
    if args.report:
        records = read_results(args.report)
        if args.last and records:
            records = [record for record in records if record["run"] == records[-1]["run"]]
        print(table(records))
        return
    settings = read_settings([HERE / "targets.toml", *args.targets])
    args.only = args.only.split(",") if args.only else None
    for name in args.only or []:
        if name not in settings["target"]:
            sys.exit(f"no target {name}; there are: {', '.join(settings['target'])}")
    if args.list:
        for name, spec in settings["target"].items():
            print(f"{name:<20} {spec.get('about', '')}")
        print("scenarios: " + ", ".join(scenario["name"] for scenario in settings["scenario"]))
        return
    if not args.lab:
        sys.exit("--lab DIR is needed: it takes the peers, the build output and the logs")
    args.lab = args.lab.resolve()
    args.lab.mkdir(parents=True, exist_ok=True)
    args.sentinel_bin = args.sentinel_bin and args.sentinel_bin.resolve()
    args.counted_bin = args.counted_bin and args.counted_bin.resolve()
    if args.install:
        install(args, settings)
        return
    build_bench(args)
    args.results = args.results or args.lab / "results.jsonl"
    args.run = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    args.records = []
    args.helper_core = None
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    args.spinners = Spinners(args)
    try:
        if args.goals or args.curves or args.fairness:
            if not args.sentinel_bin:
                sys.exit("--sentinel-bin DIR is needed: the product is what is measured")
            args.only = ["bare", "bare-stdio", "sentinel", "sentinel-stdio"]
            (goals if args.goals else fairness if args.fairness else curves)(args, settings)
        else:
            compare(args, settings)
    finally:
        args.spinners.stop()


if __name__ == "__main__":
    main()
