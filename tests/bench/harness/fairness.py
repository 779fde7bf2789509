"""`--fairness`: one good backend beside bad ones, and one polite client beside a flood, each against its quiet run.

The quiet run is measured before and after each bad one: what lies between the two is what this machine itself does. Judges
nothing.
"""
import contextlib
import json
import signal
import subprocess
import time

from . import product
from .processes import Process, tell, wait_ready
from .settings import HERE, give_ports
from .tables import middle, show

GOOD = ["--scenario", "echo64", "--concurrency", "4"]
POLITE = ["--scenario", "echo64", "--concurrency", "2"]
BESIDE = 32
FLOOD = 256


def fairness(args, settings):
    """Two tables."""
    spec = settings["target"]["sentinel"]
    template = spec["files"]
    settings["backend"]["curve"] = {"port": "free", "tools": 3}
    settings["backend"]["stalled"] = {"port": "free", "tools": 3}
    give_ports(settings)
    path = args.lab / "fairness.toml"
    path.write_text(configuration(()))
    spec["files"] = {str(path): "sentinel.toml"}
    try:
        with stalling(args, settings) as stalled, product.running(args, settings, backend="curve") as live:
            live["bad"] = BAD | {"stalled": BAD["stalled"].format(settings["backend"]["stalled"]["port"])}
            tokens = {role: minted(live, role) for role in ("bench", *BAD, "flood", "polite")}
            backends(args, live, tokens, stalled)
            clients(args, live, tokens)
    finally:
        spec["files"] = template


BAD = {
    "stalled": 'url = "http://127.0.0.1:{}/mcp"\ntimeout_secs = 2',
    "crashing": 'command = "sh"\nargs = ["-c", "exit 1"]\nmax_restarts = 1000',
    "flooding": f'command = "python3"\nargs = ["{HERE}/peers/flooding.py"]',
}


def configuration(bad):
    """The product's own, with a role for each part, and a bulkhead that can be filled. `bad`: (name, lines) of backends more."""
    text = (HERE / "peers/sentinel.toml").read_text().replace("max_concurrency = 256", "max_concurrency = 64")
    text = text.replace('allow = ["*"]', 'allow = ["bench__*"]')
    roles = "".join(f'[roles.{name}]\nallow = ["{name}__*"]\n' for name in BAD)
    roles += '[roles.flood]\nallow = ["bench__*"]\n[roles.polite]\nallow = ["bench__*"]\n'
    more = "".join(f'[[backends]]\nname = "{name}"\n{lines}\n' for name, lines in bad)
    at = text.index("[audit]")
    return text[:at] + roles + more + text[at:]


def until(holds):
    """Waits for it, for 20 s at most: what is not so by then shows in the figures."""
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)


@contextlib.contextmanager
def configured(live, *names):
    """The bad backends of these names are there while the block runs."""
    file = live["state"].parent / "sentinel.toml"
    quiet = file.read_text()
    at = quiet.index("[audit]")
    more = "".join(f'[[backends]]\nname = "{name}"\n{live["bad"][name]}\n' for name in names)
    file.write_text(quiet[:at] + more + quiet[at:])
    try:
        product.ctl(live, "reload")
        until(lambda: all(state_of(live, name) not in ("", "starting") for name in names))
        yield
    finally:
        file.write_text(quiet)
        product.ctl(live, "reload")
        until(lambda: not any(state_of(live, name) for name in names))


def state_of(live, name):
    return next((backend["state"] for backend in product.ctl(live, "backend", "list") if backend["name"] == name), "")


@contextlib.contextmanager
def stalling(args, settings):
    """A backend that is there for its handshake and is stopped by the caller; its process."""
    port = settings["backend"]["stalled"]["port"]
    argv = [str(args.bench_bin), "backend", "--port", str(port), "--tools", "3"]
    process = Process("backend stalled", argv, {}, args.lab, args.lab / "backend-stalled.log")
    try:
        wait_ready(process, f"http://127.0.0.1:{port}/health", 10)
        yield process
    finally:
        process.stop()


