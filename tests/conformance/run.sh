#!/bin/sh
# The official MCP conformance suite against the fixture, direct and through Sentinel; writes docs/conformance.md. Installs
# the suite and its Node into .peers of this repository, and builds the fixture there, unless they are there. Needs the
# debug build.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
peers=$root/.peers
mkdir -p "$peers/conformance"
if ! cmp -s "$here/packages.txt" "$peers/conformance/installed"; then
    [ -f "$peers/conformance/package.json" ] || echo '{ "private": true }' >"$peers/conformance/package.json"
    # shellcheck disable=SC2046 # one word a package
    (cd "$peers/conformance" && npm install --no-fund --no-audit --loglevel=error $(cat "$here/packages.txt"))
    cp "$here/packages.txt" "$peers/conformance/installed"
fi
fixture=$(sh "$here/fixture.sh")
exec python3 -B "$here/run.py" "${CARGO_TARGET_DIR:-$root/target}/debug" "$peers" "$fixture" "$root/docs/conformance.md"
