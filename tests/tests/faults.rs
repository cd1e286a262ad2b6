//! What goes wrong below a served drive, and around it: the guest gets an error, the
//! log one line for each kind, and everything that still can work does.
//!
//! Our own driver is the guest, by way of the program; one test has a real one, for
//! the virtio disk.
#![expect(
    clippy::print_stderr,
    reason = "tests tell what they see, and what they leave out"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qemu::{Firmware, Launch, Root};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use vssd_tests::e2e::{
    PATIENCE, Scratch, Serve, Server, Vm, failing_calls, own_mounts, section, start, succeeded,
    until, vssd, vssd_program,
};

const MIB: u64 = 1 << 20;
const PROMPTLY: Duration = Duration::from_secs(30);

/// The arguments of a load of `count` commands, of which `reads` in 100 read.
fn load(server: &Server, reads: u32, count: u32) -> Vec<String> {
    let mut words = vec!["ioworker".to_owned(), server.device(), "--json".to_owned()];
    for (name, value) in [("--read", reads), ("--count", count), ("--qdepth", 8)] {
        words.extend([name.to_owned(), value.to_string()]);
    }
    words
}

/// Runs a load to its end; how many commands failed, by status.
#[track_caller]
fn failed(server: &Server, reads: u32, count: u32) -> Vec<(String, u64)> {
    let words = load(server, reads, count);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = vssd(&words);
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}: {said}", output.status));
    let total = &report["phases"][0]["total"];
    assert_eq!(total["commands"], count, "all came back: {said}");
    let statuses = total["statuses"].as_object().expect("there are statuses");
    let counted = |(name, count): (&String, &Value)| (name.clone(), count.as_u64().unwrap_or(0));
    let statuses: Vec<_> = statuses.iter().map(counted).collect();
    eprintln!("{reads} % reads of {count}: {statuses:?}");
    assert_eq!(
        output.status.code(),
        Some(i32::from(!statuses.is_empty())),
        "{said}"
    );
    statuses
}

/// The drive says who it is, to a client that comes just now.
fn answers(server: &Server) -> bool {
    vssd(&["device", "identify", &server.device()])
        .status
        .success()
}

/// The server runs, and has complained once, in a line that has all of `words`.
#[track_caller]
fn complains_once(server: &mut Server, words: &[&str]) {
    server.is_well();
    let complaints = server.complaints();
    let lines = complaints
        .iter()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count();
    assert_eq!(
        (lines, complaints.len()),
        (1, 1),
        "{words:?}: {complaints:#?}"
    );
    eprintln!("vssd said: {}", complaints[0]);
}

/// A drive on an image of 64 MiB, which is read and written as `aio` says.
fn on_image(scratch: &Scratch, image: &Path, aio: &str) -> Serve {
    Serve::new(image, scratch.dir(), "drive")
        .with("--create", "64M")
        .with("--aio", aio)
        .flag("--no-state")
}

