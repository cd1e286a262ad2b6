#![expect(
    unsafe_code,
    reason = "limits and filters of a process are set by raw calls"
)]

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use nvme::NvmOpcode;
use tempfile::TempDir;
use traces::Clock as _;

use super::super::alternating::Alternating;
use super::super::contract::{self, Action, Tester, pattern, ticket};
use super::super::image::tests::losetup;
use super::*;
use crate::media::RawFile;
use crate::memory::OwnBuffer;

const MIB: u64 = 1 << 20;

fn create(path: &Path, bytes: u64) -> Uring {
    let options = RawFileOptions {
        create: Some(bytes),
        read_only: false,
    };
    Uring::open(path, options).unwrap()
}

/// A medium that does nothing at once.
fn create_on_ring(path: &Path, bytes: u64) -> Uring {
    let mut media = create(path, bytes);
    (media.reads, media.writes) = (Way::Ring, Way::Ring);
    media
}

/// A medium past the page cache, or an ordinary one where that is not to be had.
fn create_direct(path: &Path, bytes: u64) -> Uring {
    let options = RawFileOptions {
        create: Some(bytes),
        read_only: false,
    };
    Uring::open_direct(path, options).unwrap_or_else(|_| create(path, bytes))
}

/// Directories on a file system that has memory behind it, and on one that has a
/// drive.
fn places() -> Vec<TempDir> {
    let mut places = vec![tempfile::tempdir().unwrap()];
    places.extend(tempfile::tempdir_in("/dev/shm"));
    places
}

#[test]
fn it_matches_the_model() {
    matches_the_model(24, |medium| medium);
}

#[test]
fn several_handles_match_the_model() {
    matches_the_model(16, Alternating::new);
}

fn matches_the_model<M: Media>(cases: u32, made: impl Fn(Uring) -> M) {
    for dir in places() {
        for make in [create, create_on_ring, create_direct] {
            let mut count = 0;
            contract::matches_the_model(cases, || {
                count += 1;
                let path = dir.path().join(format!("{count}"));
                let _ = std::fs::remove_file(&path);
                made(make(&path, MIB))
            });
        }
    }
}

#[test]
fn the_lock_is_held_until_the_last_handle_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let first = create(&path, MIB);
    let second = first.another().unwrap();
    drop(first);
    RawFile::open(&path, RawFileOptions::default()).unwrap_err();
    drop(second);
    RawFile::open(&path, RawFileOptions::default()).unwrap();
}

#[test]
fn it_gives_up_what_is_abandoned() {
    for dir in places() {
        contract::gives_up_what_is_abandoned(create_on_ring(&dir.path().join("disk"), MIB));
    }
}

#[test]
fn it_lets_go_of_memory() {
    for dir in places() {
        contract::lets_go_of_memory(create_on_ring(&dir.path().join("disk"), MIB));
    }
}

#[test]
fn past_the_page_cache_it_keeps_the_contract_too() {
    for dir in places() {
        contract::gives_up_what_is_abandoned(create_direct(&dir.path().join("one"), MIB));
        contract::lets_go_of_memory(create_direct(&dir.path().join("two"), MIB));
    }
}

/// What is aligned goes past the page cache; what is not goes through it, after
/// all that came before and before all that comes after, and neither writes over
/// the other.
#[test]
fn neighbours_past_and_through_the_page_cache_do_not_meet() {
    for dir in places() {
        let path = dir.path().join("disk");
        let mut tester = Tester::new(create_direct(&path, MIB));
        for round in 0..8 {
            for page in 0..24 {
                tester.act(&Action::Write(page * 8, 8, false, false, round));
                tester.act(&Action::Write(200 + page * 7, 7, false, false, round));
                tester.act(&Action::Write(512 + page * 16, 16, true, false, round));
            }
        }
        tester.check_all();
        assert!(std::fs::read(&path).unwrap() == tester.model);
    }
}

