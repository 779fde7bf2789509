#!/bin/sh
# Real MCP servers and real clients through Sentinel. Installs them, pinned, into .peers of this repository within ten
# minutes (packages/*.txt; nothing is installed twice), says plainly what could not be had and goes on without it. Needs
# the debug build, npm with Node 20 or later, and python3. The last line counts.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
peers=$root/.peers
programs=${CARGO_TARGET_DIR:-$root/target}/debug
end=$(($(date +%s) + 600))
mkdir -p "$peers"

nothing() {
    echo "peers: 0 passed, 0 failed; not run: $1"
    exit 0
}

# left: seconds that installing may still take
left() {
    seconds=$((end - $(date +%s)))
    if [ "$seconds" -gt 1 ]; then echo "$seconds"; else echo 1; fi
}

# npm_into PART [OPTION…]: the packages of packages/PART.txt, in a folder of their own: one failure costs no other
npm_into() {
    part=$1
    shift
    cmp -s "$here/packages/$part.txt" "$peers/$part/installed" && return
    mkdir -p "$peers/$part"
    # Without it npm would install into a folder above.
    [ -f "$peers/$part/package.json" ] || echo '{ "private": true }' >"$peers/$part/package.json"
    # shellcheck disable=SC2046 # one word a package
    if (cd "$peers/$part" && timeout "$(left)" npm install --no-fund --no-audit --loglevel=error "$@" \
        $(cat "$here/packages/$part.txt")) >"$peers/$part.log" 2>&1; then
        cp "$here/packages/$part.txt" "$peers/$part/installed"
    else
        echo "could not be had: $(tr '\n' ' ' <"$here/packages/$part.txt")($(tail -n 1 "$peers/$part.log"))"
    fi
}

python_into() {
    cmp -s "$here/packages/python.txt" "$peers/python/installed" && return
    if { python3 -m venv "$peers/python" && timeout "$(left)" "$peers/python/bin/python" -m pip install --quiet \
        --disable-pip-version-check --requirement "$here/packages/python.txt"; } >"$peers/python.log" 2>&1; then
        cp "$here/packages/python.txt" "$peers/python/installed"
    else
        echo "could not be had: $(cat "$here/packages/python.txt") ($(tail -n 1 "$peers/python.log"))"
    fi
}

chromium() {
    command -v chromium >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && {
        timeout "$(left)" apt-get update -qq
        DEBIAN_FRONTEND=noninteractive timeout "$(left)" apt-get install -y -qq --no-install-recommends chromium
    } >"$peers/chromium.log" 2>&1; then
        return
    fi
    echo "could not be had: chromium; playwright is only listed"
}

command -v python3 >/dev/null 2>&1 || nothing "there is no python3"
command -v npm >/dev/null 2>&1 || nothing "there is no npm; install Node 20 or later"
major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
[ "$major" -ge 20 ] || nothing "Node $major is too old; install Node 20 or later"
for program in sentinelctl sentinel-controlplane sentinel-dataplane sentinel-example-server; do
    [ -x "$programs/$program" ] || {
        echo "peers: 0 passed, 1 failed; $programs/$program is not built: cargo build --workspace"
        exit 1
    }
done

# Two beside each other: npm waits for the network half of the time. n8n-mcp does without its native module; mcp-sqlite
# does not, and its build takes minutes.
{ npm_into npm; npm_into claude; python_into; } &
{ npm_into services --ignore-scripts; npm_into sqlite; } &
wait
chromium

exec python3 -B "$here/peers.py" "$programs" "$peers"
