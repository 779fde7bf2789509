#!/usr/bin/env bash
# run.sh: what `make bench` does. Builds the product, the bench and a plane that counts its allocations, then measures.
#
# Arguments go to bench.py: nothing = the goals (at most 15 minutes once built), --quick = one short rep of each,
# --curves = cost by tools, backends and clients, --fairness = the good beside the bad. As root `--priority -10` keeps strangers from half of the core.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
lab=$target/bench
jobs=${BENCH_JOBS:-$(nproc)}
mkdir -p "$lab/counted"

# The counting build first: both land at the same path, and what stays there is the product.
cargo build --release --locked -j"$jobs" -p sentinel-dataplane --features count-allocations
cp "$target/release/sentinel-dataplane" "$lab/counted/"
cargo build --release --locked -j"$jobs" -p sentinel-dataplane -p sentinel-controlplane -p sentinelctl
cargo build --release --locked -j"$jobs" --manifest-path tests/bench/Cargo.toml --target-dir "$lab"

mode=--goals
for word in "$@"; do
  case $word in --curves | --fairness) mode= ;; esac
done
exec python3 tests/bench/bench.py --lab "$lab/lab" --sentinel-bin "$target/release" \
  --counted-bin "$lab/counted/sentinel-dataplane" --bench-bin "$lab/release/sentinel-bench" $mode "$@"
