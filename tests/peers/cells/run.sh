#!/bin/sh
# Clients and servers on three SDKs, in both eras, through Sentinel, feature by feature; writes docs/cells.md. Installs the
# SDKs into .peers of this repository and builds the fixture there, unless they are there. Needs the debug build.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
peers=$root/.peers
packages=$root/tests/peers/packages
mkdir -p "$peers/npm"
if ! cmp -s "$packages/npm.txt" "$peers/npm/installed"; then
    [ -f "$peers/npm/package.json" ] || echo '{ "private": true }' >"$peers/npm/package.json"
    # shellcheck disable=SC2046 # one word a package
    (cd "$peers/npm" && npm install --no-fund --no-audit --loglevel=error $(cat "$packages/npm.txt"))
    cp "$packages/npm.txt" "$peers/npm/installed"
fi
if ! cmp -s "$packages/python.txt" "$peers/python/installed"; then
    python3 -m venv "$peers/python"
    "$peers/python/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$packages/python.txt"
    cp "$packages/python.txt" "$peers/python/installed"
fi
fixture=$(sh "$root/tests/conformance/fixture.sh")
exec python3 -B "$here/cells.py" "${CARGO_TARGET_DIR:-$root/target}/debug" "$peers" "$fixture" "$root/docs/cells.md"
