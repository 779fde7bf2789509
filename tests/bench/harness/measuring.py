"""One run of the load against one target, and all runs of one kind of backend, rep by rep. Prints no table."""
import json
import os
import subprocess
import time
from pathlib import Path

from .processes import TICK, cpu_ticks, memory_kb, prefer, say, tree
from .targets import start_backends, start_target, stop_target, version_of, wait_shipped


class Spinners:
    """With --awake, one spinning process a core at SCHED_IDLE: it gives way to anything at all, but
    keeps the cores from halting (waking a halted core of a virtual machine costs more than a small
    request does). Off by default: a core that never idles never pulls waiting work over either,
    and that costs targets of several threads or processes some of their speed."""

    def __init__(self, args):
        self.children = []
        if args.awake:
            idle = lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            for _ in range(os.cpu_count()):
                self.children.append(
                    subprocess.Popen([str(args.bench_bin), "spin"], stdin=subprocess.DEVNULL, preexec_fn=idle)
                )

    def ticks(self):
        return sum((stat_of(child.pid) or (0, 0, 0))[2] for child in self.children)

    def stop(self):
        for child in self.children:
            child.kill()
            child.wait()


def machine_ticks(spinners, core=None):
    """(busy, steal) of all cores together, or of one; the spinners left out of the sum of all."""
    lines = Path("/proc/stat").read_text().splitlines()
    line = lines[0] if core is None else next(line for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _wait, irq, soft, steal = (int(field) for field in line.split()[1:9])
    return user + nice + system + irq + soft - (spinners.ticks() if core is None else 0), steal


def wait_quiet(limit, cores, spinners, core):
    """Waits until others use less than `cores` of the machine, `limit` seconds at most."""
    start = time.monotonic()
    while True:
        busy, _ = machine_ticks(spinners, core)
        time.sleep(0.2)
        now, _ = machine_ticks(spinners, core)
        used = (now - busy) / TICK / 0.2
        if used < cores or time.monotonic() - start > limit:
            return round(time.monotonic() - start, 1)


def measure(args, spec, live, scenario, backend_process):
    argv = [str(args.bench_bin), "load", "--url", live["mcp"], "--seconds", str(args.seconds), "--warmup", str(args.warmup)]
    if live["token"]:
        argv += ["--token", live["token"]]
    for header in live["headers"]:
        argv += ["--header", header]
    argv += scenario["load"] + spec.get("load", []) + spec.get("load_for", {}).get(scenario["name"], [])
    process = live["process"]
    freeze = args.freeze and live["freeze"]
    if args.priority is not None:
        for root in [os.getpid(), *(one.pid for one in (process, backend_process, *live["helpers"]) if one)]:
            prefer(root, args.priority)
    waited = wait_quiet(args.quiet_wait, args.quiet_cores, args.spinners, None if args.awake else args.pin) if args.quiet_wait else 0
    if process and freeze:
        process.thaw()
        time.sleep(0.1)
    ticks = cpu_ticks(process.pid) if process else 0
    served = cpu_ticks(backend_process.pid) if backend_process else 0
    helped = sum(cpu_ticks(one.pid) for one in live["helpers"])
    busy, steal = machine_ticks(args.spinners)
    start = time.monotonic()
    load = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = load.communicate(timeout=args.seconds + args.warmup + 120)
    except subprocess.TimeoutExpired:
        load.kill()
        out, err = load.communicate()
        err += " (killed: did not end)"
    elapsed = time.monotonic() - start
    busy, steal = (after - before for after, before in zip(machine_ticks(args.spinners), (busy, steal)))
    record = {"ok": load.returncode == 0, "waited_s": waited}
    ticks = (cpu_ticks(process.pid) if process else 0) - ticks
    served = (cpu_ticks(backend_process.pid) if backend_process else 0) - served
    if live["helpers"]:
        record["shipped_s"] = wait_shipped(live)
        helped = sum(cpu_ticks(one.pid) for one in live["helpers"]) - helped
        record["helpers_rss_kb"] = sum(memory_kb(one.pid)[0] for one in live["helpers"])
    if process:
        record["rss_kb"], record["pss_kb"] = memory_kb(process.pid)
        record["processes"] = len(tree(process.pid))
    if load.returncode == 0:
        record["load"] = json.loads(out)
        if process and record["load"]["ops_all"]:
            record["cpu_us_per_op"] = round(ticks / TICK * 1e6 / record["load"]["ops_all"], 2)
        if live["helpers"] and record["load"]["ops_all"]:
            record["helpers_cpu_us_per_op"] = round(helped / TICK * 1e6 / record["load"]["ops_all"], 2)
        record["machine_cores"] = round(busy / TICK / elapsed, 2)
        record["target_cores"] = round(ticks / TICK / elapsed, 2)
        record["backend_cores"] = round(served / TICK / elapsed, 2)
        record["steal_cores"] = round(steal / TICK / elapsed, 2)
    else:
        record["error"] = err.strip()[-400:]
    if process and freeze:
        process.freeze()
    return record


def run_variant(args, settings, variant, scenarios, names, sink, versions):
    """All scenarios that use one kind of backend."""
    live = {}
    backends = {}
    try:
        backends = start_backends(args, settings, [variant])
        for name in names:
            try:
                say(f"starting {name}")
                live[name] = start_target(args, settings, name, variant)
                if name not in versions:
                    versions[name] = version_of(args, settings, name)
                if live[name]["process"] and args.freeze and live[name]["freeze"]:
                    time.sleep(settings["target"][name].get("settle_s", 0.3))
                    live[name]["process"].freeze()
            except (RuntimeError, OSError, subprocess.TimeoutExpired, ValueError) as error:
                say(f"SKIPPED {name}: {error}")
        for rep in range(args.reps):
            for scenario in scenarios:
                order = [name for name in names if name in live and fits(settings["target"][name], scenario)]
                if rep % 2:
                    order.reverse()
                for name in order:
                    record = measure(args, settings["target"][name], live[name], scenario, backends.get(variant))
                    record.update(
                        kind="run", run=args.run, rep=rep, scenario=scenario["name"], variant=variant, target=name,
                        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    )
                    sink.write(json.dumps(record) + "\n")
                    sink.flush()
                    load = record.get("load", {})
                    say(
                        f"  rep {rep} {scenario['name']:<14} {name:<18} "
                        + (
                            f"{load['rps']:>9.1f}/s p50 {load['p50_us']:>9.1f} p99 {load['p99_us']:>9.1f} us "
                            f"cpu {record.get('cpu_us_per_op', 0):>8.1f} us errors {load['errors_all']}"
                            + (f" {list(load['error_samples'])[:1]}" if load["errors_all"] else "")
                            if load
                            else f"FAILED {record.get('error', '')[:300]}"
                        )
                    )
                    args.records.append(record)
    finally:
        for entry in live.values():
            stop_target(entry)
        for process in backends.values():
            process.stop()


def fits(spec, scenario):
    return (
        scenario["name"] not in spec.get("skip", [])
        and ("scenarios" not in spec or scenario["name"] in spec["scenarios"])
        and (spec.get("modern", True) or "modern" not in scenario["load"])
    )
