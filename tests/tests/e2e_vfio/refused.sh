set +e
try() {
    case=$1; shift
    echo "<$case>"; "$@"; echo "(exit $?)"; echo "</$case>"
}
first=$(block 1)
second=$(block 2)
bind() {
    vssd device bind 01:00.0 --yes >/tmp/said 2>&1
    code=$?
    sed "s/${first##*/}/FIRST/g; s/${second##*/}/SECOND/g" /tmp/said
    return $code
}
mkdir -p /mnt

mkfs.ext4 -q $first
mount $first /mnt
try "mounted" bind
umount /mnt

# A partition table by hand: one entry, Linux, from block 256 on, 8192 blocks.
printf '\000\000\000\000\203\000\000\000\000\001\000\000\000\040\000\000' |
    dd of=$second bs=1 seek=446 conv=notrunc 2>/dev/null
printf '\125\252' | dd of=$second bs=1 seek=510 conv=notrunc 2>/dev/null
blockdev --rereadpt $second
sleep 1
mkfs.ext4 -q ${second}p1
mount ${second}p1 /mnt
try "partition" bind
umount /mnt

mkswap $first >/dev/null
swapon $first
try "swap" bind
swapoff $first

sleep 1000 <$first &
sleep 0.5
try "open" bind
kill $!
wait 2>/dev/null

try "no yes" vssd device bind 01:00.0
try "not bound" vssd device identify 01:00.0
try "absent" vssd device identify 0000:09:00.0
try "no drive" vssd device identify 00:1f.2
try "no address" vssd device identify nvme0
try "shared group" vssd device bind 03:00.0 --yes

vssd device bind 01:00.0 --yes
try "no permission" setpriv --reuid 1000 --clear-groups vssd device identify 01:00.0
try "no word" vssd ioworker 01:00.0 --read 0 -t 1s
chown 1000 /dev/vfio/*
try "little memory" setpriv --reuid 1000 --clear-groups sh -c 'ulimit -l 1024; vssd device identify 01:00.0'
vssd ioworker 01:00.0 -t 600s >/dev/null &
user=$!
until ls -l /proc/$user/fd | grep -q /dev/vfio/; do sleep 0.1; done
try "in use" vssd device identify 01:00.0
try "unbind in use" vssd device unbind 01:00.0
kill $user
wait
vssd device unbind 01:00.0
exit 0
