#!/bin/sh
# Makes the Debian package from programs that are built already:  build.sh PROGRAMS OUTPUT
# PROGRAMS: the folder with the three programs (target/release); OUTPUT: where the .deb goes. Needs dpkg-deb alone.
set -eu
programs=$(cd "$1" && pwd)
mkdir -p "$2"
output=$(cd "$2" && pwd)
cd "$(dirname "$0")/../.."

version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
umask 022

install -d "$root/usr/bin" "$root/lib/systemd/system" "$root/usr/lib/sysusers.d" "$root/etc/sentinel" \
    "$root/usr/share/doc/sentinel/examples" "$root/DEBIAN"
for program in sentinel-controlplane sentinel-dataplane sentinelctl; do
    install -m 0755 "$programs/$program" "$root/usr/bin/"
    strip --strip-unneeded "$root/usr/bin/$program"
done
install -m 0644 deploy/systemd/*.service "$root/lib/systemd/system/"
install -m 0644 deploy/systemd/sentinel.sysusers "$root/usr/lib/sysusers.d/sentinel.conf"
install -m 0644 deploy/debian/sentinel.toml "$root/etc/sentinel/sentinel.toml"
install -m 0644 README.md CHANGELOG.md docs/*.md "$root/usr/share/doc/sentinel/"
cp -r deploy/examples deploy/prometheus deploy/alertmanager deploy/grafana deploy/n8n "$root/usr/share/doc/sentinel/examples/"
mv "$root/usr/share/doc/sentinel/examples/examples/"* "$root/usr/share/doc/sentinel/examples/"
rmdir "$root/usr/share/doc/sentinel/examples/examples"
install -m 0755 deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$root/DEBIAN/"
echo /etc/sentinel/sentinel.toml >"$root/DEBIAN/conffiles"

# The oldest C library that has every symbol the programs ask for.
libc=$(objdump -T "$root"/usr/bin/* | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -V | tail -n 1)
cat >"$root/DEBIAN/control" <<CONTROL
Package: sentinel-gateway
Version: $version
Architecture: $architecture
Maintainer: Sentinel <root@localhost>
Installed-Size: $(du -sk "$root" | cut -f 1)
Depends: libc6 (>= $libc), libgcc-s1, ca-certificates
Suggests: nodejs, npm, postgresql, prometheus
Section: net
Priority: optional
Description: governed gateway between MCP clients and MCP servers
 Every tool call passes one point, and there it is authenticated, permitted,
 limited, checked, stoppable and recorded.
CONTROL
dpkg-deb --root-owner-group -Z"${COMPRESSION:-xz}" --build "$root" "$output/sentinel-gateway_${version}_$architecture.deb"
