use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use nvme::{DsmRange, Lba, NamespaceId, NvmOpcode, Sqe, Status};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::super::alternating::Alternating;
use super::super::contract;
use super::*;
use crate::host::{Host, PAGE, dsm, io};

const MIB: u64 = 1 << 20;

fn create(path: &Path, bytes: u64) -> RawFile {
    let options = RawFileOptions {
        create: Some(bytes),
        read_only: false,
    };
    RawFile::open(path, options).unwrap()
}

#[test]
fn a_file_is_made_locked_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let missing = RawFile::open(&path, RawFileOptions::default()).unwrap_err();
    assert!(missing.to_string().contains("disk"), "{missing}");
    let file = create(&path, MIB);
    assert_eq!(file.info().bytes, MIB);
    assert_eq!(std::fs::metadata(&path).unwrap().blocks(), 0);
    let error = RawFile::open(&path, RawFileOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("in use by this very process"),
        "{error}"
    );
    drop(file);
    // As it is, whatever its size; but not as one of another size.
    RawFile::open(&path, RawFileOptions::default()).unwrap();
    let options = RawFileOptions {
        create: Some(2 * MIB),
        read_only: false,
    };
    let error = RawFile::open(&path, options).unwrap_err();
    assert!(matches!(error, VssdError::Exists { wanted, .. } if wanted == 2 * MIB));
    RawFile::open(dir.path(), RawFileOptions::default()).unwrap_err();
}

#[test]
fn readers_share_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    drop(create(&path, MIB));
    let options = RawFileOptions {
        create: None,
        read_only: true,
    };
    let other = RawFile::open(&path, options).unwrap();
    let (mut host, mut pair) = Host::ready(RawFile::open(&path, options).unwrap());
    let page = host.pages(1);
    for opcode in [NvmOpcode::WRITE, NvmOpcode::WRITE_ZEROES] {
        let status = host.status(&mut pair, io(opcode, 0, 1, page, 0));
        assert!(status.same_code(Status::NAMESPACE_WRITE_PROTECTED));
    }
    let read = io(NvmOpcode::READ, 0, 1, page, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    let flush = Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1));
    assert_eq!(host.status(&mut pair, flush), Status::SUCCESS);
    drop(other);
}

#[test]
fn bytes_stand_in_the_file_where_they_stand_on_the_drive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let (mut host, mut pair) = Host::ready(create(&path, MIB));
    // A transfer of many pieces: every other page, so that none are adjacent.
    let pages = host.pages(64);
    let list = host.pages(1);
    let entries: Vec<u8> = (1..32)
        .flat_map(|at| (pages + at * 2 * PAGE).to_le_bytes())
        .collect();
    host.write(list, &entries);
    for at in 0..32_u8 {
        host.write(pages + u64::from(at) * 2 * PAGE, &[at + 1; 4096]);
    }
    let write = io(NvmOpcode::WRITE, 3, 256, pages, list);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let image = std::fs::read(&path).unwrap();
    assert_eq!(image.len() as u64, MIB);
    assert!(image[..1536].iter().all(|&byte| byte == 0));
    for (at, page) in image[1536..1536 + 32 * 4096].chunks(4096).enumerate() {
        assert!(page.iter().all(|&byte| usize::from(byte) == at + 1), "{at}");
    }
    assert!(image[1536 + 32 * 4096..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_discard_makes_a_hole_and_keeps_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let (mut host, mut pair) = Host::ready(create(&path, MIB));
    let page = host.pages(1);
    host.write(page, &[7; 4096]);
    for lba in (0..1024).step_by(8) {
        host.run(&mut pair, io(NvmOpcode::WRITE, lba, 8, page, 0));
    }
    let blocks = || std::fs::metadata(&path).unwrap().blocks();
    let full = blocks();
    assert!(full >= 1024, "{full}");
    host.write(page, DsmRange::new(Lba(0), 1024).as_bytes());
    assert_eq!(host.status(&mut pair, dsm(1, page)), Status::SUCCESS);
    assert!(blocks() < full / 4, "{} of {full}", blocks());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), MIB);
}

#[test]
fn zeroes_without_deallocation_take_their_space() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let (mut host, mut pair) = Host::ready(create(&path, MIB));
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[9; 8192], 0)
        .unwrap();
    let zero = io(NvmOpcode::WRITE_ZEROES, 1, 14, 0, 0);
    assert_eq!(host.status(&mut pair, zero), Status::SUCCESS);
    let image = std::fs::read(&path).unwrap();
    assert_eq!(image[..512], [9; 512]);
    assert_eq!(image[512..7680], [0; 7168]);
    assert_eq!(image[7680..8192], [9; 512]);
}

#[test]
fn a_file_that_shrinks_under_us_is_a_read_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let (mut host, mut pair) = Host::ready(create(&path, MIB));
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(4096)
        .unwrap();
    let page = host.pages(1);
    for opcode in [NvmOpcode::READ, NvmOpcode::COMPARE, NvmOpcode::VERIFY] {
        let status = host.status(&mut pair, io(opcode, 100, 1, page, 0));
        assert!(status.same_code(Status::UNRECOVERED_READ_ERROR), "{opcode}");
    }
}

#[test]
fn many_flushes_are_answered_by_few_syncs_and_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut host, mut pair) = Host::ready(create(&dir.path().join("disk"), MIB));
    let page = host.pages(1);
    let mut write = io(NvmOpcode::WRITE, 0, 8, page, 0);
    write.cdw12 |= U32::new(1 << 30);
    let flush = Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1));
    let mut expected: Vec<_> = (0..30)
        .flat_map(|_| [host.put(&mut pair, write), host.put(&mut pair, flush)])
        .collect();
    host.ring(&pair);
    host.settle();
    let mut seen = Vec::new();
    while let Some(cqe) = host.reap(&mut pair) {
        assert_eq!(cqe.status(), Status::SUCCESS);
        seen.push(cqe.cid());
    }
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

