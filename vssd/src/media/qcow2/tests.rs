use std::cell::Cell;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use nvme::NvmOpcode;

use super::super::alternating::Alternating;
use super::super::contract::{self, Action, Tester, pattern, ticket};
use super::*;
use crate::memory::OwnBuffer;

const MIB: u64 = 1 << 20;

fn create(path: &Path, bytes: u64) -> Qcow2 {
    Qcow2::create(path, bytes).unwrap();
    Qcow2::open(path, false, false).unwrap()
}

/// Runs a program of QEMU's; what it printed, and whether it was content. None
/// where there is no such program.
fn qemu(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some((output.status.success(), text))
}

/// Asserts that QEMU finds no fault with the image, and that it reads as `model`.
fn judge(image: &Path, model: &[u8]) {
    let image = image.to_str().unwrap();
    let raw = format!("{image}.model");
    std::fs::write(&raw, model).unwrap();
    let Some((clean, text)) = qemu("qemu-img", &["check", image]) else {
        return;
    };
    assert!(clean, "{text}");
    let compare = ["compare", "-F", "raw", "-f", "qcow2", image, &raw];
    let (same, text) = qemu("qemu-img", &compare).unwrap();
    assert!(same, "{text}");
}

/// Runs one request to its end.
fn run(media: &mut Qcow2, opcode: NvmOpcode, request: Request<'_>) -> Outcome {
    let mut ended = None;
    match media.submit(ticket(1, opcode), request) {
        Submission::Done(ticket, outcome) => {
            ticket.settle();
            return outcome;
        }
        Submission::Pending => {}
    }
    while ended.is_none() {
        media.poll(1, &mut |ticket, outcome| {
            ticket.settle();
            ended = Some(outcome);
        });
    }
    ended.unwrap()
}

#[test]
fn it_matches_the_model_and_qemu_finds_no_fault() {
    matches_the_model(|medium| medium);
}

#[test]
fn several_handles_match_the_model_and_qemu_finds_no_fault() {
    matches_the_model(Alternating::new);
}

fn matches_the_model<M: Media>(made: impl Fn(Qcow2) -> M) {
    let dir = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    let path = || dir.path().join(format!("{}", count.get()));
    contract::matches_a_model(
        12,
        || {
            count.set(count.get() + 1);
            (made(create(&path(), 4 * MIB)), vec![0; 4 << 20])
        },
        |model| judge(&path(), model),
    );
}

/// Requests that meet nowhere may meet in a cluster that none has written yet.
#[test]
fn neighbours_in_a_new_cluster_leave_each_other_alone() {
    neighbours_leave_each_other_alone(|medium| medium);
    neighbours_leave_each_other_alone(Alternating::new);
}

fn neighbours_leave_each_other_alone<M: Media>(made: impl Fn(Qcow2) -> M) {
    const CLUSTER: u64 = 128;
    const CLUSTERS: u64 = 128;
    let dir = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let path = dir.path().join(format!("{round}"));
        let mut tester = Tester::new(made(create(&path, CLUSTERS * 65_536)));
        for start in (0..CLUSTERS - 1)
            .step_by(2)
            .map(|cluster| cluster * CLUSTER)
        {
            // Begins in the first of two clusters, and ends in the second.
            tester.act(&Action::Write(start + 113, 56, true, false, 1));
            tester.act(&Action::Zero(start + 201, 27, false, false));
            if round % 2 == 1 {
                tester.act(&Action::Write(start + 15, 20, false, false, 2));
                tester.act(&Action::Write(start + 230, 20, false, false, 3));
            } else {
                tester.settle();
            }
        }
        tester.check_all();
        let model = tester.model.clone();
        drop(tester);
        judge(&path, &model);
    }
}

/// A raw image below, a qcow2 image on it, and another on that.
#[test]
fn a_chain_matches_the_model_and_leaves_its_bases_alone() {
    let dir = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    let base = dir.path().join("base.img");
    let mut model = vec![0; 4 << 20];
    model[..1 << 20].copy_from_slice(&pattern(3, 2048));
    model[3 << 20..].copy_from_slice(&pattern(9, 2048));
    std::fs::write(&base, &model).unwrap();
    let middle = dir.path().join("middle.qcow2");
    let mut tester = Tester::new(Qcow2::open_overlay(&middle, &base, false).unwrap());
    tester.model.clone_from(&model);
    tester.act(&Action::Write(100, 100, true, false, 77));
    tester.act(&Action::Discard(vec![(7000, 1000)]));
    tester.check_all();
    let model = tester.model.clone();
    drop(tester);
    let below = || [&base, &middle].map(|path| std::fs::read(path).unwrap());
    let before = below();
    let path = || dir.path().join(format!("{}", count.get()));
    contract::matches_a_model(
        12,
        || {
            count.set(count.get() + 1);
            let overlay = Qcow2::open_overlay(&path(), &middle, false).unwrap();
            (overlay, model.clone())
        },
        |model| judge(&path(), model),
    );
    assert!(below() == before, "a base was written to");
}

