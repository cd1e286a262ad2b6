# The block device of a namespace of the first drive: Linux numbers drives and
# namespaces in the order in which it has found them.
block() {
    for dev in /sys/bus/pci/devices/0000:01:00.0/nvme/nvme*/nvme*n*; do
        [ -e "$dev/nsid" ] && [ "$(cat "$dev/nsid")" = "$1" ] && echo "/dev/${dev##*/}" && return
    done
    return 1
}
