//! What goes wrong says so at once, and leaves nothing running.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use qemu::{Accel, Drive, Firmware, KitError, Launch, Profile, Root};

use crate::{Disk, PATIENCE, kit, start};

/// Set for the process that is to be killed; see below.
const CHILD: &str = "VSSD_TEST_CHILD";

#[test]
fn a_killed_qemu_is_reported_with_its_signal() {
    let mut guest = start(Launch::job(kit(), "echo up; sleep 1000").root(Root::Initramfs));
    guest.wait_for_line("up", PATIENCE).unwrap();
    let killed = Command::new("kill")
        .args(["-KILL", &guest.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    match guest.wait(PATIENCE) {
        Err(KitError::Died { status, serial, .. }) => {
            assert!(status.to_string().contains("SIGKILL"), "{status}");
            assert!(serial.contains("Run /init"), "{serial}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_qemu_refuses_is_in_the_error() {
    let launch = Launch::job(kit(), "true").root(Root::Initramfs);
    let mut guest = launch
        .qemu_args(["-device", "no-such-device"])
        .spawn()
        .unwrap();
    let error = guest.wait(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("'no-such-device' is not a valid"), "{error}");
}

#[test]
fn a_vfio_user_drive_that_nobody_serves_is_named() {
    let socket = Path::new("/nowhere/drive.sock").to_owned();
    let launch = Launch::job(kit(), "true").drive(Drive::VfioUser { socket });
    let error = launch.spawn().unwrap().wait(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("/nowhere/drive.sock"), "{error}");
}

#[test]
fn a_drive_without_a_file_system_is_named() {
    let disk = Disk::empty();
    let mut guest = start(Launch::job(kit(), "true").drive(disk.drive()));
    match guest.wait(PATIENCE) {
        Err(KitError::Guest { message, .. }) => {
            assert_eq!(
                message,
                "no ext4 file system can be mounted from /dev/nvme0n1"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_kernel_that_panics_ends_the_wait() {
    let job = "echo c >/proc/sysrq-trigger";
    let mut guest = start(Launch::job(kit(), job).root(Root::Initramfs));
    let error = guest.wait(PATIENCE).unwrap_err();
    let panicked = error.to_string().contains("Kernel panic");
    assert!(
        panicked && matches!(error, KitError::Died { .. }),
        "{error}"
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let kit = kit();
    let refused = [
        Launch::job(kit, "true"),
        Launch::job(kit, "true").root(Root::Initramfs).cpus(0),
        Launch::job(kit, "true")
            .root(Root::Initramfs)
            .memory_mib(16),
        Launch::vm(kit.host(), Profile::Linux).firmware(Firmware::Qboot),
    ];
    for launch in refused {
        let answer = launch.spawn();
        assert!(matches!(answer, Err(KitError::Launch { .. })), "{answer:?}");
    }
}

#[test]
fn kvm_that_was_demanded_works_or_is_refused() {
    let launch = Launch::job(kit(), "true").root(Root::Initramfs);
    match launch.accel(Accel::Kvm).spawn() {
        Ok(mut guest) => assert_eq!(guest.wait(PATIENCE).unwrap().exit_code, 0),
        Err(KitError::NoKvm { reason }) => eprintln!("no KVM here: {reason}"),
        Err(other) => panic!("{other}"),
    }
}

/// Not a test of its own: the process that the next test kills.
#[test]
fn child_that_is_to_be_killed() {
    if env::var_os(CHILD).is_some() {
        let launch = Launch::job(kit(), "echo up; sleep 1000").root(Root::Initramfs);
        // From a thread that ends before the guest does: that must not end the guest.
        let spawned = std::thread::spawn(|| launch.spawn().unwrap());
        let mut guest = spawned.join().unwrap();
        guest.wait_for_line("up", PATIENCE).unwrap();
        eprintln!("\nguest {}", guest.id());
        let _killed_here = guest.wait(PATIENCE);
    }
}

#[test]
fn a_killed_process_takes_its_guest_along() {
    // What the killed one leaves goes with this directory.
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .env("TMPDIR", dir.path())
        .args([
            "failures::child_that_is_to_be_killed",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("guest ").map(str::to_owned))
        .expect("the guest runs");
    let process = Path::new("/proc").join(id);
    assert!(process.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..100 {
        if !process.exists() {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "a real process is to end")]
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("QEMU outlived the process that had started it");
}
