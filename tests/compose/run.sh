#!/bin/sh
# `make compose-test`: deploy/compose.yaml on a real Docker engine. Takes the engine that is there; else installs Debian's
# and starts it for the test alone. Takes the base images of a registry; where none can be pulled it makes stand-ins.
# With stand-ins the programs are those of `cargo build`, because an image compiles all dependencies anew (6 minutes on two
# cores); COMPOSE_TEST_COMPILE=1 compiles in the image all the same, with this machine's toolchain.
#   COMPOSE_TEST_PROFILE=debug   programs of target/debug instead of target/release (stand-ins only)
set -eu
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
profile=${COMPOSE_TEST_PROFILE:-release}
work=$(mktemp -d /tmp/sentinel-compose.XXXXXX)
engine=

gone() {
    echo "compose-test: no Docker engine can be had here: $1" >&2
    exit 1
}
finish() {
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
        # Mounts of containers that were ended with the engine.
        grep -o " $work/[^ ]*" /proc/mounts | sort -r | xargs -r umount -l 2>/dev/null || true
    fi
    rm -rf "$work" deploy/prebuilt
}
trap finish EXIT
trap 'exit 1' INT TERM

install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || gone "there is none, and installing one needs root and apt-get"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# ---- engine
if ! docker info >/dev/null 2>&1; then
    command -v dockerd >/dev/null 2>&1 || install docker.io iptables
    export DOCKER_HOST="unix://$work/docker.sock"
    for driver in overlay2 vfs; do
        dockerd --data-root "$work/root" --exec-root "$work/exec" -H "$DOCKER_HOST" -p "$work/pid" \
            --storage-driver "$driver" >"$work/dockerd.log" 2>&1 &
        engine=$!
        tries=0
        until docker info >/dev/null 2>&1; do
            tries=$((tries + 1))
            if [ "$tries" -ge 60 ] || ! kill -0 "$engine" 2>/dev/null; then
                kill "$engine" 2>/dev/null || true
                wait "$engine" 2>/dev/null || true
                engine=
                break
            fi
            sleep 0.5
        done
        [ -z "$engine" ] || break
    done
    [ -n "$engine" ] || gone "dockerd does not start: $(grep -E 'level=(error|fatal)|failed' "$work/dockerd.log" | tail -n 1)"
    echo "compose-test: started an engine with $driver"
fi
# BuildKit: a client of 23 or later needs the plugin buildx, Debian's has it built in.
docker buildx version >/dev/null 2>&1 || ! [ -x /usr/bin/docker ] || export PATH="/usr/bin:$PATH"
export DOCKER_BUILDKIT=1
if docker compose version >/dev/null 2>&1; then
    compose="docker compose"
else
    command -v docker-compose >/dev/null 2>&1 || install docker-compose
    compose=docker-compose
fi

# ---- images
stand_in() {
    echo "compose-test: no registry answers; stand-ins from Debian's packages, programs from cargo build"
    command -v debootstrap >/dev/null 2>&1 || install debootstrap
    if ! docker image inspect sentinel-stand-in:debian >/dev/null 2>&1; then
        apt-get update -qq 2>/dev/null || true
        mirror=$(apt-get indextargets --format '$(LABEL) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
            awk '$1 == "Debian" && $2 == "bookworm" { print $3; exit }')
        debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" "$mirror" >"$work/debootstrap.log"
        tar -C "$work/base" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' -c . | docker import - sentinel-stand-in:debian >/dev/null
    fi
    docker build -q --network host -f tests/compose/postgres.Dockerfile -t sentinel-stand-in:postgres tests/compose >/dev/null
    docker build -q --network host -f tests/compose/prometheus.Dockerfile -t sentinel-stand-in:prometheus tests/compose >/dev/null
    export SENTINEL_BUILDER=sentinel-stand-in:debian SENTINEL_RUNTIME=sentinel-stand-in:debian
    export SENTINEL_POSTGRES=sentinel-stand-in:postgres SENTINEL_PROMETHEUS=sentinel-stand-in:prometheus
    if [ "${COMPOSE_TEST_COMPILE:-}" = 1 ]; then
        docker build -q --network host -f tests/compose/rust.Dockerfile -t sentinel-stand-in:rust "$(rustc --print sysroot)" >/dev/null
        export SENTINEL_BUILDER=sentinel-stand-in:rust
        # No bridge, no resolver of Docker's: the crates come as this machine gets them, by the authorities it trusts.
        build="--network host --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt"
        return
    fi
    [ "$profile" = debug ] && flag= || flag=--release
    # shellcheck disable=SC2086 # none or one
    $cargo build $flag --locked --workspace --bins
    mkdir -p deploy/prebuilt
    for program in sentinel-controlplane sentinel-dataplane sentinelctl sentinel-example-server; do
        strip -o "deploy/prebuilt/$program" "$target/$profile/$program"
    done
    export SENTINEL_PROGRAMS=prebuilt
}
build=
if docker pull -q debian:bookworm-slim >/dev/null 2>&1; then
    echo "compose-test: base images from the registry, programs built in the image"
else
    stand_in
fi
began=$(date +%s)
for part in controlplane dataplane; do
    # shellcheck disable=SC2086 # words
    docker build -q -f deploy/Dockerfile --target "$part" -t "sentinel-$part" $build \
        ${SENTINEL_BUILDER:+--build-arg "BUILDER=$SENTINEL_BUILDER"} ${SENTINEL_RUNTIME:+--build-arg "RUNTIME=$SENTINEL_RUNTIME"} \
        --build-arg "PROGRAMS=${SENTINEL_PROGRAMS:-compiled}" . >/dev/null
done
echo "compose-test: images built in $(($(date +%s) - began)) s (programs ${SENTINEL_PROGRAMS:-compiled})"

# The clock of one container is turned by Debian's libfaketime.
library=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null || true)
if [ -z "$library" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    install libfaketime
    library=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1)
fi
[ -n "$library" ] || echo "compose-test: libfaketime is not installed: a clock that is off was not tried"

COMPOSE="$compose" WORK="$work" FAKETIME_LIBRARY="$library" PYTHONPATH=tests/scripts PYTHONDONTWRITEBYTECODE=1 python3 tests/compose/stack.py