fn text(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn a_medium_that_fails_now_and_then_fails_these_commands_only() {
    let scratch = Scratch::new();
    for (call, reads, told) in [
        ("pwritev", 0, "cannot write"),
        ("preadv", 100, "cannot read"),
    ] {
        let calls = format!("{call},{call}2");
        let Some(wrapper) = failing_calls(&calls, "EIO", (5, 3)) else {
            eprintln!("SKIPPED: there is no strace, or it may not trace");
            return;
        };
        let image = scratch.path("disk.img");
        let mut server = on_image(&scratch, &image, "sync")
            .by_way_of(&text(&wrapper))
            .start();
        let statuses = failed(&server, reads, 300);
        let [(_, count)] = statuses[..] else {
            panic!("one status: {statuses:?}");
        };
        assert!((60..=110).contains(&count), "each third: {statuses:?}");
        complains_once(
            &mut server,
            &[told, "disk.img", "Input/output error", "dmesg"],
        );
        assert_eq!(failed(&server, 100 - reads, 100), [], "the others work");
        assert!(answers(&server));
        let log = server.terminate();
        let more = format!("{} more times", count - 1);
        assert!(log.iter().any(|line| line.contains(&more)), "{log:#?}");
    }
}

#[test]
fn after_a_flush_that_failed_none_is_believed() {
    let Some(wrapper) = failing_calls("fdatasync", "EIO", (2, 1000)) else {
        eprintln!("SKIPPED: there is no strace, or it may not trace");
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.path("disk.img");
    let mut server = on_image(&scratch, &image, "sync")
        .by_way_of(&text(&wrapper))
        .start();
    let device = server.device();
    let flush = || {
        let words = [
            "device", "raw", &device, "--io", "--opcode", "0", "--nsid", "1",
        ];
        vssd(&words).status.code()
    };
    assert_eq!(flush(), Some(0));
    assert_eq!([flush(), flush(), flush()], [Some(1); 3]);
    complains_once(&mut server, &["durable", "every flush from now on fails"]);
    assert_eq!(failed(&server, 50, 100), []);
    drop(server.terminate());
}

/// A command whose process has a disk of 2 MiB at `path`, which others do not see.
fn small_disk(path: &Path) -> Option<Vec<String>> {
    fs::create_dir_all(path).expect("the scratch directory can be written to");
    let mount = format!(
        "mount -t tmpfs -o size=2M tmpfs {} && exec \"$@\"",
        path.display()
    );
    let Some(wrapper) = own_mounts() else {
        eprintln!("SKIPPED: this user may not mount anything, not even for himself");
        return None;
    };
    let shell = ["sh", "-c", &mount, "sh"];
    let words = wrapper.into_iter().chain(shell);
    Some(words.map(str::to_owned).collect())
}

#[test]
fn a_full_disk_is_told_and_space_that_is_given_back_is_used() {
    for aio in ["sync", "uring"] {
        let scratch = Scratch::new();
        let small = scratch.path("small");
        let Some(wrapper) = small_disk(&small) else {
            return;
        };
        let mut server = on_image(&scratch, &small.join("disk.img"), aio)
            .by_way_of(&text(&wrapper))
            .start();
        let statuses = failed(&server, 0, 2000);
        assert!(
            matches!(&statuses[..], [(name, 1000..)] if name.contains("Capacity Exceeded")),
            "{statuses:?}"
        );
        let words = ["cannot write", "No space left", "make room"];
        complains_once(&mut server, &words);
        assert_eq!(failed(&server, 100, 500), [], "all of it can be read");
        // Write Zeroes with Deallocate: two times 32 MiB in commands of 64 Ki blocks.
        for lba in ["0", "0x10000"] {
            let device = server.device();
            let mut words = vec!["device", "raw", &device, "--io", "--opcode", "8"];
            words.extend([
                "--nsid",
                "1",
                "--cdw10",
                lba,
                "--cdw12",
                "0x0200ffff",
                "--yes",
            ]);
            assert!(vssd(&words).status.success(), "{lba}");
        }
        assert_eq!(failed(&server, 0, 200), [], "there is space again");
        drop(server.terminate());
    }
}

#[test]
fn an_image_that_is_cut_short_and_grows_again_works_again() {
    for aio in ["sync", "uring"] {
        let scratch = Scratch::new();
        let image = scratch.path("disk.img");
        let mut server = on_image(&scratch, &image, aio).start();
        assert_eq!(failed(&server, 50, 200), []);
        let file = File::options().write(true).open(&image);
        let file = file.expect("the image is there");
        file.set_len(MIB).expect("a file can be cut");
        let statuses = failed(&server, 100, 500);
        assert!(
            matches!(&statuses[..], [(name, 300..)] if name.contains("Unrecovered Read Error")),
            "{statuses:?}"
        );
        complains_once(&mut server, &["cannot read", "shorter", "truncate"]);
        file.set_len(64 * MIB).expect("a file can grow");
        assert_eq!(failed(&server, 50, 200), []);
        drop(server.terminate());
    }
}

#[test]
fn an_image_that_is_deleted_lasts_as_long_as_its_server() {
    let scratch = Scratch::new();
    let image = scratch.path("disk.img");
    let server = on_image(&scratch, &image, "sync").start();
    fs::remove_file(&image).expect("the image is there");
    assert_eq!(failed(&server, 50, 500), []);
    assert!(answers(&server));
    let complaints = server.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
    drop(server.terminate());
    assert!(!image.exists());
}

/// A load that goes on for a while.
fn load_for_a_while(server: &Server) -> Child {
    Command::new(vssd_program())
        .args([
            "ioworker",
            &server.device(),
            "--time",
            "6s",
            "--iops",
            "500",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vssd can be started")
}

#[test]
fn a_socket_that_somebody_removes_comes_back() {
    let scratch = Scratch::new();
    let mut server = Serve::new("ram:64M", scratch.dir(), "drive").start();
    let load = load_for_a_while(&server);
    server.wait_for_log(": connected", 1);
    fs::remove_file(server.socket()).expect("it is there");
    let ended = load.wait_with_output().expect("a child can be waited for");
    assert!(ended.status.success(), "who is there stays: {ended:?}");
    until(PROMPTLY, "socket that is there again", || {
        answers(&server).then_some(())
    });
    complains_once(&mut server, &["removed", "drive.sock"]);
    let socket = server.socket().to_owned();
    drop(server.terminate());
    assert!(!socket.exists(), "at the end it goes");
}

#[test]
fn a_server_without_descriptors_serves_once_it_may_have_more() {
    for virtio in [false, true] {
        let scratch = Scratch::new();
        let serve = if virtio {
            Serve::virtio("ram:64M", scratch.dir(), "drive")
        } else {
            Serve::new("ram:64M", scratch.dir(), "drive")
        };
        let mut server = serve.start();
        let id = Pid::from_raw(i32::try_from(server.id()).expect("it is small"));
        let open = PathBuf::from(format!("/proc/{}/fd", server.id()));
        let next = (0_u64..).find(|number| !open.join(number.to_string()).exists());
        let limit = |current: Option<u64>| {
            let maximum = Some(1024);
            prlimit(id, Resource::Nofile, Rlimit { current, maximum })
                .expect("a child's limits can be changed");
        };
        limit(next);
        let client = std::os::unix::net::UnixStream::connect(server.socket());
        let client = client.expect("the socket takes clients to wait");
        server.wait_for_log("ulimit -n", 1);
        complains_once(&mut server, &["drive.sock", "Too many open files"]);
        limit(Some(1024));
        server.wait_for_log(": connected", 1);
        drop(client);
        server.wait_for_log(": disconnected", 1);
        if !virtio {
            assert!(answers(&server));
            assert_eq!(failed(&server, 50, 100), []);
        }
        drop(server.terminate());
    }
}

#[test]
fn an_image_that_cannot_be_written_is_refused_with_what_can_be_done() {
    let scratch = Scratch::new();
    let small = scratch.path("small");
    let Some(mut wrapper) = small_disk(&small) else {
        return;
    };
    let image = small.join("disk.img");
    let shell = format!(
        "truncate -s 1M {image} && mount -o remount,ro {} && exec \"$@\"",
        small.display(),
        image = image.display()
    );
    wrapper.extend(["sh", "-c", &shell, "sh"].map(str::to_owned));
    let serve = || Serve::new(&image, scratch.dir(), "drive").flag("--no-state");
    let refused = serve().by_way_of(&text(&wrapper)).try_start();
    let said = refused.expect_err("it cannot be written");
    eprintln!("vssd said: {said}");
    for word in ["disk.img", "Read-only", "--read-only", "--overlay"] {
        assert!(said.contains(word), "{said}");
    }
    let changes = scratch.path("changes.qcow2");
    let overlay = serve()
        .with("--overlay", &changes)
        .by_way_of(&text(&wrapper));
    let server = overlay.start();
    assert_eq!(failed(&server, 50, 100), []);
    drop(server.terminate());
}

/// In a guest, on the virtio disk: the kernel's driver is told, too.
const FILL: &str = r#"
echo "<full>"
dd if=/dev/urandom of=/dev/vda bs=64k count=256 oflag=direct 2>&1
echo "</full>"
set -e
dd if=/dev/vda of=/dev/null bs=64k iflag=direct
echo "<again>"
blkdiscard /dev/vda
dd if=/dev/urandom of=/dev/vda bs=64k count=16 oflag=direct
sync
echo done
echo "</again>"
"#;

#[test]
fn a_virtio_guest_is_told_of_a_full_disk_and_goes_on() {
    let Some(vm) = Vm::take("a_virtio_guest_is_told_of_a_full_disk_and_goes_on") else {
        return;
    };
    let scratch = Scratch::new();
    let small = scratch.path("small");
    let Some(wrapper) = small_disk(&small) else {
        return;
    };
    let mut server = Serve::virtio(small.join("disk.img"), scratch.dir(), "disk")
        .with("--create", "64M")
        .flag("--no-state")
        .by_way_of(&text(&wrapper))
        .start();
    let launch = Launch::job(vm.kit(), FILL)
        .root(Root::Initramfs)
        .firmware(Firmware::Qboot)
        .drive(server.drive());
    let outcome = start(&vm, launch).wait(PATIENCE);
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    outcome.lines.iter().for_each(|line| eprintln!("| {line}"));
    succeeded(&outcome);
    let full = section(&outcome.lines, "full").join("\n");
    assert!(full.contains("error"), "{full}");
    let again = section(&outcome.lines, "again");
    assert!(again.iter().any(|line| line == "done"), "{again:?}");
    complains_once(&mut server, &["cannot write", "No space left"]);
    drop(server.terminate());
}