#[test]
fn what_is_written_is_in_the_file() {
    for dir in places() {
        let path = dir.path().join("disk");
        let mut tester = Tester::new(create(&path, MIB));
        tester.act(&Action::Write(3, 100, true, false, 7));
        tester.act(&Action::Write(200, 8, false, true, 9));
        tester.act(&Action::Flush);
        tester.settle();
        let image = std::fs::read(&path).unwrap();
        assert_eq!(image.len() as u64, MIB);
        assert_eq!(image[3 * 512..103 * 512], pattern(7, 100));
        assert_eq!(image[200 * 512..208 * 512], pattern(9, 8));
        assert_eq!(image, tester.model);
    }
}

#[test]
fn a_discard_makes_a_hole_and_keeps_the_size() {
    for dir in places() {
        let path = dir.path().join("disk");
        let mut tester = Tester::new(create(&path, MIB));
        for at in 0..16 {
            tester.act(&Action::Write(at * 128, 128, false, false, 1));
        }
        tester.settle();
        let blocks = || std::fs::metadata(&path).unwrap().blocks();
        assert!(blocks() >= 2048, "{}", blocks());
        tester.act(&Action::Discard(vec![(0, 1024), (1024, 1000)]));
        tester.settle();
        assert!(blocks() <= 64, "{}", blocks());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), MIB);
        tester.check_all();
    }
}

/// The sixteen megabytes are written where the file system has no way to make
/// zeroes that take their space.
#[test]
fn zeroes_without_deallocation_take_their_space() {
    for dir in places() {
        let path = dir.path().join("disk");
        let mut tester = Tester::new(create(&path, 16 * MIB));
        tester.act(&Action::Zero(1, 16 * 2048 - 1, false, true));
        tester.settle();
        let blocks = std::fs::metadata(&path).unwrap().blocks();
        assert!(blocks >= 16 * 2048 - 8, "{blocks}");
    }
}

#[test]
fn a_file_that_shrinks_under_us_is_a_read_error() {
    for dir in places() {
        let path = dir.path().join("disk");
        let mut media = create(&path, MIB);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        file.set_len(4096).unwrap();
        let mut own = OwnBuffer::new(8192);
        // A part of the first is there still.
        let cases = [(2048, false), (65_536, false), (2048, true), (65_536, true)];
        for (way, (offset, verify)) in [Way::Now, Way::Ring]
            .into_iter()
            .flat_map(|way| cases.map(|case| (way, case)))
        {
            media.reads = way;
            let request = if verify {
                let bytes = 8192;
                Request::Verify {
                    extent: Extent { offset, bytes },
                }
            } else {
                let to = own.fill(0, 8192).unwrap();
                Request::Read { offset, to }
            };
            let outcome = run(&mut media, NvmOpcode::READ, request);
            assert_eq!(outcome, Err(MediaError::Read), "{offset}");
        }
    }
}

/// Runs one request to its end.
fn run(media: &mut Uring, opcode: NvmOpcode, request: Request<'_>) -> Outcome {
    match media.submit(ticket(1, opcode), request) {
        Submission::Done(ticket, outcome) => {
            ticket.settle();
            outcome
        }
        Submission::Pending => {
            let mut ended = None;
            while ended.is_none() {
                media.poll(1, &mut |ticket, outcome| {
                    ticket.settle();
                    ended = Some(outcome);
                });
            }
            ended.unwrap()
        }
    }
}

#[test]
fn a_hundred_tebibytes_are_opened_at_once() {
    const BYTES: u64 = 100 << 40;
    // Not every file system has files that large.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("disk");
    let Ok(()) = File::create(&path).and_then(|file| file.set_len(BYTES)) else {
        return;
    };
    let clock = traces::MonotonicClock::start();
    let mut media = create(&path, BYTES);
    let took_ns = clock.now_ns();
    assert!(took_ns < 100_000_000, "{took_ns}");
    assert_eq!(media.info().bytes, BYTES);
    let mut own = OwnBuffer::new(4096);
    own.data_mut().fill(9);
    let offset = BYTES - 4096;
    let from = own.drain(0, 4096).unwrap();
    let write = Request::Write {
        offset,
        from,
        durable: false,
    };
    assert_eq!(run(&mut media, NvmOpcode::WRITE, write), Ok(()));
    own.data_mut().fill(0);
    let to = own.fill(0, 4096).unwrap();
    let read = Request::Read { offset, to };
    assert_eq!(run(&mut media, NvmOpcode::READ, read), Ok(()));
    assert!(own.data().iter().all(|&byte| byte == 9));
}

