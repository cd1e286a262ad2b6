# Real work on the root file system, with everything that a kernel sends for it:
# reads, writes, flushes, discards. What the host compares stands between <name> and
# </name>.
set -e
report() {
    echo "<$1>"
    name=$1
    shift
    "$@"
    echo "</$name>"
}

report mount findmnt -n -o SOURCE /
[ -e /sys/block/nvme0n1/device/device/iommu_group ] && echo translated
report list nvme list -o json
report id-ctrl nvme id-ctrl /dev/nvme0 -o json
report id-ns nvme id-ns /dev/nvme0n1 -o json

mkdir /work
cd /work
tar -C /usr -cf archive.tar include lib/x86_64-linux-gnu/perl-base
tar -xf archive.tar
cat >sum.c <<'C'
#include <stdio.h>
int main(void) {
    unsigned long sum = 0;
    for (int c; (c = getchar()) != EOF;) sum = sum * 31 + (unsigned char)c;
    printf("%016lx\n", sum);
    return 0;
}
C
cc -o sum sum.c
./sum <archive.tar >sum.txt
seq 1 60000 | rev >lines
sort -S 1M -T . -o sorted lines
sync
fio --name=journal --filename=journal --size=4m --bs=4k --rw=randwrite --ioengine=psync \
    --fdatasync=8 --number_ios=200 --minimal >fio.txt
rm -r include lib lines
sync
report trim fstrim -v /

files() {
    find /work /usr/bin /etc -xdev -type f -size -512k | sort | awk 'NR % 9 == 1' | head -n 48
    echo /work/archive.tar
    echo /work/sorted
}
sync
report files sh -c "$(files | sed 's/.*/sha256sum "&"/')"
report reads awk '{ print $1 }' /sys/block/nvme0n1/stat
report smart-log nvme smart-log /dev/nvme0 -o json
