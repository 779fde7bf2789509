#!/bin/sh
# Process 1 of the other kernel: mounts what a machine has, runs the tests of limits, switches off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec >"$WORK/said" 2>&1 </dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up 2>/dev/null || ifconfig lo up
echo "kernel $(uname -r); controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
failed=
"$TESTS" limits:: --nocapture --test-threads 1 || failed="$failed as-root"
grep -q "can not be held" "$WORK/said" && failed="$failed not-held"
[ -z "$failed" ] && echo "limits: all passed" || echo "limits: failed:$failed"
sync
echo o >/proc/sysrq-trigger
sleep 5
