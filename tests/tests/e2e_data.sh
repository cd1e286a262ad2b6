# Writes to a drive that nothing else uses, and reads back. Sections for the host
# stand between <name> and </name>.
set -e
drive=/dev/nvme0n1
report() {
    echo "<$1>"
    name=$1
    shift
    "$@"
    echo "</$name>"
}
verify() {
    fio --direct=1 --ioengine=io_uring --verify=crc32c --verify_fatal=1 --randseed=7 \
        --group_reporting --minimal "$@" >/tmp/fio.txt 2>&1 || { cat /tmp/fio.txt; exit 1; }
}
# Whether $2 MiB from $1 MiB on are zero.
zero() {
    dd if=$drive bs=1M skip="$1" count="$2" iflag=direct status=none |
        cmp -s -n $(($2 << 20)) - /dev/zero
}
head_sum() { dd if=$drive bs=1M count="$1" iflag=direct status=none | sha256sum; }
block=$(blockdev --getss $drive)
report sizes blockdev --getsize64 --getss $drive

echo "ext4: files, several at once, direct and through the page cache"
mkfs.ext4 -q -E lazy_itable_init=0 $drive
mkdir -p /mnt
mount -o discard $drive /mnt
verify --name=file --directory=/mnt --rw=randwrite --bs=4k-64k --size=12m --numjobs=2 \
    --iodepth=32 --fsync=32
verify --name=cached --directory=/mnt --direct=0 --rw=randrw --bs=1k-32k --size=8m --numjobs=2
rm /mnt/file.0.0
fstrim /mnt
umount /mnt
fsck.ext4 -fn $drive

echo "raw: several queues, sizes from a block to 128 KiB"
verify --name=raw --filename=$drive --rw=randwrite --bs=$block-128k --size=16m --numjobs=2 \
    --offset_increment=48m --iodepth=32
verify --name=trims --filename=$drive --rw=randtrimwrite --bs=16k --size=8m --numjobs=2 \
    --offset=256m --offset_increment=32m --iodepth=32
verify --name=fua --filename=$drive --rw=write --bs=$block --size=$((block * 100)) \
    --offset=400m --sync=dsync

echo "discarded and zeroed blocks read back as zeroes, others stay"
dd if=/dev/urandom of=$drive bs=1M seek=96 count=16 oflag=direct status=none
sum=$(head_sum 96)
zero 96 8 && exit 1
zero 104 8 && exit 1
blkdiscard -o 96M -l 8M $drive
zero 96 8
zero 104 8 && exit 1
blkdiscard -z -o 104M -l 8M $drive
zero 104 8
[ "$(head_sum 96)" = "$sum" ]
blkdiscard -o 96M $drive
zero 256 128
report sum echo "$sum"
trouble='nvme.*(timeout|abort|reset|error|fail|invalid|down)|I/O error|blk_update'
report dmesg sh -c "dmesg | grep -iE '$trouble' || true"
