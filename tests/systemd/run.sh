#!/bin/sh
# `make units-test`: the Debian package and its units on a systemd of their own, in a container that systemd-nspawn boots
# (Debian by debootstrap; the network of the host is not seen). Needs root and apt-get. `units.sh` is what runs inside.
#   UNITS_TEST_ROOT=DIR   keeps the installed Debian there for the next time
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
profile=${UNITS_TEST_PROFILE:-release}
work=$(mktemp -d /tmp/sentinel-units.XXXXXX)
trap 'rm -rf "$work"' EXIT
root=${UNITS_TEST_ROOT:-$work/root}

[ "$(id -u)" = 0 ] || { echo "units-test: needs root, for debootstrap and systemd-nspawn" >&2; exit 1; }
for program in debootstrap systemd-nspawn; do
    command -v $program >/dev/null 2>&1 || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap systemd-container >/dev/null
    }
done
if [ ! -e "$root/usr/bin/sqlite3" ]; then
    mirror=$(apt-get indextargets --format '$(LABEL) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "bookworm" { print $3; exit }')
    debootstrap --variant=minbase --include=ca-certificates,systemd,systemd-sysv,dbus,python3-minimal,procps,sqlite3 \
        bookworm "$root" "$mirror" >"$work/debootstrap.log"
fi
export COMPRESSION=gzip # quick to make
sh deploy/debian/build.sh "$target/$profile" "$work"
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)+next sh deploy/debian/build.sh "$target/$profile" "$work/next"
rm -rf "$root/root/test"
mkdir "$root/root/test"
cp "$work"/*.deb "$work"/next/*.deb tests/systemd/units.sh "$root/root/test/"
install -m 0755 "$target/$profile/sentinel-example-server" "$root/usr/local/bin/"
cat >"$root/etc/systemd/system/units-test.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
WorkingDirectory=/root/test
ExecStart=/bin/sh /root/test/units.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=append:/root/test/said
StandardError=append:/root/test/said
UNIT
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -sf ../units-test.service "$root/etc/systemd/system/default.target.wants/"
timeout 400 systemd-nspawn -q -D "$root" --private-network --register=no --keep-unit -b >"$work/console.log" 2>&1 </dev/null || true
cat "$root/root/test/said" 2>/dev/null || { cat "$work/console.log"; exit 1; }
tail -n 1 "$root/root/test/said" | grep -q ', 0 failed$'
