//! A drive that grows under a Linux guest, which sees it at once: by NVMe and by
//! virtio, with its data where it was.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use qemu::{Firmware, Launch, Root};
use vssd_tests::e2e::{
    PATIENCE, Scratch, Serve, Vm, failures, section, start, succeeded, sum_of_head, vssd_json,
};

/// Fills a drive of 64 MiB, waits for it to grow, and fills what is new.
const FILL_TWICE: &str = r#"
set -e
size=/sys/block/$disk/size
fill() {
    dd if=/dev/urandom of=/dev/$disk bs=1M seek=$1 count=64 oflag=direct 2>/dev/null
}
fill 0
echo "<before>"
cat $size
dd if=/dev/$disk bs=1M count=64 iflag=direct 2>/dev/null | sha256sum
echo "</before>"
while [ $(cat $size) = 131072 ]; do sleep 1; done
echo "<after>"
cat $size
dd if=/dev/$disk bs=1M count=64 iflag=direct 2>/dev/null | sha256sum
fill 64
dd if=/dev/$disk bs=1M iflag=direct 2>/dev/null | sha256sum
echo "</after>"
echo "<dmesg>"
dmesg | grep -E "$disk: detected capacity change|I/O error"
echo "</dmesg>"
"#;

/// Grows the drive that `serve` makes of an image and a directory under a guest that
/// calls it `disk`.
fn grows(name: &'static str, disk: &str, serve: fn(&std::path::Path, &std::path::Path) -> Serve) {
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let [image, trace, control] = ["disk.img", "day.vtr", "ctl.sock"].map(|it| scratch.path(it));
    let server = serve(&image, scratch.dir())
        .with("--create", "64M")
        .with("--control", &control)
        .record(&trace)
        .start();
    let launch = Launch::job(vm.kit(), format!("disk={disk}\n{FILL_TWICE}"))
        .root(Root::Initramfs)
        .firmware(Firmware::Qboot)
        .drive(server.drive());
    let mut guest = start(&vm, launch);
    guest
        .wait_for_line("</before>", PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    let control = control.to_str().expect("it is text");
    let resized = vssd_json(&["ctl", control, "resize", "128M", "--json"]);
    vm.say(&format!("the drive has grown: {resized}"));
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    let lines = &outcome.lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));
    succeeded(&outcome);
    drop(server.terminate());
    let [before, sum] = section(lines, "before") else {
        panic!("{lines:#?}");
    };
    let [after, still, whole] = section(lines, "after") else {
        panic!("{lines:#?}");
    };
    assert_eq!((before.as_str(), after.as_str()), ("131072", "262144"));
    assert_eq!(sum, still);
    assert!(whole.starts_with(&sum_of_head(&image, 128)), "{whole}");
    let told = section(lines, "dmesg");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("from 131072 to 262144"), "{told:#?}");
    assert_eq!(failures(&trace), []);
}

#[test]
fn a_guest_sees_an_nvme_drive_grow() {
    grows(
        "a_guest_sees_an_nvme_drive_grow",
        "nvme0n1",
        |image, dir| Serve::new(image, dir, "drive"),
    );
}

#[test]
fn a_guest_sees_a_virtio_disk_grow() {
    grows("a_guest_sees_a_virtio_disk_grow", "vda", |image, dir| {
        Serve::virtio(image, dir, "disk")
    });
}
