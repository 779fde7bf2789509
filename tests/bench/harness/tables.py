"""Tables of what was measured: one a scenario, ratios within a rep, medians over the reps."""
import json
import statistics


def middle(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def show(value, digits=0):
    if value is None:
        return "–"
    if digits == 0 and abs(value) < 100:
        digits = 1
    return f"{value:,.{digits}f}"


def table(records, targets=None):
    """Medians over the reps; each ratio is taken within its rep, then the median of them."""
    runs = [record for record in records if record.get("kind") == "run"]
    scenarios = list(dict.fromkeys(record["scenario"] for record in runs))
    lines = []
    for scenario in scenarios:
        mine = [record for record in runs if record["scenario"] == scenario]
        reference = "bare" if any(record["target"] == "bare" for record in mine) else "bare-stdio"
        bare = {(record["run"], record["rep"]): record for record in mine if record["target"] == reference and record["ok"]}
        lines += [
            "",
            f"### {scenario}",
            "",
            f"| target | reps | ops/s | p50 µs | p99 µs | CPU µs/op | RSS MB | errors | ops/s ÷ {reference} | p50 ÷ {reference} | CPU ÷ {reference} | spread |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for name in dict.fromkeys([*(targets or []), *(record["target"] for record in mine)]):
            reps = [record for record in mine if record["target"] == name]
            good = [record for record in reps if record["ok"] and record["load"]["ops"]]
            if not reps:
                continue
            if not good:
                lines.append(f"| {name} | 0 of {len(reps)} | failed | | | | | | | | | |")
                continue
            of = lambda key: [record["load"][key] for record in good]
            ratio = lambda pick: middle(
                [
                    pick(record) / pick(bare[record["run"], record["rep"]])
                    for record in good
                    if (record["run"], record["rep"]) in bare
                    and pick(record) is not None
                    and pick(bare[record["run"], record["rep"]])
                ]
            )
            rates = of("rps")
            rss = middle([record.get("rss_kb") for record in good])
            lines.append(
                "| "
                + " | ".join(
                    [
                        name,
                        str(len(good)),
                        show(middle(rates)),
                        show(middle(of("p50_us"))),
                        show(middle(of("p99_us"))),
                        show(middle([record.get("cpu_us_per_op") for record in good])),
                        show(rss / 1024 if rss else None),
                        str(sum(of("errors_all"))),
                        show(ratio(lambda record: record["load"]["rps"]), 3),
                        show(ratio(lambda record: record["load"]["p50_us"]), 2),
                        show(ratio(lambda record: record.get("cpu_us_per_op")), 2),
                        f"{(max(rates) - min(rates)) / middle(rates) * 100:.0f} %" if len(rates) > 1 else "–",
                    ]
                )
                + " |"
            )
    return "\n".join(lines)


def read_results(path):
    with open(path) as source:
        return [json.loads(line) for line in source if line.strip()]


# ---------------------------------------------------------------- goals

SLACK = 1.3


def figure_of(record, other, figure):
    """One rep's figure: a ratio to the reference of the same rep, or the microseconds over it."""
    if figure == "rps":
        return record["load"]["rps"] / other["load"]["rps"]
    if figure == "p50_over":
        return record["load"]["p50_us"] - other["load"]["p50_us"]
    if record.get("cpu_us_per_op") and other.get("cpu_us_per_op"):
        return record["cpu_us_per_op"] / other["cpu_us_per_op"]
    return None


def goal_values(records, goal):
    """(rep by rep figures, wrong answers) of one goal."""
    fits = lambda record, target: (
        record.get("kind") == "run" and record["ok"] and record["load"]["ops"]
        and record["target"] == target and record["scenario"] == goal["scenario"]
        and record.get("pinned", True) == goal.get("pinned", True)
    )
    others = {(record["run"], record["rep"]): record for record in records if fits(record, goal["to"])}
    mine = [record for record in records if fits(record, goal["target"])]
    values = [
        figure_of(record, others[record["run"], record["rep"]], goal["figure"])
        for record in mine
        if (record["run"], record["rep"]) in others
    ]
    return [value for value in values if value is not None], sum(record["load"]["errors_all"] for record in mine)


def verdict(value, goal):
    """met, within 1.3 (what a first version is held to), or missed."""
    least, most = goal.get("least"), goal.get("most")
    if value is None:
        return "not measured"
    if value >= least if least is not None else value <= most:
        return "met"
    return "within 1.3" if (value >= least / SLACK if least is not None else value <= most * SLACK) else "**missed**"


def goals_table(goals, records, singles):
    """The goals of a release; `singles` are what was measured once, by the name of the goal: a list of readings."""
    lines = ["| what | goal | measured | lowest – highest | reps | wrong answers | verdict |", "|---|--:|--:|--:|--:|--:|---|"]
    for goal in goals:
        wrong = 0
        if "scenario" in goal:
            values, wrong = goal_values(records, goal)
        else:
            values = singles.get(goal["what"], [])
        value = middle(values)
        digits = 2 if "scenario" in goal and goal["figure"] != "p50_over" else 1
        wanted = f"≥ {goal['least']:g}" if "least" in goal else f"≤ {goal['most']:g}"
        span = f"{show(min(values), digits)} – {show(max(values), digits)}" if values else "–"
        said = verdict(value, goal) + (" (with wrong answers)" if wrong else "")
        lines.append(f"| {goal['what']} | {wanted} | {show(value, digits)} | {span} | {len(values)} | {wrong} | {said} |")
    return "\n".join(lines)
