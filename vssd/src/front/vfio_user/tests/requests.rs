//! Clients that behave.

use memmap2::MmapOptions;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use wire::{
    DeviceInfo, IrqInfo, RegionInfo, RegionWrite, RegionWriteMulti, irq_index, region_index,
};

use super::*;

const BAR0: u32 = region_index::BAR0;
const CONFIG: u32 = region_index::CONFIG;

fn region(client: &mut Client, index: u32, argsz: u32) -> Result<Message, WireError> {
    let ask = RegionInfo {
        argsz,
        index,
        ..RegionInfo::default()
    };
    client.ask(Command::DeviceGetRegionInfo, &[ask.as_bytes()])
}

#[test]
fn a_client_finds_a_pci_device_with_an_nvme_bar() {
    let served = Served::controller();
    let mut client = served.connect();
    let version = client.hello();
    assert_eq!((version.major, version.minor), (0, 1));
    assert_eq!(version.capabilities.fds_max(), 16);

    let info = DeviceInfo {
        argsz: 16,
        ..DeviceInfo::default()
    };
    let reply = client.ask(Command::DeviceGetInfo, &[info.as_bytes()]);
    let reply = reply.unwrap();
    let (info, _) = reply.parse::<DeviceInfo>(Command::DeviceGetInfo).unwrap();
    assert!(info.flags.reset() && info.flags.pci());
    assert_eq!((info.argsz, info.regions, info.irqs), (16, 9, 5));

    for index in 0..9 {
        let reply = region(&mut client, index, 4064).unwrap();
        let (info, areas) = wire::decode_region_info(&reply.payload).unwrap();
        let expected = match index {
            BAR0 => 0x8000,
            CONFIG => 0x1000,
            _ => 0,
        };
        assert_eq!((info.index, info.size), (index, expected));
        assert_eq!(areas.len(), usize::from(index == BAR0));
        assert_eq!(reply.fds.len(), areas.len());
    }
    // Events, those that mask themselves, and those that come all at once.
    for (index, vectors, flags) in [
        (0, 1, 0b0111),
        (1, 32, 0b1001),
        (2, 65, 0b0001),
        (3, 1, 0b0001),
        (4, 1, 0b0001),
    ] {
        let ask = IrqInfo {
            argsz: 16,
            index,
            ..IrqInfo::default()
        };
        let reply = client.ask(Command::DeviceGetIrqInfo, &[ask.as_bytes()]);
        let reply = reply.unwrap();
        let (info, _) = reply.parse::<IrqInfo>(Command::DeviceGetIrqInfo).unwrap();
        assert_eq!((info.index, info.count), (index, vectors));
        assert_eq!(info.flags.into_bits(), flags);
    }
    assert_eq!(client.read(CONFIG, 0xfff, 1).unwrap(), [0]);
    assert_eq!(client.read(CONFIG, 8, 4).unwrap(), [2, 2, 8, 1]);
    assert!(served.complaints().is_empty());
}

#[test]
fn the_doorbells_can_be_mapped_where_the_client_reckons_them() {
    let served = Served::controller();
    let mut client = served.client();
    // QEMU asks with too little room first.
    let first = region(&mut client, BAR0, 32).unwrap();
    let (info, areas) = wire::decode_region_info(&first.payload).unwrap();
    assert!(areas.is_empty() && first.fds.is_empty());
    let second = region(&mut client, BAR0, info.argsz).unwrap();
    let (info, areas) = wire::decode_region_info(&second.payload).unwrap();
    assert_eq!((areas[0].offset, areas[0].size), (0x1000, 0x1000));
    let mapping = MmapOptions::new()
        .offset(info.file_offset(&areas[0]))
        .len(4096)
        .map_raw(&second.fds[0])
        .unwrap();
    assert_eq!(mapping.len(), 4096);
}

