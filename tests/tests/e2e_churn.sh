# Two boots: in the first the drive works while memory comes and goes, and through
# resets; the host ends it with a third kind. The second looks what is left.
set -e
if [ -e /second ]; then
    echo second boot
    sha256sum -c /kept.sum
    rm /big
    fstrim /
    exit 0
fi
dd if=/dev/urandom of=/kept bs=64k count=48 status=none
sha256sum /kept >/kept.sum
touch /second
sync

load() {
    fio --name=load --filename=/load --direct=1 --ioengine=io_uring --rw=randwrite \
        --bs=4k-32k --iodepth=16 --verify=crc32c --verify_fatal=1 --minimal "$@" >/fio.txt 2>&1
}
works() { kill -0 $load 2>/dev/null; }

shared=$(lspci -n -d 1af4:1110 | cut -d' ' -f1)
load --size=24m &
load=$!
changes=0
while works && [ $changes -lt 200 ]; do
    setpci -s "$shared" COMMAND.W=0000
    setpci -s "$shared" COMMAND.W=0002
    changes=$((changes + 1))
done
wait $load || { cat /fio.txt; exit 1; }
[ $changes -gt 5 ]
echo "maps changed $changes times under load"

echo flr >/sys/class/nvme/nvme0/device/reset_method
load --size=24m --time_based --runtime=8 &
load=$!
for kind in controller function controller function controller function; do
    sleep 0.7
    works
    case $kind in
    controller) echo 1 >/sys/class/nvme/nvme0/reset_controller ;;
    function) echo 1 >/sys/class/nvme/nvme0/device/reset ;;
    esac
done
wait $load || { cat /fio.txt; exit 1; }
[ "$(cat /sys/class/nvme/nvme0/state)" = live ]
echo "resets done under load"

fio --name=write --filename=/big --size=48m --rw=randwrite --bs=4k-64k --ioengine=io_uring \
    --iodepth=16 --fsync=64 --time_based --runtime=600 >/dev/null &
sleep 1
echo writing
wait