#[test]
#[expect(clippy::print_stderr, reason = "a test says what it leaves out")]
fn one_that_is_alone_stays_so_where_another_is_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let medium = create_direct(&dir.path().join("disk"), MIB);
    if medium.direct.is_none() {
        eprintln!("left out: nothing goes past the page cache here");
        return;
    }
    let other = medium.another().unwrap();
    let mut tester = Tester::new(medium);
    // It goes alone, and is with the kernel.
    tester.act(&Action::Verify(0, 8));
    tester.media.push_queued();
    tester.media.ring.enter(false);
    tester.act(&Action::Write(16, 8, false, false, 1));
    assert!(tester.cancel(2));
    assert!(!other.gate.enter());
    tester.settle();
    assert!(other.gate.enter());
}

#[test]
fn what_has_not_begun_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let mut tester = Tester::new(create(&dir.path().join("disk"), MIB));
    // Durable writes wait for their turn; a flush waits for a sync.
    tester.act(&Action::Write(0, 8, false, true, 5));
    tester.act(&Action::Flush);
    assert!(tester.cancel(1) && tester.cancel(2));
    assert!(!tester.cancel(1) && !tester.cancel(2));
    tester.model.fill(0);
    tester.check_all();
    // Once the kernel has it, it is too late.
    tester.act(&Action::Write(0, 8, false, true, 5));
    let id = tester.submitted();
    tester.poll(0);
    assert!(!tester.cancel(id));
    tester.check_all();
}

#[test]
fn no_flush_is_believed_after_one_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut media = create(&dir.path().join("disk"), MIB);
    media.is_syncing = true;
    media.syncing.push_back(ticket(7, NvmOpcode::FLUSH));
    media.synced(-libc::EIO);
    media.poll(9, &mut |ticket, outcome| {
        assert_eq!(outcome, Err(MediaError::Write));
        ticket.settle();
    });
    assert_eq!(media.pending(), 0);
    let flush = run(&mut media, NvmOpcode::FLUSH, Request::Flush);
    assert_eq!(flush, Err(MediaError::Write));
    let mut own = OwnBuffer::new(4096);
    for durable in [true, false] {
        let from = own.drain(0, 4096).unwrap();
        let write = Request::Write {
            offset: 0,
            from,
            durable,
        };
        let outcome = run(&mut media, NvmOpcode::WRITE, write);
        assert_eq!(outcome.is_err(), durable);
    }
}

#[test]
fn readers_share_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("disk");
    let writer = create(&path, MIB);
    let options = RawFileOptions {
        create: None,
        read_only: true,
    };
    let error = Uring::open(&path, options).unwrap_err().to_string();
    assert!(error.contains("in use by this very process"), "{error}");
    RawFile::open(&path, options).unwrap_err();
    drop(writer);
    let mut one = Uring::open(&path, options).unwrap();
    let _other = RawFile::open(&path, options).unwrap();
    Uring::open(&path, RawFileOptions::default()).unwrap_err();
    let mut own = OwnBuffer::new(4096);
    let from = own.drain(0, 4096).unwrap();
    let requests = [
        Request::Write {
            offset: 0,
            from,
            durable: false,
        },
        Request::Discard {
            extents: &[Extent {
                offset: 0,
                bytes: 4096,
            }],
        },
    ];
    for request in requests {
        let outcome = run(&mut one, NvmOpcode::WRITE, request);
        assert_eq!(outcome, Err(MediaError::ReadOnly));
    }
    assert_eq!(run(&mut one, NvmOpcode::FLUSH, Request::Flush), Ok(()));
}