def minted(live, role):
    return product.ctl(live, "token", "mint", "--client", role, "--role", role)["token"]


@contextlib.contextmanager
def beside(args, live, token, *words):
    """A load that goes on while the block runs; the block gets a list that holds its result in the end."""
    argv = [str(args.bench_bin), "load", "--url", live["mcp"], "--token", token, *words]
    argv += ["--seconds", str(args.seconds + 3), "--warmup", "0"]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = []
    try:
        yield found
        out, _ = child.communicate(timeout=60)
        with contextlib.suppress(ValueError):
            found.append(json.loads(out))
    finally:
        child.kill()
        child.wait()


def once(args, live, token, words):
    return product.load(args, {**live, "token": token}, *words)


def compared(args, live, token, words, bad):
    """`--reps` times quiet, bad, quiet: (rates and p99 quiet, rates and p99 beside, wrong answers beside, the others' loads)."""
    quiet, loud, wrong, others = [], [], 0, []
    for _ in range(args.reps):
        quiet.append(once(args, live, token, words))
        with bad() as found:
            loud.append(once(args, live, token, words))
        others += found
        quiet.append(once(args, live, token, words))
    wrong = sum(run["errors_all"] for run in loud)
    return quiet, loud, wrong, others


def row(name, quiet, loud, wrong, others):
    of = lambda runs, key: [run[key] for run in runs]
    rate, p99 = middle(of(quiet, "rps")), middle(of(quiet, "p99_us"))
    spread = (max(of(quiet, "p99_us")) - min(of(quiet, "p99_us"))) / p99 * 100
    calls = sum(run["ops_all"] for run in others)
    refused = sum(run["errors_all"] for run in others)
    cells = [
        name, show(rate), show(middle(of(loud, "rps"))), show(middle(of(loud, "rps")) / rate, 2),
        show(p99), show(middle(of(loud, "p99_us"))), show(middle(of(loud, "p99_us")) / p99, 2), f"{spread:.0f} %",
        str(wrong), f"{calls:,} ({refused:,} refused)" if others else "–",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


HEAD = (
    "| {} | ops/s quiet | beside | ÷ | p99 µs quiet | beside | ÷ | quiet p99's own spread | wrong answers | the other's calls |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def backends(args, live, tokens, stalled):
    """The good backend beside a stalled one that is called, one in a crash loop, one that floods, and all of them."""
    calls = ["--scenario", "echo64", "--concurrency"]

    @contextlib.contextmanager
    def frozen():
        tell(stalled.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            tell(stalled.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def stall():
        with configured(live, "stalled"), frozen(), beside(args, live, tokens["stalled"], *calls, str(BESIDE)) as found:
            yield found

    @contextlib.contextmanager
    def crash():
        with configured(live, "crashing"):
            yield []

    @contextlib.contextmanager
    def flood():
        with configured(live, "flooding"), beside(args, live, tokens["flooding"], *calls, "4") as found:
            yield found

    @contextlib.contextmanager
    def everything():
        with configured(live, *BAD), frozen(), beside(args, live, tokens["stalled"], *calls, str(BESIDE)) as found:
            with beside(args, live, tokens["flooding"], *calls, "4"):
                yield found

    print("\n" + HEAD.format("a good backend (c=4) beside"))
    for name, bad in (
        ("a stalled one, called at c=32", stall), ("one in a crash loop", crash), ("one that floods, called at c=4", flood),
        ("all three", everything),
    ):
        row(name, *compared(args, live, tokens["bench"], GOOD, bad))


def clients(args, live, tokens):
    """A polite client beside one that floods the same backend with c=256: with what is quick, and with what takes 50 ms."""
    flood = ["--concurrency", str(FLOOD)]
    print("\n" + HEAD.format("a polite client (c=2) beside a flood (c=256) of"))
    for name, words in (("echo", ["--scenario", "echo64"]), ("a tool of 50 ms", ["--scenario", "sleep", "--ms", "50"])):
        row(name, *compared(args, live, tokens["polite"], POLITE, lambda: beside(args, live, tokens["flood"], *words, *flood)))
