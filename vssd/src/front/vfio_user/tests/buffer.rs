//! The controller memory buffer behind BAR4.

use memmap2::MmapOptions;
use wire::RegionInfo;

use super::*;

const BYTES: usize = 1 << 16;
const BAR4: u32 = 4;

fn served() -> Served {
    Served::with(ControllerConfig {
        cmb_bytes: BYTES as u64,
        ..ControllerConfig::default()
    })
}

#[test]
fn it_can_be_mapped_and_trapped() {
    let served = served();
    let mut client = served.client();
    let ask = RegionInfo {
        argsz: 4096,
        index: BAR4,
        ..RegionInfo::default()
    };
    let reply = client.ask(Command::DeviceGetRegionInfo, &[ask.as_bytes()]);
    let reply = reply.unwrap();
    let (info, areas) = wire::decode_region_info(&reply.payload).unwrap();
    assert!(info.flags.mmap() && info.flags.read() && info.flags.write() && areas.is_empty());
    assert_eq!((info.size, info.offset), (BYTES as u64, 0));
    MmapOptions::new()
        .len(BYTES)
        .map_raw(&reply.fds[0])
        .unwrap();
    client.write(BAR4, 0x1234, b"trapped").unwrap();
    let mut bytes = [0; 7];
    rustix::io::pread(&reply.fds[0], &mut bytes, 0x1234).unwrap();
    assert_eq!(&bytes, b"trapped");
    rustix::io::pwrite(&reply.fds[0], b"mapped", BYTES as u64 - 6).unwrap();
    assert_eq!(client.read(BAR4, BYTES as u64 - 6, 6).unwrap(), b"mapped");
    client.read(BAR4, BYTES as u64 - 5, 6).unwrap_err();
    // Asleep, it is not there.
    client.write(7, 0x44, &[3]).unwrap();
    assert_eq!(client.read(BAR4, 0x1234, 2).unwrap(), [0xff; 2]);
    client.write(BAR4, 0x1234, b"lost").unwrap();
    client.write(7, 0x44, &[0]).unwrap();
    assert_eq!(client.read(BAR4, 0x1234, 7).unwrap(), b"trapped");
}

#[test]
fn the_next_client_does_not_see_what_the_last_one_left() {
    let served = served();
    let mut first = served.client();
    first.write(BAR4, 0, b"secret").unwrap();
    drop(first);
    let mut second = served.client();
    assert_eq!(second.read(BAR4, 0, 6).unwrap(), [0; 6]);
}

#[test]
fn a_drive_without_one_has_no_such_region() {
    let served = Served::controller();
    let mut client = served.client();
    client.read(BAR4, 0, 1).unwrap_err();
    assert_eq!(client.read(7, 0x20, 8).unwrap(), [0; 8]);
}
