within() { echo "<$1>"; shift; "$@"; code=$?; [ $code = 0 ] || { echo "(exit $code)"; exit 1; }; }
end() { echo "</$1>"; }

name=$(ls /sys/bus/pci/devices/0000:01:00.0/nvme)
first=$(block 1)
second=$(block 2)
mkfs.ext4 -q $first
mkdir -p /mnt
mount $first /mnt
dd if=/dev/urandom of=/mnt/file bs=1M count=8 2>/dev/null
within "sum before" sha256sum /mnt/file; end "sum before"
umount /mnt

within "controller by nvme-cli" nvme id-ctrl /dev/$name -o json; end "controller by nvme-cli"
within "namespace 1 by nvme-cli" nvme id-ns $first -o json; end "namespace 1 by nvme-cli"
within "namespace 2 by nvme-cli" nvme id-ns $second -o json; end "namespace 2 by nvme-cli"
hex() { od -An -v -tx1 | tr -d ' \n'; echo; }
echo "<raw by nvme-cli>"; nvme id-ctrl /dev/$name -b | hex; end "raw by nvme-cli"

vssd device list
vssd device bind 01:00.0 --yes
vssd device list
within "controller by vssd" vssd device identify 01:00.0 --controller --json; end "controller by vssd"
within "namespace 1 by vssd" vssd device identify 01:00.0 --namespace 1 --json; end "namespace 1 by vssd"
within "namespace 2 by vssd" vssd device identify 01:00.0 --namespace 2 --json; end "namespace 2 by vssd"
echo "<raw by vssd>"
# An offset, sixteen bytes, and the same as text.
vssd device identify 01:00.0 --controller --raw | sed -n 's/^[0-9a-f]*: *\(\([0-9a-f][0-9a-f] *\)\{1,16\}\).*/\1/p' | tr -d ' \n'; echo
end "raw by vssd"

within "checks" drive_checks 01:00.0 interface commands format queues interrupts config reset
end "checks"

# Whoever bound it by sudo drives it without, within the memory that a user has.
vssd device unbind 01:00.0
SUDO_UID=1000 vssd device bind 01:00.0 --yes
within "user" setpriv --reuid 1000 --clear-groups sh -c 'ulimit -l 8192; vssd device identify 01:00.0'
end "user"

vssd device bind 02:00.0 --yes
within "slow" drive_checks 02:00.0 timeout; end "slow"

vssd ioworker 01:00.0 -t 2s -q 32
vssd device unbind 02:00.0
vssd device unbind 01:00.0
vssd device list
mount $(block 1) /mnt
within "sum after" sha256sum /mnt/file; end "sum after"
umount /mnt
echo "<troubles>"; dmesg | grep -iE 'dmar.*fault|vfio.*(fail|error)|nvme.*(timeout|reset|error)' || true; end "troubles"
