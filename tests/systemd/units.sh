#!/bin/sh
# Inside the container of run.sh: installs the package, and does with the units what an operator does.
set -u
passed=0
ok() {
    if [ "$1" = 0 ]; then
        passed=$((passed + 1))
        echo "ok  $2"
    else
        echo "FAILED: $2"
        journalctl -q --no-pager -n 40 -u 'sentinel-*'
        echo "$passed passed, 1 failed"
        exit 1
    fi
}
# until SECONDS COMMAND…
until_() {
    left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.1
    done
}
main() { systemctl show -P MainPID "$1"; }
ready() { until_ 60 sentinel-dataplane health --ready && until_ 60 sentinel-controlplane health --ready; }
call() { sentinelctl --quiet tool call "$@" --role operator; }
backends() { pgrep -c -f /usr/local/bin/sentinel-example-server; }
new_pid() { [ "$(main "$1")" != 0 ] && [ "$(main "$1")" != "$2" ]; }
revision() { sentinelctl status --output json | sed 's/.*"revision": *\([0-9]*\).*/\1/;t;d' | head -n 1; }

this=$(ls /root/test/*.deb | grep -v next)
next=$(ls /root/test/*next*.deb)
dpkg -P sentinel-gateway >/dev/null 2>&1
dpkg -i "$this" >/dev/null
ok $? "the package installs"
getent passwd sentinel >/dev/null
ok $? "it makes the user sentinel"
sentinel-controlplane check /etc/sentinel/sentinel.toml >/dev/null
ok $? "the configuration that comes with it is good"
systemd-analyze verify /lib/systemd/system/sentinel-*.service
ok $? "systemd-analyze verify finds nothing in the units"
printf '\n[[backends]]\nname = "example"\ncommand = "/usr/local/bin/sentinel-example-server"\n' >>/etc/sentinel/sentinel.toml

systemctl enable -q --now sentinel-controlplane sentinel-dataplane
ready
ok $? "both units start and are ready"
[ "$(call example__echo '{"text":"hello"}')" = hello ]
ok $? "a call"
[ "$(stat -c %a:%U /var/lib/sentinel)" = 700:sentinel ]
ok $? "state is the user's own"
plane=$(main sentinel-dataplane)
nsenter -t "$plane" -m cat /var/lib/sentinel/plane/id >/dev/null
ok $? "the plane sees its own directory"
systemctl restart sentinel-dataplane && ready
plane=$(main sentinel-dataplane)
! nsenter -t "$plane" -m runuser -u sentinel -- cat /var/lib/sentinel/controlplane/signing.key >/dev/null 2>&1 &&
    ! nsenter -t "$plane" -m runuser -u sentinel -- cat /var/lib/sentinel/controlplane/sentinel.db >/dev/null 2>&1 &&
    ! nsenter -t "$plane" -m runuser -u sentinel -- cat /var/lib/sentinel/admin.token >/dev/null 2>&1
ok $? "neither the plane nor its backends see the control plane's keys and store"

# Stop with drain.
call example__slow '{"ms":3000}' >/tmp/slow 2>&1 &
slow=$!
sleep 1
began=$(date +%s%N)
systemctl stop sentinel-dataplane
took=$((($(date +%s%N) - began) / 1000000))
wait $slow
ok $? "a stop lets the running call finish (stop took $took ms): $(cat /tmp/slow | head -c 60)"
[ "$(systemctl show -P Result sentinel-dataplane)" = success ] && [ "$(backends)" = 0 ]
ok $? "it ends with success, no backend is left"

# kill -9.
systemctl start sentinel-dataplane
ready
plane=$(main sentinel-dataplane)
kill -9 "$plane"
until_ 20 new_pid sentinel-dataplane "$plane" && ready
ok $? "kill -9 of the plane: started again and ready"
until_ 10 [ "$(backends)" = 1 ]
ok $? "with one backend process, no orphan"
control=$(main sentinel-controlplane)
kill -9 "$control"
SENTINEL_TOKEN= call example__echo '{"text":"x"}' >/dev/null 2>&1
until_ 20 new_pid sentinel-controlplane "$control" && ready && [ "$(call example__echo '{"text":"x"}')" = x ]
ok $? "kill -9 of the control plane: started again and ready"

# Reload.
before=$(revision)
printf '[rate_limit]\ndefault = { requests = 1000, per_secs = 1 }\n' >>/etc/sentinel/sentinel.toml
systemctl reload sentinel-controlplane
newer() { [ "$(revision)" -gt "$before" ]; }
until_ 20 newer
ok $? "systemctl reload publishes the file"

# Backup; a kill after it; restore.
backup=/root/test/backup
mkdir -p $backup
sqlite3 /var/lib/sentinel/controlplane/sentinel.db ".backup $backup/sentinel.db" &&
    tar -C /var/lib/sentinel -cf $backup/keys.tar admin.token plane.token controlplane/signing.key plane/id plane/secret plane/seal.key
ok $? "a backup while it runs"
sentinelctl kill-switch tool example__echo --reason 'after the backup' >/dev/null
ok $? "a kill switch after the backup"
systemctl stop sentinel-dataplane sentinel-controlplane
rm -f /var/lib/sentinel/controlplane/sentinel.db*
install -o sentinel -g sentinel -m 0600 $backup/sentinel.db /var/lib/sentinel/controlplane/sentinel.db
systemctl start sentinel-controlplane sentinel-dataplane
ready
call example__echo '{"text":"x"}' 2>&1 | grep -q 'after the backup'
ok $? "a restore of the older backup does not undo it"
sentinelctl kill-switch tool example__echo --lift >/dev/null && [ "$(call example__echo '{"text":"x"}')" = x ]
ok $? "it can be lifted afterwards"

# A new machine from the backup.
systemctl stop sentinel-dataplane sentinel-controlplane
id=$(cat /var/lib/sentinel/plane/id)
rm -rf /var/lib/sentinel
install -d -o sentinel -g sentinel -m 0700 /var/lib/sentinel /var/lib/sentinel/controlplane /var/lib/sentinel/plane
tar -C /var/lib/sentinel -xf $backup/keys.tar
install -o sentinel -g sentinel -m 0600 $backup/sentinel.db /var/lib/sentinel/controlplane/sentinel.db
chown -R sentinel: /var/lib/sentinel
systemctl start sentinel-controlplane sentinel-dataplane
ready && [ "$(cat /var/lib/sentinel/plane/id)" = "$id" ] && [ "$(call example__echo '{"text":"x"}')" = x ]
ok $? "a lost machine is rebuilt from the backup, the same plane"

# Upgrade and rollback.
plane=$(main sentinel-dataplane)
dpkg -i "$next" >/dev/null && ready && new_pid sentinel-dataplane "$plane" && [ "$(call example__echo '{"text":"x"}')" = x ]
ok $? "an upgrade restarts what runs, and it is ready"
dpkg -i "$this" >/dev/null 2>&1 && ready && [ "$(call example__echo '{"text":"x"}')" = x ]
ok $? "so does the way back"

# Both by one unit.
systemctl start sentinel-up
ready && [ "$(systemctl is-active sentinel-dataplane)" = inactive ] && [ "$(call example__echo '{"text":"x"}')" = x ]
ok $? "sentinel-up takes their place"
! journalctl -q --no-pager -u sentinel-up | grep -q 'eyJ'
ok $? "and writes no token to the journal"
systemctl stop sentinel-up
[ "$(systemctl show -P Result sentinel-up)" = success ] && ! pgrep -u sentinel >/dev/null
ok $? "stopped, nothing is left"

for unit in sentinel-controlplane sentinel-dataplane sentinel-up; do
    echo "    systemd-analyze security $unit: $(systemd-analyze security --no-pager $unit.service | grep -oE '[0-9.]+ [A-Z]+' | tail -n 1)"
done
dpkg -P sentinel-gateway >/dev/null 2>&1
ok $? "the package goes"
[ ! -e /var/lib/sentinel ] && [ ! -e /usr/bin/sentinelctl ] && [ ! -e /etc/sentinel/sentinel.toml ]
ok $? "with all that it made"
echo "$passed passed, 0 failed"
