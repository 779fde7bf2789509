#!/bin/sh
# `make test`: what it needs, the build, every test of the workspace, then real servers and clients. Its last line counts
# all of them together, as cargo's does.
set -eu
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# told NAME COMMAND…: runs it, shows it, keeps what it printed in NAME.log and its exit code in NAME.code
told() {
    name=$1
    shift
    { code=0; "$@" || code=$?; echo "$code" >"$logs/$name.code"; } 2>&1 | tee "$logs/$name.log"
}

sh tests/scripts/needs.sh
# The tests of the programs start them from the build's folder.
$cargo build --workspace
if $cargo nextest --version >/dev/null 2>&1; then
    told tests $cargo nextest run --workspace
    concluding='^ *Summary ' # a failed test's own output has cargo's lines in it
else
    told tests $cargo test --workspace --no-fail-fast
    concluding='^test result:'
fi
told peers sh tests/peers/run.sh

# Sums "N passed" and "N failed" of the lines that conclude the tests, and of the peers' own.
sum() {
    {
        sed 's/\x1b\[[0-9;]*m//g' "$logs/tests.log" | grep -E "$concluding"
        grep -E '^peers:' "$logs/peers.log"
    } | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'
}
passed=$(sum passed)
failed=$(($(sum failed) + $(sum 'timed out')))
code=$(($(cat "$logs/tests.code") + $(cat "$logs/peers.code")))
result=ok
[ "$code" = 0 ] && [ "$failed" = 0 ] || result=FAILED
echo
echo "test result: $result. $passed passed; $failed failed; all parts together"
[ "$result" = ok ]