/// Without a write cache, a plain write waits for a sync as well.
#[test]
fn a_write_through_drive_answers_durable_writes_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut host, mut pair) = Host::ready(create(&dir.path().join("disk"), MIB));
    let mut sqe = Sqe::new(nvme::AdminOpcode::SET_FEATURES.0, NamespaceId(0));
    sqe.cdw10 = U32::new(nvme::FeatureId::VOLATILE_WRITE_CACHE.0.into());
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    let page = host.pages(1);
    host.put(&mut pair, io(NvmOpcode::WRITE, 0, 8, page, 0));
    host.ring(&pair);
    host.controller.poll(64);
    assert!(!host.controller.idle());
    host.settle();
    assert_eq!(host.reap(&mut pair).unwrap().status(), Status::SUCCESS);
}

/// More pieces than one system call takes, none adjacent to the next.
#[test]
fn a_transfer_of_thousands_of_pieces_is_whole() {
    const MARKED: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let config = crate::ControllerConfig {
        mdts: 13,
        ..crate::ControllerConfig::default()
    };
    let mut host = Host::new(config, create(&path, 16 * MIB));
    host.enable();
    let mut pair = host.create_pair(1, 16);
    let data = host.pages(5);
    // PRP1 is page 0 of the data; then page 2, 4, 0, 2, 4 and so on.
    let page = |at: u64| data + at % 3 * 2 * PAGE;
    for at in 0..3_u8 {
        host.write(page(at.into()), &[at + 1; 4096]);
    }
    let lists = host.pages(6);
    let mut entries: Vec<u64> = Vec::new();
    for at in 1..MARKED {
        if entries.len() % 512 == 511 {
            let next = lists + (entries.len() as u64 + 1) * 8;
            entries.push(next);
        }
        entries.push(page(at));
    }
    host.write(lists, entries.as_bytes());
    let blocks = u32::try_from(MARKED * 8).unwrap();
    let write = io(NvmOpcode::WRITE, 0, blocks, data, lists);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let image = std::fs::read(&path).unwrap();
    for (at, chunk) in image.chunks(4096).enumerate() {
        let expected = if (at as u64) < MARKED { at % 3 + 1 } else { 0 };
        assert!(
            chunk.iter().all(|&byte| usize::from(byte) == expected),
            "{at}"
        );
    }
}

#[test]
fn no_flush_is_believed_after_one_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut host, mut pair) = Host::ready(create(&dir.path().join("disk"), MIB));
    host.controller
        .media_mut()
        .lost
        .store(true, Ordering::Relaxed);
    let page = host.pages(1);
    let mut durable = io(NvmOpcode::WRITE, 0, 8, page, 0);
    durable.cdw12 |= U32::new(1 << 30);
    for sqe in [Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1)), durable] {
        let status = host.status(&mut pair, sqe);
        assert!(status.same_code(Status::WRITE_FAULT));
    }
    for opcode in [NvmOpcode::READ, NvmOpcode::WRITE] {
        let status = host.status(&mut pair, io(opcode, 0, 8, page, 0));
        assert_eq!(status, Status::SUCCESS);
    }
}

#[test]
fn a_sync_that_failed_is_believed_by_no_handle() {
    let dir = tempfile::tempdir().unwrap();
    let first = create(&dir.path().join("disk"), MIB);
    let mut second = first.another().unwrap();
    first.lost.store(true, Ordering::Relaxed);
    let flush = contract::ticket(0, NvmOpcode::FLUSH);
    let submitted = second.submit(flush, Request::Flush);
    assert!(matches!(submitted, Submission::Pending));
    let mut told = Vec::new();
    second.poll(1, &mut |ticket, outcome| {
        ticket.settle();
        told.push(outcome);
    });
    assert_eq!(told, [Err(MediaError::Write)]);
}

#[test]
fn it_matches_the_model() {
    matches_the_model(|medium| medium);
}

#[test]
fn several_handles_match_the_model() {
    matches_the_model(Alternating::new);
}

fn matches_the_model<M: Media>(made: impl Fn(RawFile) -> M) {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    contract::matches_the_model(16, || {
        count += 1;
        made(create(&dir.path().join(format!("{count}")), MIB))
    });
}

#[test]
fn it_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract::gives_up_what_is_abandoned(create(&dir.path().join("one"), MIB));
    contract::lets_go_of_memory(create(&dir.path().join("two"), MIB));
}

#[test]
fn a_file_that_others_have_changed_is_not_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let mut medium = create(&path, MIB);
    let outside = File::options().write(true).open(&path).unwrap();
    outside.set_len(3 * MIB).unwrap();
    let error = medium.grow(2 * MIB).unwrap_err().to_string();
    assert!(error.contains("it has 3145728 by now"), "{error}");
    assert_eq!(
        (medium.info().bytes, outside.metadata().unwrap().len()),
        (MIB, 3 * MIB)
    );
    medium.grow(3 * MIB).unwrap();
    assert_eq!(medium.info().bytes, 3 * MIB);
    drop(medium);
    // Who only reads takes what others have made of it.
    let options = RawFileOptions {
        create: None,
        read_only: true,
    };
    let mut reader = RawFile::open(&path, options).unwrap();
    let error = reader.grow(4 * MIB).unwrap_err().to_string();
    assert!(error.contains("without --read-only"), "{error}");
    outside.set_len(4 * MIB).unwrap();
    reader.grow(4 * MIB).unwrap();
    assert_eq!(reader.info().bytes, 4 * MIB);
}