/// A limit on the size of files stands for a full disk: what does not fit is an
/// error to the guest, and nothing else suffers.
#[test]
fn what_does_not_fit_is_an_error_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    if let Some(path) = std::env::var_os(LIMITED) {
        return limited(Path::new(&path));
    }
    // The limit is one of the process, so that a process of its own has it.
    let name = "media::uring::tests::what_does_not_fit_is_an_error_and_nothing_else";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(LIMITED, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let image = std::fs::read(&path).unwrap();
    assert!(image[..65_536].iter().all(|&byte| byte == 5));
    assert!(image[65_536..].iter().all(|&byte| byte == 0));
}

const LIMITED: &str = "VSSD_TEST_FILE_LIMIT";

fn limited(path: &Path) {
    // SAFETY: the signal is one that the limit sends, and nobody waits for it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let mut media = create(path, MIB);
    let limit = libc::rlimit {
        rlim_cur: 65_536,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit is ours, and outlives the call.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(done, 0);
    let mut own = OwnBuffer::new(65_536);
    own.data_mut().fill(5);
    for way in [Way::Now, Way::Ring] {
        media.writes = way;
        for durable in [false, true] {
            let mut write = |offset| {
                let from = own.drain(0, 65_536).unwrap();
                let write = Request::Write {
                    offset,
                    from,
                    durable,
                };
                run(&mut media, NvmOpcode::WRITE, write)
            };
            assert_eq!(write(65_536), Err(MediaError::NoSpace));
            assert_eq!(write(0), Ok(()));
        }
        let flush = run(&mut media, NvmOpcode::FLUSH, Request::Flush);
        assert_eq!(flush, Ok(()));
    }
}

/// A drive, as a loop device is one, where this machine lets us make it.
#[test]
fn a_block_device_matches_the_model_and_is_not_shared_with_a_mount() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    File::create(&path).unwrap().set_len(4 * MIB).unwrap();
    let Some(device) = losetup(&["--find", "--show", path.to_str().unwrap()]) else {
        return;
    };
    let outcome = std::panic::catch_unwind(|| {
        let device = Path::new(&device);
        for direct in [false, true] {
            contract::matches_a_model(
                8,
                || {
                    // What the last case left is gone.
                    let zeroes = vec![0; 4 << 20];
                    std::fs::write(device, &zeroes).unwrap();
                    let options = RawFileOptions::default();
                    let media = if direct {
                        Uring::open_direct(device, options)
                    } else {
                        Uring::open(device, options)
                    };
                    (media.unwrap(), zeroes)
                },
                |model| assert!(std::fs::read(device).unwrap() == model),
            );
        }
        // Who has it for himself, as a mount does, keeps us from writing.
        let held = std::os::unix::fs::OpenOptionsExt::custom_flags(
            std::fs::OpenOptions::new().read(true).write(true),
            libc::O_EXCL,
        )
        .open(device)
        .unwrap();
        Uring::open(device, RawFileOptions::default()).unwrap_err();
        drop(held);
    });
    losetup(&["--detach", &device]);
    outcome.unwrap();
}

/// Where the kernel refuses io_uring, as containers have it do, that is told, and
/// no file is made.
#[test]
fn a_ring_that_is_refused_is_an_error_of_its_own() {
    if let Some(path) = std::env::var_os(REFUSED) {
        return refused(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let name = "media::uring::tests::a_ring_that_is_refused_is_an_error_of_its_own";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(REFUSED, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!path.exists());
}

const REFUSED: &str = "VSSD_TEST_REFUSE_URING";

/// Has the kernel refuse `io_uring_setup`, and tries to open.
fn refused(path: &Path) {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refusal),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: the program is ours, and outlives the call.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(done, 0);
    let options = RawFileOptions {
        create: Some(MIB),
        read_only: false,
    };
    let error = Uring::open(path, options).unwrap_err();
    assert!(matches!(error, VssdError::Uring { .. }), "{error}");
    assert!(error.to_string().contains("--aio sync"), "{error}");
}
