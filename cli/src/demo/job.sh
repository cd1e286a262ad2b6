#!/bin/sh
# What the guest of the demonstration does on its drive: real work, on a real file
# system, with everything a file system sends: reads, writes, flushes, discards.
set -e
say() { echo "[$(cut -d' ' -f1 /proc/uptime) s] $*"; }

say "Linux $(uname -r), root on $(findmnt -no SOURCE,FSTYPE / | tr -s ' ')"
nvme list | tail -n 1

mkdir -p /srv/work
cd /srv/work

say "packing /usr/include and perl's library, and unpacking them"
tar -C / -cf sources.tar usr/include usr/lib/x86_64-linux-gnu/perl-base
sync
mkdir tree
tar -C tree -xf sources.tar

say "compiling a program and running it"
cat >sum.c <<'C'
#include <stdio.h>
int main(void) {
    unsigned long sum = 0;
    for (int c; (c = getchar()) != EOF;) sum = sum * 31 + (unsigned char)c;
    printf("%016lx\n", sum);
    return 0;
}
C
tcc -o sum sum.c
./sum <sources.tar

say "sorting 200,000 lines with merges on disk"
seq 1 200000 | rev >lines
sort -S 1M -T . -o sorted lines
sync

say "running a database's pattern: small synchronous writes"
fio --name=journal --filename=journal --size=8m --bs=4k --rw=randwrite --ioengine=psync \
    --fdatasync=8 --number_ios=400 --minimal >/dev/null

say "cleaning up and trimming"
rm -rf tree sources.tar lines sorted journal
sync
fstrim -v /
nvme smart-log /dev/nvme0 | grep -E 'host_(read|write)_commands'
say "done"
