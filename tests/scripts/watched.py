"""Dashboard and alerts as somebody has them: Prometheus and Alertmanager with the configuration of deploy/ (other ports,
shorter waits) over running daemons under traffic. Every panel has data; kill-switch all reaches a stub of Discord.

    watched.py GATEWAY_PORT PLANE_OPS_PORT CONTROL_PLANE_OPS_PORT FOLDER      with sentinelctl on the PATH
    SENTINEL_PICTURES=DIR     keeps pictures of the pages while the alert fires (needs chromium)
"""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from load import Load

ROOT = Path(__file__).resolve().parent.parent.parent
GATEWAY, PLANE, CONTROL = sys.argv[1:4]
FOLDER = Path(sys.argv[4])
PATIENCE = 90
# Panels that show nothing on a good day.
QUIET = {"Why not ready"}
# What the dashboard's variables stand for when all is chosen.
VARIABLES = {"$__rate_interval": "5s", "$instance": ".*", "$tool": ".*", "$backend": ".*"}
# One of them more often than the limit of 100 a minute lets pass.
CALLS = [
    ("example__echo", {"text": "x"}),
    ("example__echo", {"text": "x"}),
    ("example__echo", {"text": "x"}),
    ("example__add", {"a": 1, "b": 2}),
    ("example__slow", {"ms": 20}),
    ("example__add", {"a": "no number"}),
    ("example__nothing", {}),
    ("example__fail", {}),
]


def until(what, holds):
    began = time.monotonic()
    while True:
        said = holds()
        if said is True:
            return
        if time.monotonic() - began > PATIENCE:
            sys.exit(f"FAILED: {what}: {said}")
        time.sleep(0.2)


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except OSError as fault:
        return str(fault)


class Discord(http.server.BaseHTTPRequestHandler):
    told = []

    def do_POST(self):
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def changed(name, changes):
    """A file of deploy/ with some words changed, each of which stands there."""
    text = (ROOT / "deploy" / name).read_text()
    for before, after in changes.items():
        if before not in text:
            sys.exit(f"FAILED: deploy/{name} has no `{before}`")
        text = text.replace(before, after)
    to = FOLDER / Path(name).name
    to.write_text(text)
    return to


def free_ports(count):
    servers = [http.server.HTTPServer(("127.0.0.1", 0), Discord) for _ in range(count)]
    ports = [server.server_port for server in servers]
    for server in servers:
        server.server_close()
    return ports


def query(prometheus, expression):
    asked = urllib.parse.urlencode({"query": expression})
    answer = json.loads(ask(f"{prometheus}/api/v1/query?{asked}"))
    if answer["status"] != "success":
        sys.exit(f"FAILED: {expression}: {answer}")
    return answer["data"]["result"]


def panels(inside):
    for panel in inside.get("panels", []):
        yield from panels(panel)
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def picture(name, url, size="1200,900"):
    to = os.environ.get("SENTINEL_PICTURES")
    if to:
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
        profile = FOLDER / "chromium"
        words = ["chromium", *flags.split(), f"--user-data-dir={profile}", f"--window-size={size}", "--virtual-time-budget=8000"]
        subprocess.run([*words, f"--screenshot={to}/{name}.png", url], check=True, capture_output=True, timeout=120)
        shutil.rmtree(profile, ignore_errors=True)


def ctl(*words):
    return subprocess.run(["sentinelctl", *words], check=True, capture_output=True, text=True).stdout


def watch(prometheus, alertmanager, discord):
    until("Prometheus is ready", lambda: "Ready" in ask(f"{prometheus}/-/ready"))
    until("Alertmanager is ready", lambda: ask(f"{alertmanager}/-/ready") == "OK")
    token = ctl("token", "mint", "--client", "claude", "--role", "operator").strip()
    load = Load(int(GATEWAY), token, CALLS, pause=0.08)
    ctl("kill-switch", "tool", "example__fail", "--reason", "to see it refused")
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/sentinel.json").read_text())
    asked = [(title, expression) for title, expression in panels(dashboard)]
    for title, expression in asked:
        for variable, stands_for in VARIABLES.items():
            expression = expression.replace(variable, stands_for)
        if re.search(r"\$\w", expression):
            sys.exit(f"FAILED: panel {title} has a variable that nobody knows: {expression}")
        if title not in QUIET:
            until(f"panel {title} has data", lambda: bool(query(prometheus, expression)) or expression)
    print(f"{len(asked)} queries of {len(set(title for title, _ in asked))} panels have data in Prometheus")

    if os.environ.get("SENTINEL_PICTURES"):
        time.sleep(100)  # a curve of two minutes is worth a picture
    began = time.monotonic()
    ctl("kill-switch", "all", "--reason", "to see the alert")
    contents = lambda: [f"{told.get('content') or ''} {json.dumps(told.get('embeds', ''))}" for told in discord]
    until("Discord is told", lambda: any("FIRING" in told and "SentinelEverythingStopped" in told for told in contents()) or contents())
    print(f"kill-switch all stood in Discord's stub after {time.monotonic() - began:.1f} s: {contents()[0].strip()}")
    for name, expression in [("requests", "sum by (status) (rate(sentinel_requests_total[15s])) > 0"), ("overhead", "histogram_quantile(0.95, sum by (le) (rate(sentinel_overhead_seconds_bucket[15s])))")]:
        graph = urllib.parse.urlencode({"g0.expr": expression, "g0.tab": 0, "g0.range_input": "2m"})
        picture(f"prometheus-{name}", f"{prometheus}/graph?{graph}")
    picture("prometheus-alerts", f"{prometheus}/classic/alerts", "1200,1100")
    ctl("kill-switch", "all", "--lift")
    until("Discord is told that it is over", lambda: any("RESOLVED" in told for told in contents()) or contents())
    load.end()
    print(f"the lift too; {len(load.answered)} calls were made")


def main():
    stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Discord)
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    at, alerts_at = free_ports(2)
    shutil.copy(ROOT / "deploy/prometheus/sentinel.rules.yml", FOLDER)
    ports = {"127.0.0.1:9201": f"127.0.0.1:{PLANE}", "127.0.0.1:9301": f"127.0.0.1:{CONTROL}", "127.0.0.1:9093": f"127.0.0.1:{alerts_at}"}
    prometheus_yml = changed("prometheus/prometheus.yml", ports | {"15s": "1s"})
    webhook = f"http://127.0.0.1:{stub.server_port}/api/webhooks/1/stub"
    alertmanager_yml = changed("alertmanager/alertmanager.yml", {"webhook_url: DISCORD_WEBHOOK_URL": f"webhook_url: {webhook}", "group_wait: 10s": "group_wait: 1s", "group_interval: 1m": "group_interval: 2s"})
    subprocess.run(["amtool", "check-config", alertmanager_yml], check=True, capture_output=True)
    programs = [
        ["prometheus", f"--config.file={prometheus_yml}", f"--storage.tsdb.path={FOLDER}/prometheus", f"--web.listen-address=127.0.0.1:{at}"],
        ["prometheus-alertmanager", f"--config.file={alertmanager_yml}", f"--storage.path={FOLDER}/alertmanager", f"--web.listen-address=127.0.0.1:{alerts_at}", "--cluster.listen-address="],
    ]
    running = []
    try:
        for words in programs:
            log = (FOLDER / f"{words[0]}.log").open("w")
            running.append(subprocess.Popen(words, stdout=log, stderr=log))
        watch(f"http://127.0.0.1:{at}", f"http://127.0.0.1:{alerts_at}", Discord.told)
    finally:
        for program in running:
            program.terminate()
        for program in running:
            program.wait(20)


main()
