use std::sync::atomic::AtomicUsize;

use nvme::{AdminOpcode, CommandId, Lba, NamespaceId, NvmOpcode, Status};

use super::*;

fn read(cid: u16, lba: u64) -> Sqe {
    let mut sqe = Sqe::new(NvmOpcode::READ.0, NamespaceId(1));
    sqe.command_id.set(cid);
    sqe.set_slba(Lba(lba));
    sqe.cdw12.set(7);
    sqe
}

fn ended(status: Status, result: u32) -> Cqe {
    let mut cqe = Cqe::default();
    cqe.set_status(status, true);
    cqe.result.set(result);
    cqe
}

#[test]
fn the_last_commands_are_kept_the_newest_first() {
    let log = CmdLog::new(QueueId(3));
    assert!(log.latest(usize::MAX).is_empty());
    let count = CMDLOG_ENTRIES as u64 + 10;
    for number in 0..count {
        assert_eq!(log.submit(&read(7, number), 4096, number), number);
        log.complete(number, &ended(Status::SUCCESS, 9), number + 1500);
    }
    assert_eq!((log.submitted(), log.completed()), (count, count));
    assert_eq!(log.bytes(), count * 4096);
    let all = log.latest(usize::MAX);
    assert_eq!(all.len(), CMDLOG_ENTRIES);
    for (entry, number) in all.iter().zip((0..count).rev()) {
        assert_eq!(entry.number, number);
        assert_eq!(entry.sqe, read(7, number));
        let completion = entry.completion.unwrap();
        assert_eq!(completion.complete_ns, number + 1500);
        assert_eq!((completion.status, completion.result), (Status::SUCCESS, 9));
    }
    assert_eq!(log.latest(2), all[..2]);
}

#[test]
fn a_completion_that_comes_after_a_whole_lap_is_not_written_to_another_command() {
    let log = CmdLog::new(QueueId(1));
    let first = log.submit(&read(0, 0), 0, 0);
    for number in 0..CMDLOG_ENTRIES as u64 {
        log.submit(&read(1, number), 0, 5);
    }
    log.complete(first, &ended(Status::SUCCESS, 0), 9);
    let open = |entry: &CmdLogEntry| entry.completion.is_none();
    assert!(log.latest(usize::MAX).iter().all(open));
    assert_eq!(log.completed(), 1);
}

#[test]
fn an_entry_reads_as_the_specification_speaks() {
    let log = CmdLog::new(QueueId(2));
    let number = log.submit(&read(5, 4096), 4096, 1_000_000_250);
    let line = log.latest(1)[0].to_string();
    assert!(
        line.ends_with("Read nsid 1 lba 4096 blocks 8: not completed"),
        "{line}"
    );
    let failed = Status::LBA_OUT_OF_RANGE.dnr();
    log.complete(number, &ended(failed, 0), 1_000_012_750);
    let line = log.latest(1)[0].to_string();
    assert!(line.starts_with("1.000000250 "), "{line}");
    assert!(line.contains(&CommandId(5).to_string()), "{line}");
    let end = format!(": {failed} after 12.500 us, result 0x0");
    assert!(line.ends_with(&end), "{line}");
    let admin = CmdLog::new(QueueId::ADMIN);
    let mut sqe = Sqe::new(AdminOpcode::GET_LOG_PAGE.0, NamespaceId(0));
    sqe.cdw10.set(0x7f_0002);
    admin.submit(&sqe, 512, 0);
    let line = admin.latest(1)[0].to_string();
    assert!(
        line.contains("Get Log Page nsid 0 cdw10 0x007f0002"),
        "{line}"
    );
}

/// A reader beside a writer that laps it: whatever it gets is whole.
#[test]
fn a_reader_never_sees_half_a_command() {
    let log = CmdLog::new(QueueId(1));
    let reader = log.clone();
    let looked_at = Arc::new(AtomicUsize::new(0));
    let looked = Arc::clone(&looked_at);
    let writer = std::thread::spawn(move || {
        // On a busy machine the reader may have its turn late.
        let goes_on = |number| number < 300_000 || looked.load(Ordering::Relaxed) == 0;
        for number in (0..1_000_000_000_u64).take_while(|number| goes_on(*number)) {
            log.submit(
                &read(u16::try_from(number % 1000).unwrap(), number),
                0,
                number,
            );
            log.complete(number, &ended(Status::SUCCESS, 1), number + 1);
        }
    });
    while !writer.is_finished() {
        for entry in reader.latest(64) {
            assert_eq!(entry.sqe.slba().0, entry.number);
            assert_eq!(u64::from(entry.sqe.cid().0), entry.number % 1000);
            assert_eq!(entry.submit_ns, entry.number);
            if let Some(completion) = entry.completion {
                assert_eq!(completion.complete_ns, entry.number + 1);
            }
            looked_at.fetch_add(1, Ordering::Relaxed);
        }
    }
    writer.join().unwrap();
    assert!(looked_at.load(Ordering::Relaxed) > 0);
}
