# The root file system is on one vssd; the other is made one file system after
# another, reset, powered down, pulled out and put back. Sections for the host stand
# between <name> and </name>.
set -e
trap 'echo "failed; the last of dmesg:"; dmesg | tail -n 40' EXIT

# Drives have the numbers that their probes happened to get.
root=$(basename "$(findmnt -n -o SOURCE /)" n1)
other=$(ls /sys/class/nvme | grep -vx "$root")
drive=/dev/${other}n1
echo "the root is on $root"
mkdir -p /extras /mnt
mount -o ro "$(readlink -f /dev/disk/by-id/virtio-extras 2>/dev/null || echo /dev/vda)" /extras
tool() {
    name=$1
    shift
    LD_LIBRARY_PATH=/extras/usr/lib/x86_64-linux-gnu "/extras/usr/sbin/$name" "$@"
}
PATH=$PATH:/extras/usr/bin
while read -r module; do
    insmod "/run/kit/modules/$module" || echo "$module did not load"
done </run/kit/modules/file-systems

verify() {
    fio --direct=1 --ioengine=libaio --verify=crc32c --verify_fatal=1 --randseed=11 \
        --group_reporting --minimal "$@" >/run/fio.txt 2>&1 || { cat /run/fio.txt; exit 1; }
}
works_with() {
    mount -t "$1" $drive /mnt
    verify --name=file --directory=/mnt --rw=randwrite --bs=4k-64k --size=12m --numjobs=2 \
        --iodepth=16 --fsync=32
    verify --name=cached --directory=/mnt --direct=0 --ioengine=psync --rw=randrw --bs=4k-32k --size=6m
    (cd /mnt && sha256sum file.* >/run/sums)
    fstrim /mnt
    umount /mnt
    mount -t "$1" $drive /mnt
    (cd /mnt && sha256sum -c --quiet /run/sums)
    umount /mnt
    blkdiscard $drive
    echo "$1 works"
}
mkfs.ext4 -q $drive && works_with ext4
tool mkfs.xfs -q -f $drive && works_with xfs
tool mkfs.btrfs -q -f $drive && works_with btrfs

dd if=/dev/urandom of=$drive bs=1M count=8 oflag=direct status=none
sum() { dd if=$drive bs=1M count=8 iflag=direct status=none | sha256sum; }
kept=$(sum)
same() {
    [ "$(cat "/sys/class/nvme/$root/state")" = live ]
    [ "$(cat "/sys/class/nvme/$other/state")" = live ]
    [ "$(sum)" = "$kept" ]
    echo 3 >/proc/sys/vm/drop_caches
    sha256sum -c --quiet /run/root.sums
    echo "same after $1"
}
sha256sum /usr/bin/perl /usr/bin/fio /usr/sbin/nvme >/run/root.sums
for number in 1 2 3; do
    nvme reset "/dev/$root"
    nvme reset "/dev/$other"
done
same resets
nvme ns-rescan "/dev/$root"
nvme ns-rescan "/dev/$other"
same rescans

back() {
    tries=0
    while [ ! -e $drive ] && [ $tries -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}
slot=$(basename "$(readlink -f "/sys/class/nvme/$other/device")")
echo "$slot" >/sys/bus/pci/drivers/nvme/unbind
setpci -s "$slot" CAP_PM+4.W=0003
[ "$(($(printf %d 0x$(setpci -s "$slot" CAP_PM+4.W)) & 3))" = 3 ]
sleep 0.1
setpci -s "$slot" CAP_PM+4.W=0000
sleep 0.1
echo "$slot" >/sys/bus/pci/drivers/nvme/bind
back
same D3

echo 1 >"/sys/bus/pci/devices/$slot/remove"
[ ! -e $drive ]
echo 1 >/sys/bus/pci/rescan
back
same removal

trap - EXIT
# Linux distrusts the identifiers of whatever has the identity of QEMU's own drive.
case $(cat /sys/bus/pci/devices/"$slot"/vendor /sys/bus/pci/devices/"$slot"/device | tr '\n' ' ') in
'0x1b36 0x0010 ') distrusted='Ignoring bogus Namespace Identifiers' ;;
*) distrusted='^$' ;;
esac
echo '<dmesg>'
dmesg | grep -v "$distrusted" | grep -v 'Shutdown timeout set to' | grep -iE 'nvme.*(timeout|abort|error|fail|invalid|down|not ready|bogus)|I/O error|blk_update|ignoring bogus|AER: |hung|BUG:|WARNING:|call trace|corrupt' || true
echo '</dmesg>'
