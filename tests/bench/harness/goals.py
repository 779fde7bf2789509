"""`--goals`: the table of goals, one core for what is compared, all cores where the goal says so. Judges nothing else."""
import os
import time

from . import product
from .comparing import about, measured
from .processes import say
from .settings import words_for
from .tables import goals_table, middle, show, table


def goals(args, settings):
    """Runs everything that a goal names, then prints the goals and the scenarios that they were taken from."""
    begin = time.monotonic()
    cores = sorted(os.sched_getaffinity(0))
    args.reps, args.seconds, args.warmup, args.quiet_wait = (1, 0.5, 0.2, 0.5) if args.quick else (5, 1.0, 0.3, 1.5)
    versions, singles = {}, {}
    for pinned in (True, False):
        names = {goal["scenario"] for goal in settings["goal"] if "scenario" in goal and goal.get("pinned", True) == pinned}
        scenarios = [scenario for scenario in settings["scenario"] if scenario["name"] in names]
        args.pin = (args.pin if args.pin is not None else cores[-1]) if pinned else None
        # the control plane takes the records in on another core: what the plane costs is the plane's alone
        args.helper_core = next((core for core in cores if core != args.pin), None) if pinned else None
        os.sched_setaffinity(0, {args.pin} if pinned else set(cores))
        before = len(args.records)
        versions |= measured(args, settings, scenarios)[0]
        for record in args.records[before:]:
            record["pinned"] = pinned
    os.sched_setaffinity(0, set(cores))
    allocated = alone(args, settings, singles)

    print(about(args, versions))
    print(f"{round(time.monotonic() - begin)} s in all\n\n## Goals\n")
    print(goals_table(settings["goal"], args.records, singles))
    for name, (calls, count, size) in allocated.items():
        print(f"\nallocations per call, {name}: {show(count, 1)} of {show(size)} bytes in all ({calls} calls)")
    for pinned, title in ((True, "one core"), (False, "all cores")):
        print(f"\n## Scenarios, {title}" + table([record for record in args.records if record["pinned"] == pinned]))
    helped = [record["helpers_cpu_us_per_op"] for record in args.records if record.get("helpers_cpu_us_per_op")]
    if helped:
        print(f"\nThe control plane took the audit records in for {show(middle(helped), 1)} µs CPU a call (not in CPU µs/op).")


def alone(args, settings, singles):
    """What needs no comparison. A failure is said and leaves its row unmeasured; the others go on."""
    def attempt(name, action):
        try:
            return action()
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            say(f"NOT MEASURED: {name}: {error}")
            return None

    args.pin = args.helper_core = None
    times = 3 if args.quick else 10

    def every():
        with product.running(args, settings) as live:
            sizes = attempt("memory", lambda: product.memory(args, live))
            if sizes:
                for name, value in zip(("memory, data plane idle, MB", "memory, data plane after load, MB", "memory, control plane, MB"), sizes):
                    singles[name] = [value]
            killed = attempt("kill switch", lambda: product.kill_switch(live, times))
            if killed:
                singles["kill switch, command to refusal, ms"], ended = killed
                say(f"  kill switch: the command itself took {show(middle(ended), 1)} ms")
            work = words_for(args, settings, "sentinel", "small")["work"]
            lost = attempt("reloads", lambda: product.reloads(args, live, work, 10 if args.quick else 100))
            if lost:
                singles["failed calls in 100 reloads under load"] = [lost[0]]
                say(f"  reloads: {lost[0]} of {lost[1]} calls failed")
            ready = attempt("start", lambda: product.start_to_ready(args, settings, live, times))
            if ready:
                singles["start to ready, ms"] = ready

    attempt("the product alone", every)
    if not args.counted_bin:
        return {}
    return attempt("allocations", lambda: product.allocations(args, settings, args.counted_bin)) or {}
