"""Runs scenarios on all targets that are here, keeps every record, and prints the table with how it was taken."""
import json
import os
import platform

from .measuring import fits, run_variant
from .processes import say
from .settings import missing, words_for
from .tables import middle, table


def compare(args, settings):
    """Every target in every scenario, and the table."""
    wanted = args.scenarios.split(",") if args.scenarios else None
    known = {scenario["name"] for scenario in settings["scenario"]}
    scenarios = [
        scenario
        for scenario in settings["scenario"]
        if not wanted
        or scenario["name"] in wanted
        or any(word not in known and scenario["name"].startswith(word) for word in wanted)
    ]
    if args.pin is not None:
        os.sched_setaffinity(0, {args.pin})  # inherited by all that is started from here on
    versions, names = measured(args, settings, scenarios)
    print(about(args, versions))
    print(table(args.records, names))


def measured(args, settings, scenarios):
    """Runs `scenarios` on all targets that can be run here; (versions, names). Records go to args.records and the file."""
    names = []
    for name, spec in settings["target"].items():
        if args.only and name not in args.only and name not in ("bare", "bare-stdio"):
            continue
        why = missing(args, spec, words_for(args, settings, name, "small"))
        if why:
            say(f"SKIPPED {name}: {why}")
        else:
            names.append(name)
    versions = {}
    with open(args.results, "a") as sink:
        try:
            for variant in dict.fromkeys(scenario.get("backend", "small") for scenario in scenarios):
                of_variant = [scenario for scenario in scenarios if scenario.get("backend", "small") == variant]
                fitting = [name for name in names if any(fits(settings["target"][name], one) for one in of_variant)]
                run_variant(args, settings, variant, of_variant, fitting, sink, versions)
        except KeyboardInterrupt:
            say("interrupted; the table is of what there is")
        kept = ("reps", "seconds", "warmup", "awake", "freeze", "pin", "priority")
        meta = {"kind": "meta", "run": args.run, "versions": versions, "cpu": cpu_name(), "cores": os.cpu_count()}
        meta |= {"kernel": platform.release()} | {name: getattr(args, name) for name in kept}
        sink.write(json.dumps(meta) + "\n")
    return versions, names


def cpu_name():
    return next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")


def about(args, versions):
    """What stands above a table: how it was taken, and how busy the machine was."""
    lines = [
        f"\nrun {args.run}: {args.reps} reps of {args.seconds:g} s; {os.cpu_count()} cores, {cpu_name()}, Linux {platform.release()}",
        "versions: " + "; ".join(f"{name} {version}" for name, version in versions.items() if version),
    ]
    foreign = [
        record["machine_cores"] - record["target_cores"] - record["backend_cores"]
        for record in args.records
        if "machine_cores" in record
    ]
    if foreign:
        lines.append(
            f"cores in use besides target and backend (load generator included): median {middle(foreign):.2f}, most {max(foreign):.2f}"
        )
    return "\n".join(lines)
