#!/bin/sh
# `make chaos` and, with the word `planted`, `make chaos-planted`: runs of tests/chaos, each with its seed and its time.
set -eu
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}

# run SECS: one run; CHAOS_SEED and the rest come from the environment
run() {
    CHAOS_SECS=$1 $cargo test --workspace --test chaos -- --nocapture --test-threads 1 2>&1 |
        grep -E '^(chaos:|test |thread |failures|  )|panicked|violation' | tee "$log"
    grep -q '^test result: ok. 1 passed' "$log"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ "${1:-}" = planted ]; then
    target=${TARGET:-target}
    # Both builds land at one path; what stays there is the product.
    $cargo build --workspace --features sentinel-dataplane/planted-bugs
    mkdir -p "$target/planted"
    cp "$target/debug/sentinel-dataplane" "$target/planted/"
    $cargo build --workspace
    for bug in permit-leak double-send orphan; do
        CHAOS_PLANTED=$bug CHAOS_PLANE=$(cd "$target/planted" && pwd)/sentinel-dataplane run "${CHAOS_SECS:-20}"
    done
    echo "chaos: each planted bug was found"
elif [ -n "${CHAOS_SEED:-}" ]; then
    run "${CHAOS_SECS:-200}"
else
    for number in 1 2 3; do
        CHAOS_SEED=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') run $((${CHAOS_SECS:-600} / 3))
    done
    echo "chaos: three seeds, no violation"
fi
