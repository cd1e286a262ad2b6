# The drive under test has a file system; the root is elsewhere. The machine idles, and
# the driver, which knows a link and a drive that save power, leaves the drive enabled.
set -e
trap 'echo "failed; the last of dmesg:"; dmesg | tail -n 40' EXIT

[ "$(cat /sys/class/nvme/nvme0/device/link/l0s_aspm)" = 1 ]
mkdir -p /mnt
mkfs.ext4 -q /dev/nvme0n1
mount /dev/nvme0n1 /mnt
dd if=/dev/urandom of=/mnt/kept bs=64k count=48 status=none
sha256sum /mnt/kept >/run/sums
sync
exec 5<>/dev/ttyS0
echo enabled >/sys/class/tty/ttyS0/power/wakeup
echo freeze >/sys/power/state
echo 3 >/proc/sys/vm/drop_caches
sha256sum -c --quiet /run/sums
fio --name=after --directory=/mnt --size=4m --direct=1 --ioengine=io_uring --rw=randwrite \
    --bs=4k-32k --iodepth=8 --verify=crc32c --verify_fatal=1 --minimal >/run/fio.txt 2>&1 ||
    { cat /run/fio.txt; exit 1; }
umount /mnt
echo works
