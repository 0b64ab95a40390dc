# Run as the first process on the guest's root: asks doctor, runs each test program, leaves all in /run/vm.
exec >/run/vm/log 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
uname -a | tee /run/vm/started
ip link set lo up
# Hybrid: the tests look at both. Kernels without a v1 controller leave it to v2.
mount -t tmpfs tmpfs /sys/fs/cgroup
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir -p "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" || rmdir "/sys/fs/cgroup/$controller"
done
mkdir /sys/fs/cgroup/unified
mount -t cgroup2 cgroup /sys/fs/cgroup/unified
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
"$CGSCOPE_BIN" doctor --json >/run/vm/doctor.json 2>/run/vm/doctor.err
# Each test by itself: what one says is there before the next begins, and one that hangs or crashes costs the others nothing. Its exit
# status tells: output may lack a line's end. A program that lists no tests, or whose time is over, has no end.
for program in $CGSCOPE_VM_TESTS; do
    echo "== $program"
    end=$(($(date +%s) + CGSCOPE_VM_TIME))
    left=0
    for name in $("$program" --list --format terse | sed -n 's/: test$//p'); do
        left=$((end - $(date +%s)))
        [ "$left" -gt 0 ] || break
        [ "$left" -lt "$CGSCOPE_VM_TEST_TIME" ] || left=$CGSCOPE_VM_TEST_TIME
        timeout "$left" "$program" --exact "$name"
        status=$?
        case $status in
        0) printf '\n== passed %s\n' "$name" ;;
        124) printf '\n== failed %s: not over after %s s\n' "$name" "$left" ;;
        *) printf '\n== failed %s: exit status %s\n' "$name" "$status" ;;
        esac
    done
    [ "$left" -le 0 ] || echo "== end"
done >/run/vm/tests 2>&1
sync
busybox poweroff -f
