use super::*;
use crate::cmdlog::CmdLog;
use nvme::QueueId;

fn table() -> Arc<VerifyTable> {
    let namespace = NamespaceInfo {
        nsid: NamespaceId(1),
        blocks: 100,
        block_bytes: 512,
        metadata_bytes: 0,
    };
    Arc::new(VerifyTable::new(namespace, 10..90, Some(0)).unwrap())
}

#[test]
fn tokens_of_different_writers_and_commands_differ() {
    let table = table();
    let first = table.register(CmdLog::new(QueueId(1))).unwrap();
    let second = table.register(CmdLog::new(QueueId(2))).unwrap();
    let tokens = [
        first.token(0),
        first.token(1),
        second.token(0),
        second.token(1),
    ];
    for (index, token) in tokens.iter().enumerate() {
        assert!(!tokens[..index].contains(token));
    }
    assert_eq!(table.trace(second.token(7)).unwrap().number, 7);
    assert_eq!(table.trace(second.token(7)).unwrap().queue, QueueId(2));
    assert!(table.trace(u64::MAX).is_none(), "no such writer");
}

#[test]
fn a_stamped_block_differs_by_address_and_command() {
    let writer = table().register(CmdLog::new(QueueId(1))).unwrap();
    let mut blocks = [[0x5a; 512]; 3];
    let crcs = [
        writer.stamp(&mut blocks[0], Lba(20), 1),
        writer.stamp(&mut blocks[1], Lba(21), 1),
        writer.stamp(&mut blocks[2], Lba(20), 2),
    ];
    assert!(crcs[0] != crcs[1] && crcs[0] != crcs[2] && crcs[1] != crcs[2]);
    assert_eq!(blocks[0][32..], [0x5a; 480]);
}

#[test]
fn blocks_outside_of_the_region_are_left_alone() {
    let table = table();
    let writer = table.register(CmdLog::new(QueueId(1))).unwrap();
    writer.begin(Lba(5), 10, None);
    for (lba, state) in [
        (9, BlockState::Unknown),
        (10, BlockState::Changing),
        (14, BlockState::Changing),
        (15, BlockState::Unknown),
    ] {
        assert_eq!(table.state(Lba(lba)), state, "{lba}");
    }
    writer.take_back(Lba(5), 10);
    assert_eq!(table.state(Lba(10)), BlockState::Unknown);
    writer.begin(Lba(u64::MAX - 1), 10, None);
}
