#!/bin/sh
# `make dashboards-test`: what people watch. promtool on the configuration, the rules, the rules' tests and on what both
# daemons expose after a few calls; every panel's queries and an alert in a real Prometheus and Alertmanager (watched.py);
# then the tests that compare names and labels.
set -eu
cd "$(dirname "$0")/../.."
programs=$(cd "$TARGET/debug" && pwd)
cargo=${CARGO:-cargo}

missing=
command -v promtool >/dev/null 2>&1 || missing=prometheus
command -v prometheus-alertmanager >/dev/null 2>&1 || missing="$missing prometheus-alertmanager"
if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get update -qq
        # Their services are not wanted here: the test starts programs of its own.
        # shellcheck disable=SC2086 # a list of words
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        echo "missing: $missing (Debian: apt-get install $missing)" >&2
        exit 1
    fi
fi

(cd deploy/prometheus && promtool check config prometheus.yml)
promtool check rules deploy/prometheus/sentinel.rules.yml
promtool test rules deploy/prometheus/sentinel.rules.test.yml
for file in deploy/n8n/*.json deploy/grafana/dashboards/*.json; do
    python3 -m json.tool "$file" >/dev/null || { echo "$file is no JSON" >&2; exit 1; }
done

folder=$(mktemp -d)
# Three ports that nobody holds now.
# shellcheck disable=SC2046 # three words
set -- $(python3 -c 'import socket; s = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]; print(*[x.getsockname()[1] for x in s])')
export PATH="$programs:$PATH" SENTINEL_DATA_DIR="$folder/state" XDG_RUNTIME_DIR="$folder"
sentinelctl up --config deploy/examples/sentinel.toml --listen "127.0.0.1:$1" --ops-listen "127.0.0.1:$2" \
    --controlplane-ops-listen "127.0.0.1:$3" >"$folder/up.out" 2>"$folder/up.log" &
up=$!
trap 'kill "$up" 2>/dev/null || true; wait "$up" 2>/dev/null || true; rm -rf "$folder"' EXIT
tries=0
until sentinel-dataplane health --ready --ops "http://127.0.0.1:$2" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat "$folder/up.log" >&2; exit 1; }
    sleep 0.1
done
gateway="--gateway http://127.0.0.1:$1/mcp"
# shellcheck disable=SC2086 # two words
sentinelctl tool call example__echo '{"text":"hello"}' --role operator $gateway >/dev/null
# shellcheck disable=SC2086 # two words
! sentinelctl tool call example__nothing '{}' --role operator $gateway >/dev/null 2>&1
for port in "$2" "$3"; do
    python3 -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())' \
        "http://127.0.0.1:$port/metrics" >"$folder/metrics"
    promtool check metrics <"$folder/metrics"
done
echo "promtool finds nothing in the metrics of either daemon"
PYTHONDONTWRITEBYTECODE=1 timeout 400 python3 tests/scripts/watched.py "$1" "$2" "$3" "$folder"
$cargo test -q -p sentinel-tests --test dashboards
