//! Queues are made and deleted.

use nvme::{
    AdminOpcode, CreateCqCdw11, CreateSqCdw11, FeatureId, NamespaceId, NumberOfQueues, NvmOpcode,
    Sqe, Status,
};

use super::{MIB, command, get, host, next, park, refused, set};
use crate::host::{Host, PAGE, create};
use crate::media::{Null, RawFile, RawFileOptions};

#[test]
fn completion_queues_are_made_only_as_they_may_be() {
    let mut host = host();
    let base = host.pages(1);
    let cdw11 = CreateCqCdw11::new().with_pc(true);
    let cq = |id, entries, base, cdw11: CreateCqCdw11| {
        create(AdminOpcode::CREATE_CQ, id, entries, base, cdw11.into_bits())
    };
    let mut refused = |sqe, expected| refused(&mut host, sqe, expected);
    for id in [0, 65, u16::MAX] {
        refused(cq(id, 8, base, cdw11), Status::INVALID_QUEUE_ID);
    }
    for entries in [1, 1025, 0] {
        refused(cq(1, entries, base, cdw11), Status::INVALID_QUEUE_SIZE);
    }
    refused(cq(1, 8, base + 8, cdw11), Status::PRP_OFFSET_INVALID);
    refused(cq(1, 8, base, CreateCqCdw11::new()), Status::INVALID_FIELD);
    let far = cdw11.with_ien(true).with_iv(65);
    refused(cq(1, 8, base, far), Status::INVALID_INTERRUPT_VECTOR);
    assert_eq!(host.admin_status(cq(1, 8, base, cdw11)), Status::SUCCESS);
    let status = host.admin_status(cq(1, 8, base, cdw11));
    assert!(status.same_code(Status::INVALID_QUEUE_ID));
}

#[test]
fn submission_queues_are_made_only_as_they_may_be() {
    let mut host = host();
    let base = host.pages(1);
    let cdw11 = CreateSqCdw11::new().with_pc(true).with_cqid(1);
    let sq =
        |id, cdw11: CreateSqCdw11| create(AdminOpcode::CREATE_SQ, id, 8, base, cdw11.into_bits());
    refused(&mut host, sq(1, cdw11), Status::COMPLETION_QUEUE_INVALID);
    assert_eq!(host.create_cq(1, 8, base), Status::SUCCESS);
    for cqid in [0, 65] {
        refused(
            &mut host,
            sq(1, cdw11.with_cqid(cqid)),
            Status::INVALID_QUEUE_ID,
        );
    }
    refused(
        &mut host,
        sq(1, cdw11.with_pc(false)),
        Status::INVALID_FIELD,
    );
    assert_eq!(host.admin_status(sq(9, cdw11)), Status::SUCCESS);
    refused(&mut host, sq(9, cdw11), Status::INVALID_QUEUE_ID);
    // A completion queue goes after its submission queues.
    let delete_cq = |id| command(AdminOpcode::DELETE_CQ, id, 0);
    let delete_sq = |id| command(AdminOpcode::DELETE_SQ, id, 0);
    refused(&mut host, delete_cq(1), Status::INVALID_QUEUE_DELETION);
    refused(&mut host, delete_sq(1), Status::INVALID_QUEUE_ID);
    for id in [0, 2, 700] {
        refused(&mut host, delete_cq(id), Status::INVALID_QUEUE_ID);
        refused(&mut host, delete_sq(id), Status::INVALID_QUEUE_ID);
    }
    assert_eq!(host.admin_status(delete_sq(9)), Status::SUCCESS);
    assert_eq!(host.admin_status(delete_cq(1)), Status::SUCCESS);
    refused(&mut host, delete_cq(1), Status::INVALID_QUEUE_ID);
}

#[test]
fn sixty_four_queue_pairs_of_1024_entries_work() {
    let mut host = Host::enabled(Null::new(MIB));
    let pairs = host.pages(20);
    for id in 1..=64 {
        // They share their memory; this is about how many there can be.
        assert_eq!(host.create_cq(id, 1024, pairs), Status::SUCCESS);
        assert_eq!(
            host.create_sq(id, id, 1024, pairs + 4 * PAGE),
            Status::SUCCESS
        );
    }
    assert!(
        host.create_cq(65, 1024, pairs)
            .same_code(Status::INVALID_QUEUE_ID)
    );
}

#[test]
fn a_queue_is_deleted_once_its_commands_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let options = RawFileOptions {
        create: Some(MIB),
        read_only: false,
    };
    let file = RawFile::open(&dir.path().join("disk"), options).unwrap();
    let (mut host, mut pair) = Host::ready(file);
    let flush = host.put(&mut pair, Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1)));
    host.ring(&pair);
    host.controller.poll(1);
    // Not fetched any more, and gone with the queue.
    let delete = park(&mut host, command(AdminOpcode::DELETE_SQ, 1, 0));
    host.put(&mut pair, Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1)));
    host.ring(&pair);
    host.settle();
    let records: Vec<_> = host
        .controller
        .tap()
        .commands
        .iter()
        .rev()
        .take(2)
        .collect();
    assert_eq!((records[1].0.cid, records[0].0.cid), (flush, delete));
    assert_eq!(next(&mut host).unwrap().status(), Status::SUCCESS);
    assert_eq!(host.reap(&mut pair).unwrap().cid(), flush);
    assert!(host.reap(&mut pair).is_none());
}

#[test]
fn the_number_of_queues_is_bargained_for() {
    let mut host = host();
    let asked = |nsq, ncq| {
        NumberOfQueues::new()
            .with_nsq(nsq)
            .with_ncq(ncq)
            .into_bits()
    };
    let feature = FeatureId::NUMBER_OF_QUEUES;
    let cqe = host.admin(set(feature, asked(200, 3)));
    assert_eq!(
        (cqe.status(), cqe.result.get()),
        (Status::SUCCESS, asked(63, 3))
    );
    assert_eq!(host.admin(get(feature, 0)).result.get(), asked(63, 3));
    assert_eq!(host.admin(get(feature, 1)).result.get(), asked(63, 63));
    let status = host.admin_status(set(feature, asked(u16::MAX, 0)));
    assert!(status.same_code(Status::INVALID_FIELD));
    let base = host.pages(1);
    assert!(
        host.create_cq(5, 8, base)
            .same_code(Status::INVALID_QUEUE_ID)
    );
    assert_eq!(host.create_cq(4, 8, base), Status::SUCCESS);
    let status = host.admin_status(set(feature, asked(3, 3)));
    assert!(status.same_code(Status::COMMAND_SEQUENCE_ERROR));
}
