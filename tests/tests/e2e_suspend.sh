# The root file system is on the drive. The machine sleeps twice while fio works: first
# idle, with the function in D3hot until something comes through the first serial port,
# then with its power off, until the host wakes it.
set -e
trap 'echo "failed; the last of dmesg:"; dmesg | tail -n 40' EXIT

dd if=/dev/urandom of=/kept bs=64k count=48 status=none
sha256sum /kept /usr/bin/perl /usr/sbin/nvme >/run/sums
sync
touch /run/work
load() {
    while [ -e /run/work ]; do
        fio --name=load --filename=/load --size=2m --direct=1 --ioengine=io_uring --rw=randwrite \
            --bs=4k-32k --iodepth=8 --fsync=16 --verify=crc32c --verify_fatal=1 \
            --minimal >/run/fio.txt 2>&1 || { cat /run/fio.txt; exit 1; }
        echo pass >>/run/passes
    done
}
passes() { wc -l </run/passes; }
works_on() {
    before=$(passes)
    tries=0
    while [ "$(passes)" -lt $((before + 1)) ]; do
        kill -0 $load
        tries=$((tries + 1))
        [ $tries -lt 600 ]
        sleep 0.1
    done
    [ "$(cat /sys/class/nvme/nvme0/state)" = live ]
    echo 3 >/proc/sys/vm/drop_caches
    sha256sum -c --quiet /run/sums
    echo "works after $1"
}
touch /run/passes
load &
load=$!
works_on boot

# Nobody hears the port that is not open.
exec 5<>/dev/ttyS0
echo enabled >/sys/class/tty/ttyS0/power/wakeup
echo freeze >/sys/power/state
works_on idling

# SeaBIOS leaves the chipset's power management without address and disabled, and with
# that the machine could not be switched off any more.
address=$(setpci -s 1f.0 40.L)
enabled=$(setpci -s 1f.0 44.B)
echo deep >/sys/power/mem_sleep
echo mem >/sys/power/state
setpci -s 1f.0 "40.L=$address" "44.B=$enabled"
works_on sleep

rm /run/work
wait $load