#[test]
fn registers_take_whole_dwords_and_give_any_part() {
    let (served, notes) = Served::probe();
    let mut client = served.client();
    take(&notes);
    client.write(BAR0, 0x28, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    client.write(BAR0, 0x24, &[9, 0, 0, 0]).unwrap();
    // A pair of doorbells is two of them.
    client
        .write(BAR0, 0x1008, &[1, 0, 0, 0, 2, 0, 0, 0])
        .unwrap();
    // Parts of dwords are lost, whole ones in the same access are not.
    client.write(BAR0, 0x14, &[1]).unwrap();
    client.write(BAR0, 0x16, &[1, 2, 5, 0, 0, 0, 3]).unwrap();
    assert_eq!(
        take(&notes),
        [
            "write64 0x28 0x807060504030201",
            "write32 0x24 0x9",
            "write32 0x1008 0x1",
            "write32 0x100c 0x2",
            "write32 0x18 0x5",
        ]
    );
    // The probe's registers read as their offsets.
    assert_eq!(client.read(BAR0, 0x104, 4).unwrap(), [4, 1, 0, 0]);
    assert_eq!(client.read(BAR0, 0x105, 1).unwrap(), [1]);
    assert_eq!(client.read(BAR0, 0x106, 4).unwrap(), [0, 0, 8, 1]);
    assert_eq!(
        client.read(BAR0, 0x108, 8).unwrap(),
        [8, 1, 0, 0, 12, 1, 0, 0]
    );
    // A span over everything, to the last byte of the region.
    assert_eq!(client.read(BAR0, 0, 0x8000).unwrap().len(), 0x8000);
    assert_eq!(client.read(BAR0, 0x7fff, 1).unwrap(), [0]);
    assert_eq!(client.read(BAR0, 0, 0).unwrap(), [0_u8; 0]);
}

#[test]
fn several_writes_travel_in_one_message() {
    let (served, notes) = Served::probe();
    let mut client = served.client();
    take(&notes);
    let write = |offset, data| RegionWrite {
        offset,
        region: BAR0,
        count: 4,
        data,
    };
    let writes = [
        write(0x1000, [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        write(0x1004, [2, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let head = RegionWriteMulti { count: 2 };
    let payload: [&[u8]; 2] = [head.as_bytes(), writes.as_bytes()];
    let reply = client.ask(Command::RegionWriteMulti, &payload).unwrap();
    assert_eq!(reply.payload, head.as_bytes());
    assert_eq!(take(&notes), ["write32 0x1000 0x1", "write32 0x1004 0x2"]);
    let lie = RegionWriteMulti { count: 3 };
    let payload: [&[u8]; 2] = [lie.as_bytes(), writes.as_bytes()];
    client.ask(Command::RegionWriteMulti, &payload).unwrap_err();
}

#[test]
fn resets_come_by_message_and_by_configuration_space() {
    let (served, notes) = Served::probe();
    let mut client = served.client();
    assert_eq!(take(&notes), ["connected"]);
    client.ask(Command::DeviceReset, &[]).unwrap();
    assert_eq!(take(&notes), ["reset"]);
    // Find the PCI Express capability as a driver does.
    let mut at = u64::from(client.read(CONFIG, 0x34, 1).unwrap()[0]);
    while client.read(CONFIG, at, 1).unwrap()[0] != 0x10 {
        at = u64::from(client.read(CONFIG, at + 1, 1).unwrap()[0]);
    }
    assert!(
        client.read(CONFIG, at + 4, 4).unwrap()[3] & 0x10 != 0,
        "FLR"
    );
    client.write(CONFIG, 4, &[6, 4]).unwrap();
    assert!(take(&notes).is_empty());
    client.write(CONFIG, at + 8, &[0x10, 0xa8]).unwrap();
    assert_eq!(take(&notes), ["reset"]);
    assert_eq!(client.read(CONFIG, 4, 2).unwrap(), [0, 0]);
}

#[test]
fn memory_comes_and_goes() {
    let (served, notes) = Served::probe();
    let mut client = served.client();
    take(&notes);
    let fd = memory(1 << 20);
    let map = DmaMap {
        flags: DmaFlags::new().with_read(true),
        offset: 0x2000,
        ..range(0x10_0000, 0x3000)
    };
    client.map(map, &fd).unwrap();
    // An unmap of what was never mapped is as good as any.
    assert_eq!(
        client.unmap(0x9999_0000, 0x1000).unwrap().address,
        0x9999_0000
    );
    let all = DmaUnmap {
        argsz: 24,
        flags: DmaUnmapFlags::new().with_all(true),
        ..DmaUnmap::default()
    };
    client.ask(Command::DmaUnmap, &[all.as_bytes()]).unwrap();
    assert_eq!(
        take(&notes),
        [
            "map 0x100000 0x3000 0x2000 true false",
            "unmap 0x99990000 0x1000",
            "unmap all"
        ]
    );
    drop(client);
    eventually(|| notes.lock().unwrap().len() == 2);
    assert_eq!(take(&notes), ["disconnected", "unmap all"]);
}

#[test]
fn thousands_of_pages_are_mapped_without_a_reply_each() {
    let served = Served::controller();
    let mut client = served.client();
    let fd = memory(4096 * 5000);
    for page in 0..5000_u64 {
        let map = DmaMap {
            offset: (4999 - page) * 4096,
            ..range(page * 8192, 4096)
        };
        let fds = [fd.as_fd()];
        client
            .0
            .post(Command::DmaMap, &[map.as_bytes()], &fds, SECONDS)
            .unwrap();
    }
    // The reply to this comes after all of them were done.
    let again = client.map(range(4999 * 8192, 4096), &fd);
    assert!(matches!(
        again,
        Err(WireError::Refused {
            errno: Errno::EXIST,
            ..
        })
    ));
    for page in 0..5000 {
        client.unmap(page * 8192, 4096).unwrap();
    }
    client.map(range(0, 4096 * 5000), &fd).unwrap();
}

#[test]
fn vectors_are_signalled_masked_and_taken_away() {
    let served = Served::controller();
    let mut client = served.client();
    // Messages are writes to memory.
    client.write(CONFIG, 4, &[6, 0]).unwrap();
    let [a, b] = [0, 1].map(|_| eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    let trigger = (IrqData::None, IrqAction::Trigger);
    let by_event = (IrqData::EventFd, IrqAction::Trigger);
    set_irqs(
        &mut client,
        irq_index::MSIX,
        by_event,
        (3, 2),
        &[],
        &[a.as_fd(), b.as_fd()],
    )
    .unwrap();
    set_irqs(&mut client, irq_index::MSIX, trigger, (3, 2), &[], &[]).unwrap();
    assert_eq!((count(&a), count(&b)), (1, 1));
    // Only the second, by its boolean.
    let some = (IrqData::Bool, IrqAction::Trigger);
    set_irqs(&mut client, irq_index::MSIX, some, (3, 2), &[0, 1], &[]).unwrap();
    assert_eq!((count(&a), count(&b)), (0, 1));
    // Masked, it waits, and the pending bit shows it.
    let mask = (IrqData::Bool, IrqAction::Mask);
    set_irqs(&mut client, irq_index::MSIX, mask, (3, 2), &[1, 0], &[]).unwrap();
    set_irqs(&mut client, irq_index::MSIX, trigger, (3, 1), &[], &[]).unwrap();
    assert_eq!(client.read(BAR0, 0x4000, 1).unwrap(), [8]);
    let unmask = (IrqData::None, IrqAction::Unmask);
    set_irqs(&mut client, irq_index::MSIX, unmask, (3, 1), &[], &[]).unwrap();
    assert_eq!(
        (count(&a), client.read(BAR0, 0x4000, 1).unwrap()),
        (1, vec![0])
    );
    // Taken away: one, then all.
    set_irqs(&mut client, irq_index::MSIX, by_event, (3, 1), &[], &[]).unwrap();
    set_irqs(&mut client, irq_index::MSIX, trigger, (3, 2), &[], &[]).unwrap();
    assert_eq!((count(&a), count(&b)), (0, 1));
    set_irqs(&mut client, irq_index::MSIX, trigger, (0, 0), &[], &[]).unwrap();
    set_irqs(&mut client, irq_index::MSIX, trigger, (4, 1), &[], &[]).unwrap();
    assert_eq!(count(&b), 0);
    // What came meanwhile is not lost.
    set_irqs(
        &mut client,
        irq_index::MSIX,
        by_event,
        (3, 2),
        &[],
        &[a.as_fd(), b.as_fd()],
    )
    .unwrap();
    assert_eq!((count(&a), count(&b)), (1, 1));
    assert!(served.complaints().is_empty());
}

#[test]
fn the_next_client_waits_for_the_present_one() {
    let (served, notes) = Served::probe();
    let first = served.client();
    let mut second = served.connect();
    let hello = Version::proposal().encode();
    let header = wire::Header::request(1, Command::Version);
    second.0.send(header, &[&hello], &[]).unwrap();
    let silence = second.0.recv(Some(Duration::from_millis(50)));
    assert!(matches!(silence, Err(WireError::TimedOut { .. })));
    assert_eq!(take(&notes), ["connected"]);
    drop(first);
    second.0.recv(SECONDS).unwrap();
    assert_eq!(take(&notes), ["disconnected", "unmap all", "connected"]);
}

#[test]
fn a_stop_ends_the_connection_and_the_server() {
    let (served, notes) = Served::probe();
    let mut client = served.client();
    served.stop.stop();
    let end = client.0.recv(SECONDS);
    assert!(matches!(end, Err(WireError::Closed)));
    drop(served);
    assert_eq!(take(&notes), ["connected", "disconnected", "unmap all"]);
}

#[test]
fn roms_without_descriptors_pass_and_guest_memory_without_one_does_not() {
    let (served, notes) = Served::probe();
    let mut client = served.client();
    let rom = DmaMap {
        flags: DmaFlags::new().with_read(true),
        ..range(0xfffc_0000, 0x4_0000)
    };
    client.ask(Command::DmaMap, &[rom.as_bytes()]).unwrap();
    assert!(served.complaints().is_empty());
    let ram = range(0, 0xa_0000);
    let refused = client.ask(Command::DmaMap, &[ram.as_bytes()]);
    assert!(matches!(refused, Err(WireError::Refused { .. })));
    // There are more such ranges, and still one line.
    let more = range(0x10_0000, 1 << 28);
    let refused = client.ask(Command::DmaMap, &[more.as_bytes()]);
    assert!(matches!(refused, Err(WireError::Refused { .. })));
    let lines = served.complaints();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("memory-backend-memfd") && lines[0].contains("share=on"));
    // With memory that can be mapped, a display's may be one that cannot.
    client.map(ram, &memory(1 << 20)).unwrap();
    let display = range(0xe000_0000, 1 << 24);
    client.ask(Command::DmaMap, &[display.as_bytes()]).unwrap();
    assert_eq!(served.complaints().len(), 1);
    assert_eq!(take(&notes).len(), 2);
}