/// As if the process had been killed: what the system has of the image is all there is.
#[test]
fn what_was_answered_does_not_need_this_process_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let [path, seen] = ["image", "seen"].map(|name| dir.path().join(name));
    let mut tester = Tester::new(create(&path, 4 * MIB));
    let actions = [
        Action::Write(100, 300, false, false, 7),
        Action::Write(7000, 16, false, false, 8),
        Action::Discard(vec![(200, 128)]),
        Action::Write(220, 8, false, false, 9),
    ];
    for action in actions {
        tester.act(&action);
        // It is answered once it can be read.
        tester.check_all();
        std::fs::copy(&path, &seen).unwrap();
        let mut found = Tester::new(Qcow2::open(&seen, true, false).unwrap());
        found.model.clone_from(&tester.model);
        found.check_all();
        drop(found);
        judge(&seen, &tester.model);
    }
}

#[test]
fn it_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract::gives_up_what_is_abandoned(create(&dir.path().join("one"), MIB));
    contract::lets_go_of_memory(create(&dir.path().join("two"), MIB));
}

#[test]
fn qemu_reads_what_was_made_and_what_it_made_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.qcow2");
    let name = path.to_str().unwrap();
    let Some((made, text)) = qemu("qemu-img", &["create", "-f", "qcow2", name, "64M"]) else {
        return;
    };
    assert!(made, "{text}");
    let write = ["-c", "write -P 5 1M 3M", "-c", "write -z 2M 64k", name];
    assert!(qemu("qemu-io", &write).unwrap().0);
    let mut tester = Tester::new(Qcow2::open(&path, false, false).unwrap());
    assert_eq!(tester.model.len(), 64 << 20);
    tester.model[1 << 20..4 << 20].fill(5);
    tester.model[2 << 20..(2 << 20) + 65_536].fill(0);
    tester.act(&Action::Write(2100, 300, false, true, 1));
    tester.check_all();
    let model = tester.model.clone();
    drop(tester);
    judge(&path, &model);

    // A compressed image, which can be read and written over.
    let small = dir.path().join("small.qcow2");
    let convert = [
        "convert",
        "-c",
        "-O",
        "qcow2",
        name,
        small.to_str().unwrap(),
    ];
    let (made, text) = qemu("qemu-img", &convert).unwrap();
    assert!(made, "{text}");
    let mut tester = Tester::new(Qcow2::open(&small, false, false).unwrap());
    tester.model = model;
    tester.check_all();
    tester.act(&Action::Write(2300, 300, false, true, 4));
    tester.check_all();
    let model = tester.model.clone();
    drop(tester);
    judge(&small, &model);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.qcow2");
    let cases: [(u64, &[u8], &str); 9] = [
        (32, &[0, 0, 0, 2], "encrypted"),
        (79, &[1], "qemu-img check -r all"),
        (79, &[2], "qemu-img check -r all"),
        (79, &[4], "keeps its data in another file"),
        (79, &[8], "compression"),
        (79, &[16], "subclusters"),
        (72, &[0x80], "not known here (0x8000000000000000)"),
        (4, &[0, 0, 0, 9], "version 9"),
        (0, b"raw!", "--format raw"),
    ];
    for (at, bytes, expected) in cases {
        drop(create(&path, MIB));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(bytes, at).unwrap();
        for read_only in [false, true] {
            let error = Qcow2::open(&path, read_only, true).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("disk.qcow2"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
    }
    // An image that builds on itself.
    files::create(&path, MIB, Some((&path, true))).unwrap();
    let error = Qcow2::open(&path, true, true).unwrap_err().to_string();
    assert!(error.contains("build on each other"), "{error}");
    // One that builds on something, where nobody said that it is what it says.
    let error = Qcow2::open(&path, true, false).unwrap_err().to_string();
    assert!(error.contains("--format qcow2"), "{error}");
}

#[test]
fn a_read_only_image_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.qcow2");
    drop(create(&path, MIB));
    let before = std::fs::read(&path).unwrap();
    let mut image = Qcow2::open(&path, true, false).unwrap();
    let _other = Qcow2::open(&path, true, false).unwrap();
    let error = Qcow2::open(&path, false, false).unwrap_err().to_string();
    assert!(error.contains("in use by this very process"), "{error}");
    let mut own = OwnBuffer::new(4096);
    let from = own.drain(0, 4096).unwrap();
    let write = Request::Write {
        offset: 0,
        from,
        durable: false,
    };
    let outcome = run(&mut image, NvmOpcode::WRITE, write);
    assert_eq!(outcome, Err(MediaError::ReadOnly));
    assert_eq!(run(&mut image, NvmOpcode::FLUSH, Request::Flush), Ok(()));
    drop(image);
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn an_overlay_is_committed_or_dropped() {
    let dir = tempfile::tempdir().unwrap();
    for is_qcow2 in [false, true] {
        let base = dir.path().join(format!("base-{is_qcow2}"));
        let overlay = dir.path().join(format!("overlay-{is_qcow2}.qcow2"));
        if is_qcow2 {
            drop(create(&base, 4 * MIB));
        } else {
            let file = std::fs::File::create(&base).unwrap();
            file.set_len(4 * MIB).unwrap();
            file.write_all_at(&pattern(3, 256), 65_536).unwrap();
        }
        let before = std::fs::read(&base).unwrap();
        let mut tester = Tester::new(Qcow2::open_overlay(&overlay, &base, false).unwrap());
        if !is_qcow2 {
            tester.model.clone_from(&before);
        }
        tester.act(&Action::Write(10, 100, true, false, 7));
        tester.act(&Action::Write(8000, 192, false, true, 8));
        tester.act(&Action::Discard(vec![(128, 128)]));
        tester.check_all();
        let model = tester.model.clone();
        let error = Qcow2::commit(&overlay).unwrap_err().to_string();
        assert!(error.contains("in use by"), "{error}");
        drop(tester);
        assert!(std::fs::read(&base).unwrap() == before, "the base changed");
        judge(&overlay, &model);
        // Opened again, it is as it was left.
        let mut tester = Tester::new(Qcow2::open_overlay(&overlay, &base, false).unwrap());
        tester.model.clone_from(&model);
        tester.check_all();
        drop(tester);
        let (to, written) = Qcow2::commit(&overlay).unwrap();
        assert_eq!(to.canonicalize().unwrap(), base.canonicalize().unwrap());
        assert!((65_536..MIB).contains(&written), "{written}");
        if is_qcow2 {
            judge(&base, &model);
        } else {
            assert!(std::fs::read(&base).unwrap() == model);
        }
        judge(&overlay, &model);
    }
}

#[test]
fn an_overlay_goes_with_its_base_only() {
    let dir = tempfile::tempdir().unwrap();
    let [base, other, overlay] = ["base", "other", "overlay"].map(|name| dir.path().join(name));
    for path in [&base, &other] {
        std::fs::File::create(path).unwrap().set_len(MIB).unwrap();
    }
    drop(Qcow2::open_overlay(&overlay, &base, false).unwrap());
    let refused = |base: &Path| {
        let error = Qcow2::open_overlay(&overlay, base, false).unwrap_err();
        error.to_string()
    };
    let error = refused(&other);
    assert!(error.contains("not to"), "{error}");
    let file = std::fs::File::options().write(true).open(&base).unwrap();
    file.set_len(2 * MIB).unwrap();
    let error = refused(&base);
    assert!(error.contains("has 2097152 now"), "{error}");
    let error = Qcow2::commit(&overlay).unwrap_err().to_string();
    assert!(error.contains("bring that back to its size"), "{error}");
    // An image of its own is no overlay.
    std::fs::remove_file(&overlay).unwrap();
    drop(create(&overlay, MIB));
    let error = refused(&base);
    assert!(error.contains("an image of its own"), "{error}");
}

#[test]
fn an_overlay_that_has_grown_has_its_base_grow_when_it_is_committed() {
    for is_qcow2 in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let [base, overlay] = ["base", "overlay.qcow2"].map(|name| dir.path().join(name));
        if is_qcow2 {
            drop(create(&base, MIB));
        } else {
            std::fs::write(&base, pattern(5, MIB / 512)).unwrap();
        }
        let mut tester = Tester::new(Qcow2::open_overlay(&overlay, &base, false).unwrap());
        if !is_qcow2 {
            tester.model = pattern(5, MIB / 512);
        }
        tester.act(&Action::Grow(4000, 9));
        tester.check_all();
        let model = tester.model.clone();
        drop(tester);
        judge(&overlay, &model);
        let mut tester = Tester::new(Qcow2::open_overlay(&overlay, &base, false).unwrap());
        tester.model.clone_from(&model);
        tester.check_all();
        drop(tester);
        Qcow2::commit(&overlay).unwrap();
        if is_qcow2 {
            judge(&base, &model);
        } else {
            assert!(std::fs::read(&base).unwrap() == model);
        }
    }
}

