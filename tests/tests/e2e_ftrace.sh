# Traces what the kernel does to a drive, in the kernel and in its block layer, between
# a read of block 1 and one of block 2. Sections for the host stand between <name> and
# </name>.
set -e
drive=/dev/nvme0n1
tracing=/sys/kernel/tracing
mount -t tracefs tracefs $tracing 2>/dev/null || true
io() {
    fio --direct=1 --filename=$drive --group_reporting --minimal --randseed=7 "$@" \
        >/tmp/fio.txt 2>&1 || { cat /tmp/fio.txt; exit 1; }
}
block() { dd if=$drive of=/dev/null bs=512 count=1 skip="$1" iflag=direct status=none; }

echo 8192 >$tracing/buffer_size_kb
echo mono >$tracing/trace_clock
for event in nvme/nvme_setup_cmd nvme/nvme_complete_rq block/block_rq_issue \
    block/block_rq_complete; do
    echo 1 >$tracing/events/$event/enable
done
block 1
io --name=mixed --rw=randrw --bsrange=512-64k --size=8m --numjobs=2 --number_ios=60 \
    --ioengine=io_uring --iodepth=8 --offset_increment=8m
io --name=synced --rw=write --bs=4k --size=64k --offset=20m --sync=dsync
io --name=flushed --rw=write --bs=4k --size=64k --offset=21m --fsync=4
blkdiscard -o 24M -l 1M $drive
blkdiscard -z -o 26M -l 64K $drive
nvme id-ctrl $drive >/dev/null
nvme get-log $drive --log-id=2 --log-len=512 >/dev/null
nvme get-feature $drive --feature-id=7 >/dev/null
# Beyond the end.
nvme read $drive --start-block=0x100000000 --block-count=7 --data-size=4096 >/dev/null 2>&1 &&
    exit 1
block 2
echo 0 >$tracing/tracing_on
echo "<trace>"
cat $tracing/trace
echo "</trace>"
