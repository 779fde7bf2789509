#!/bin/sh
# Builds the fixture (tests/conformance/fixture), a workspace of its own, into .peers of this repository; prints its path.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
CARGO_TARGET_DIR=$root/.peers/fixture "${CARGO:-cargo}" build --quiet --locked --manifest-path "$here/fixture/Cargo.toml" >&2
echo "$root/.peers/fixture/debug/sentinel-conformance-fixture"