/// What an image builds on may have more than it: that is not to be seen.
#[test]
fn an_image_that_grows_does_not_show_more_of_its_base() {
    let dir = tempfile::tempdir().unwrap();
    let [base, path] = ["base", "disk.qcow2"].map(|name| dir.path().join(name));
    std::fs::write(&base, pattern(5, 4 * MIB / 512)).unwrap();
    let below = BaseImage {
        path: base,
        is_qcow2: false,
    };
    // An end in the middle of a cluster.
    let bytes = MIB + 512;
    Qcow2::create_on(&path, bytes, &below).unwrap();
    let mut tester = Tester::new(Qcow2::open(&path, false, true).unwrap());
    let shown = usize::try_from(bytes).unwrap();
    tester
        .model
        .copy_from_slice(&pattern(5, 4 * MIB / 512)[..shown]);
    tester.check_all();
    tester.act(&Action::Grow(3000, 9));
    tester.act(&Action::Grow(9000, 10));
    tester.check_all();
    let model = tester.model.clone();
    drop(tester);
    judge(&path, &model);
    let mut reader = Qcow2::open(&path, true, true).unwrap();
    let error = reader.grow(64 * MIB).unwrap_err().to_string();
    assert!(error.contains("without --read-only"), "{error}");
    // More than a table of tables has room for.
    drop(reader);
    let mut medium = Qcow2::open(&path, false, true).unwrap();
    let there = medium.info().bytes;
    let error = medium.grow(1 << 62).unwrap_err().to_string();
    assert!(error.contains("cannot grow"), "{error}");
    assert_eq!(medium.info().bytes, there);
    drop(medium);
    judge(&path, &model);
}

