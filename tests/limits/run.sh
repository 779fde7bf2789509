#!/bin/sh
# `make limits-test`: memory_max and pids_max on a kernel that holds them, whatever this machine has: Linux as a program
# (Debian's user-mode-linux), on this machine's own files, with cgroup v2 alone. Needs root and apt-get.
set -eu
cd "$(dirname "$0")/../.."
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
[ "$(id -u)" = 0 ] || { echo "limits-test: needs root, for apt-get and the files of the other kernel" >&2; exit 1; }
command -v linux.uml >/dev/null 2>&1 || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends user-mode-linux >/dev/null
}
work=$(mktemp -d /var/tmp/sentinel-limits.XXXXXX)
trap 'rm -rf "$work"' EXIT
tests=$(ls -t "$target"/debug/deps/supervision-* | grep -v '\.d$' | head -n 1)
install -m 0755 tests/limits/inside.sh "$work/inside.sh"
timeout 900 linux.uml mem=1500M rootfstype=hostfs root=/dev/root rw quiet con=null con0=null,fd:1 \
    init="$work/inside.sh" WORK="$work" TESTS="$tests" </dev/null >"$work/console" 2>&1 || true
cat "$work/said" 2>/dev/null || { cat "$work/console"; exit 1; }
tail -n 1 "$work/said" | grep -q '^limits: all passed$'
