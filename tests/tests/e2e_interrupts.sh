# Writes to a drive and reads back, counts its interrupts, and resets its function
# on the way. Sections for the host stand between <name> and </name>.
set -e
drive=/dev/nvme0n1
bdf=$(basename "$(readlink -f /sys/class/nvme/nvme0/device)")
report() {
    echo "<$1>"
    name=$1
    shift
    "$@"
    echo "</$name>"
}
# Interrupts of the drive so far, over all processors and vectors.
interrupts() {
    awk '/nvme0q/ { for (i = 2; $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' \
        /proc/interrupts
}
# Writes $1 MiB of noise, and reads it back past the page cache.
round_trip() {
    dd if=/dev/urandom of=/tmp/noise bs=1M count="$1" status=none
    dd if=/tmp/noise of=$drive bs=64k oflag=direct status=none
    dd if=$drive of=/tmp/again bs=64k count=$(($1 * 16)) iflag=direct status=none
    cmp /tmp/noise /tmp/again
}
before=$(interrupts)
round_trip 16
after=$(interrupts)
report kinds sh -c "grep nvme0q /proc/interrupts"
report counts echo "$before" "$after"
echo "reset of the function"
report methods cat /sys/bus/pci/devices/$bdf/reset_method
echo 1 >/sys/bus/pci/devices/$bdf/reset
round_trip 8
report sum sh -c "sha256sum </tmp/noise"
report dmesg sh -c "dmesg | grep -iE 'nvme.*(timeout|abort|fail|down)|I/O error|nobody cared|AER: [^e]' || true"
