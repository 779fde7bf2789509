"""`--curves`: what a call costs as tools, backends and clients grow; flat is the goal. Takes some minutes more."""
import secrets

from . import product
from .processes import TICK, cpu_ticks, memory_kb
from .settings import HERE, give_ports, jwt
from .tables import show

TOOLS = (1, 50, 500, 5_000)
BACKENDS = (1, 10, 100, 1_000)
CLIENTS = (1, 100, 10_000, 100_000)
SECRET = secrets.token_hex(32)
ISSUER = "bench"
KEY = f'''
[[auth.keys]]
algorithm = "HS256"
issuer = "{ISSUER}"
secret_env = "SENTINEL_BENCH_KEY"
'''


def curves(args, settings):
    """One row a point; the daemons are started anew for each."""
    args.seconds = 3
    print("| what | how many | c | ops/s | p50 µs | p99 µs | CPU µs/op | RSS MB | wrong answers |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    spec = settings["target"]["sentinel"]
    template = spec["files"]
    for count in TOOLS:
        settings["backend"]["curve"] = {"port": "free", "tools": count}
        give_ports(settings)
        with product.running(args, settings, backend="curve") as live:
            points(args, live, "tools", count, [])
    settings["backend"]["curve"] = {"port": "free", "tools": 3}
    give_ports(settings)
    for count in BACKENDS:
        spec["files"] = {written(args, "backends", lambda text: many_backends(text, count)): "sentinel.toml"}
        spec["ready_s"] = 120
        with product.running(args, settings, backend="curve") as live:
            points(args, live, "backends", count, [])
    spec["files"] = {written(args, "clients", lambda text: text + KEY): "sentinel.toml"}
    spec["env"]["SENTINEL_BENCH_KEY"] = SECRET
    for count in CLIENTS:
        tokens = args.lab / "tokens"
        tokens.write_text("".join(token(number) + "\n" for number in range(count)))
        with product.running(args, settings, backend="curve") as live:
            points(args, live, "clients", count, ["--tokens", str(tokens)])
    spec["files"] = template


def written(args, name, change):
    """The product's configuration, changed, as a file of the lab; its path."""
    path = args.lab / f"curve-{name}.toml"
    path.write_text(change((HERE / "peers/sentinel.toml").read_text()))
    return str(path)


def many_backends(text, count):
    """The one backend of `text`, `count` times under other names."""
    start = text.index("[[backends]]")
    end = text.index("[audit]", start)
    one = text[start:end]
    return text[:start] + "".join(one.replace('"bench"', f'"bench{number}"') for number in range(count)) + text[end:]


def token(number):
    claims = {"sub": f"client-{number}", "iss": ISSUER, "aud": "sentinel", "roles": ["bench"], "jti": f"bench-{number}"}
    return jwt({"secret": SECRET, "claims": claims})


def points(args, live, what, count, words):
    for concurrency in (1, 16):
        before = cpu_ticks(live["process"].pid)
        found = product.load(args, live, "--scenario", "echo64", "--concurrency", str(concurrency), *words)
        ticks = cpu_ticks(live["process"].pid) - before
        calls = found["ops_all"] + found.get("opened", 0)
        cells = [
            what, f"{count:,}", str(concurrency), show(found["rps"]), show(found["p50_us"]), show(found["p99_us"]),
            show(ticks / TICK * 1e6 / calls) if calls else "–",
            show(memory_kb(live["process"].pid)[0] / 1024), str(found["errors_all"]),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
