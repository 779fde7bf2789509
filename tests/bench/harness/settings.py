"""What targets.toml says: placeholders filled in, tokens made, peers installed. Starts nothing that is measured."""
import base64
import hashlib
import hmac
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from .processes import say

HERE = Path(__file__).resolve().parent.parent


def jwt(spec):
    """An HS256 token of the claims in a target's [jwt] table; `valid_s` seconds from now."""
    claims = dict(spec.get("claims", {}))
    now = int(time.time())
    # TOML has no null; some products want one.
    claims = {name: None if value == "null" else value for name, value in claims.items()}
    claims.setdefault("iat", now)
    claims.setdefault("exp", now + int(spec.get("valid_s", 86400)))
    claims.setdefault("jti", f"bench-{now}")
    pack = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    text = pack(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()) + b"." + pack(json.dumps(claims).encode())
    return (text + b"." + pack(hmac.new(spec["secret"].encode(), text, hashlib.sha256).digest())).decode()


def fill(value, words):
    """Puts {word} placeholders in; other braces stay as they are."""
    if isinstance(value, str):
        for word, meaning in words.items():
            value = value.replace("{" + word + "}", str(meaning))
        return value
    if isinstance(value, list):
        return [fill(item, words) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, words) for key, item in value.items()}
    return value


def read_settings(files):
    settings = {"backend": {}, "scenario": [], "target": {}}
    for file in files:
        with open(file, "rb") as source:
            data = tomllib.load(source)
        settings["backend"].update(data.get("backend", {}))
        fresh = data.get("scenario", [])
        names = {scenario["name"] for scenario in fresh}
        settings["scenario"] = [old for old in settings["scenario"] if old["name"] not in names] + fresh
        settings["target"].update(data.get("target", {}))
        settings["goal"] = settings.get("goal", []) + data.get("goal", [])
    for name, spec in settings["target"].items():
        spec["name"] = name
    give_ports(settings)
    return settings


def give_ports(settings):
    """A free port of loopback for each that is asked for; all are held until the last one is known."""
    held = []

    def free():
        held.append(socket.socket())
        held[-1].bind(("127.0.0.1", 0))
        return held[-1].getsockname()[1]

    for spec in [*settings["backend"].values(), *settings["target"].values()]:
        if spec.get("port"):
            spec["port"] = free()
        spec["ports"] = {name: free() for name in spec.get("ports", ())}
    for one in held:
        one.close()


def words_for(args, settings, target=None, backend=None):
    words = {
        "here": HERE,
        "lab": args.lab,
        "bench": args.bench_bin,
        "python": sys.executable,
        "node": shutil.which("node") or "node",
        "sentinel_bin": args.sentinel_bin or "",
    }
    if backend:
        spec = settings["backend"][backend]
        if "port" in spec:
            words["backend_port"] = spec["port"]
            words["backend_origin"] = f"http://127.0.0.1:{spec['port']}"
            words["backend_url"] = f"http://127.0.0.1:{spec['port']}/mcp"
        words["backend_tools"] = spec.get("tools", 3)
    if target:
        words["port"] = settings["target"][target].get("port", 0)
        words.update(settings["target"][target]["ports"])
        words["work"] = args.lab / "work" / f"{target}-{backend}"
    return words


def missing(args, spec, words):
    """Why a target cannot be run here, or None."""
    if not spec.get("enabled", True) and not (args.only and spec["name"] in args.only):
        return "disabled in the targets file (name it with --only to run it)"
    if "{sentinel_bin}" in json.dumps(spec) and not args.sentinel_bin:
        return "needs --sentinel-bin DIR"
    for path in fill(spec.get("requires", []), words):
        if not (os.path.exists(path) if "/" in path else shutil.which(path)):
            return f"{path.replace(str(args.lab), 'LAB')} is absent (bench.py --install)"
    return None


def run(argv, **more):
    say("  $ " + shlex.join(str(word) for word in argv))
    return subprocess.run([str(word) for word in argv], **more).returncode == 0


def install(args, settings):
    done = set()
    for name, spec in settings["target"].items():
        if args.only and name not in args.only:
            continue
        recipe = spec.get("install")
        key = json.dumps(recipe, sort_keys=True)
        if not recipe or key in done:
            continue
        done.add(key)
        say(f"installing {name}")
        place = args.lab / recipe["into"]
        place.mkdir(parents=True, exist_ok=True)
        good = True
        if "pip" in recipe:
            good = run([sys.executable, "-m", "venv", place])
            good = good and run([place / "bin/pip", "install", "-q", "--disable-pip-version-check", *recipe["pip"]])
        if "npm" in recipe:
            if not (place / "package.json").exists():
                (place / "package.json").write_text('{"private": true}\n')
            good = run(["npm", "install", "--silent", "--no-audit", "--no-fund", *recipe["npm"]], cwd=place)
        for package in recipe.get("deb", []):
            # Unpacked into the folder, not installed: no service starts, nothing else changes.
            for old in place.glob("*.deb"):
                old.unlink()
            if not run(["apt-get", "download", package], cwd=place):
                say(f"  {package} is not to be had; taking the version on offer instead")
                good = run(["apt-get", "download", package.split("=")[0]], cwd=place)
            for file in place.glob("*.deb"):
                good = run(["dpkg", "-x", file, place / "unpacked"]) and good
        say(f"  {name}: {'installed' if good else 'FAILED'}")


def build_bench(args):
    if args.bench_bin:
        args.bench_bin = args.bench_bin.resolve()
        return
    folder = args.lab / "target"
    say("building sentinel-bench")
    if not run(["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", HERE / "Cargo.toml", "--target-dir", folder]):
        sys.exit("sentinel-bench does not build")
    args.bench_bin = folder / "release" / "sentinel-bench"
