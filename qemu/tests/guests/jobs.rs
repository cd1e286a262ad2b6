//! Jobs, and what comes back from them.

use std::time::Duration;

use qemu::{KitError, Launch, Root};

use crate::{Disk, PATIENCE, kit, run, start};

#[test]
fn a_failing_job_returns_its_exit_code_and_all_of_its_output() {
    let job = "echo out; echo err >&2; echo '@ exit 0'; printf 'unfinished'; exit 7";
    // A word that no kernel knows does not disturb.
    let launch = Launch::job(kit(), job).kernel_arg("unheard-of");
    let outcome = run(launch.root(Root::Initramfs));
    assert_eq!(outcome.exit_code, 7);
    assert_eq!(outcome.lines, ["out", "err", "@ exit 0", "unfinished"]);
    assert!(outcome.kernel.starts_with("6."), "{}", outcome.kernel);
    assert!(!outcome.truncated);
}

#[test]
fn what_a_job_leaves_behind_does_not_hold_the_guest() {
    let disk = Disk::with_root();
    let job = "mount -t tmpfs t /mnt; sleep 1000 >/left & (cd /mnt; sleep 1000) & kill -9 $$";
    let outcome = run(Launch::job(kit(), job).drive(disk.drive()));
    assert_eq!(outcome.exit_code, 128 + 9);
    let checked = crate::e2fs("e2fsck", &["-fn"], &disk.image());
    assert!(checked.is_ok(), "{checked:?}");
}

#[test]
fn much_output_arrives_whole() {
    let outcome = run(Launch::job(kit(), "seq 5000").root(Root::Initramfs));
    let expected: Vec<String> = (1..=5000).map(|n| n.to_string()).collect();
    assert_eq!(outcome.lines, expected);
}

#[test]
fn a_drive_is_tested_raw_with_debians_tools_beside_it() {
    let disk = Disk::empty();
    let job = "fio --name=raw --filename=/dev/nvme0n1 --rw=randrw --bs=4k-64k --size=16M \
               --direct=1 --ioengine=io_uring --iodepth=16 --verify=crc32c --minimal && \
               echo hello | dd of=/dev/nvme0n1 bs=512 conv=sync oflag=direct status=none; \
               perl -e 'print \"perl too\\n\"'";
    let launch = Launch::job(kit(), job).root(Root::Tools);
    let outcome = run(launch.cpus(2).drive(disk.drive()));
    assert_eq!(outcome.exit_code, 0, "{:#?}", outcome.lines);
    assert_eq!(outcome.lines.last().unwrap(), "perl too");
    assert!(outcome.drive("nvme0n1").unwrap().write_sectors > 0);
    let image = std::fs::read(disk.image()).unwrap();
    assert_eq!(&image[..6], b"hello\n");
}

#[test]
fn a_job_is_followed_while_it_runs() {
    let job = "echo one; echo two; sleep 1; echo two again; sleep 1000";
    let mut guest = start(Launch::job(kit(), job).root(Root::Initramfs));
    assert_eq!(guest.wait_for_line("two", PATIENCE).unwrap(), "two");
    assert_eq!(guest.wait_for_line("two", PATIENCE).unwrap(), "two again");

    let late = guest.wait_for_line("three", Duration::from_millis(200));
    match late {
        Err(KitError::Timeout {
            last_line, serial, ..
        }) => {
            assert_eq!(last_line, "two again");
            assert!(serial.contains("Run /init"), "{serial}");
        }
        other => panic!("{other:?}"),
    }
    guest.kill();
    let died = guest.wait(PATIENCE);
    assert!(matches!(died, Err(KitError::Died { .. })), "{died:?}");
}