#[test]
fn qemu_and_we_keep_off_each_others_images() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    let image = create(&path, MIB);
    let Some((done, text)) = qemu("qemu-io", &["-c", "write 0 64k", name]) else {
        return;
    };
    assert!(!done && text.contains("lock"), "{text}");
    drop(image);
    let mut theirs = Command::new("qemu-io")
        .args(["-c", "write 0 64k", "-c", "sleep 20000", name])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let locked = || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.contains(&format!(":{inode} "))
    };
    while !locked() {
        std::thread::yield_now();
    }
    let error = Qcow2::open(&path, false, false).unwrap_err().to_string();
    let who = format!("process {} (qemu-io)", theirs.id());
    theirs.kill().unwrap();
    theirs.wait().unwrap();
    assert!(error.contains(&who), "{error}");
    Qcow2::open(&path, false, false).unwrap();
}

/// A limit on the size of files stands for a full disk.
#[test]
fn a_full_disk_is_an_error_and_the_image_stays_whole() {
    if let Some(path) = std::env::var_os(LIMITED) {
        return limited(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.qcow2");
    // The limit is one of the process, so that a process of its own has it.
    let name = "media::qcow2::tests::a_full_disk_is_an_error_and_the_image_stays_whole";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(LIMITED, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let mut model = vec![0; 8 << 20];
    model[..4 << 20].fill(5);
    let mut tester = Tester::new(Qcow2::open(&path, false, false).unwrap());
    tester.model.clone_from(&model);
    tester.check_all();
    drop(tester);
    judge(&path, &model);
}

const LIMITED: &str = "VSSD_TEST_QCOW2_LIMIT";

fn limited(path: &Path) {
    let limit = |bytes| {
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: the limit is ours, and outlives the call.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
        assert_eq!(done, 0);
    };
    // SAFETY: the signal is one that the limit sends, and nobody waits for it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let mut image = create(path, 8 * MIB);
    let mut own = OwnBuffer::new(65_536);
    own.data_mut().fill(5);
    let mut write = |offset: u64| {
        let from = own.drain(0, 65_536).unwrap();
        let write = Request::Write {
            offset,
            from,
            durable: false,
        };
        run(&mut image, NvmOpcode::WRITE, write)
    };
    limit(2 * MIB);
    let outcomes: Vec<_> = (0..64).map(|at| write(at * 65_536)).collect();
    assert_eq!(outcomes.first(), Some(&Ok(())));
    assert_eq!(outcomes.last(), Some(&Err(MediaError::NoSpace)));
    // There is room again, and what failed can be done.
    limit(libc::RLIM_INFINITY);
    for at in 0..64 {
        assert_eq!(write(at * 65_536), Ok(()), "{at}");
    }
    assert_eq!(run(&mut image, NvmOpcode::FLUSH, Request::Flush), Ok(()));
}
