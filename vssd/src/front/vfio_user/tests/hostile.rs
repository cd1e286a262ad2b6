//! Clients that do not behave: each gets an error reply or a closed connection,
//! each makes one line, and the next client finds a drive that works.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;

use proptest::prelude::*;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use wire::{Header, RegionInfo};

use super::*;

fn header(command: Command, size: u32) -> Header {
    Header {
        size,
        ..Header::request(0x77, command)
    }
}

/// Sends bytes as they are, and expects the end of the connection and one line
/// that has `reason` in it.
fn ends(served: &Served, hello: bool, bytes: &[u8], reason: &str) {
    let before = served.complaints().len();
    let mut stream = UnixStream::connect(&served.path).unwrap();
    if hello {
        let mut client = Client(Connection::new(stream.try_clone().unwrap()));
        client.hello();
    }
    // The server may close before all of it is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    stream.set_read_timeout(SECONDS).unwrap();
    // Bytes that the server has not read make this a reset, which is an end too.
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "an answer: {rest:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    // The next client works, and by then the line is there.
    served.connect().works();
    let lines = served.complaints().split_off(before);
    assert_eq!(lines.len(), 1, "{reason}: {lines:#?}");
    assert!(lines[0].contains(reason), "{reason}: {}", lines[0]);
}

/// Makes a request that is to be refused, in one line with `reason` in it, and
/// goes on with the same connection.
fn refused(served: &Served, client: &mut Client, command: Command, payload: &[u8], reason: &str) {
    let before = served.complaints().len();
    let reply = client.ask(command, &[payload]);
    assert!(
        matches!(reply, Err(WireError::Refused { .. })),
        "{reason}: {reply:?}"
    );
    let lines = served.complaints().split_off(before);
    assert_eq!(lines.len(), 1, "{reason}: {lines:#?}");
    assert!(lines[0].contains(reason), "{reason}: {}", lines[0]);
}

#[test]
fn broken_streams_end() {
    let served = Served::controller();
    for size in [0, 3, 15, 2 << 20, u32::MAX] {
        let bytes = header(Command::RegionWrite, size);
        ends(&served, true, bytes.as_bytes(), "says it has");
        ends(&served, false, bytes.as_bytes(), "says it has");
    }
    let cut = header(Command::RegionWrite, 64);
    ends(&served, true, &cut.as_bytes()[..7], "9 bytes short");
    ends(&served, true, cut.as_bytes(), "48 bytes short");
    let odd = Header {
        flags: 7,
        ..header(Command::DeviceReset, 16)
    };
    ends(&served, true, odd.as_bytes(), "of type 7");
    let reply = header(Command::DmaRead, 16).reply();
    let reply = Header { size: 16, ..reply };
    ends(&served, true, reply.as_bytes(), "unexpected reply");
    let noise: Vec<u8> = (0..5000_u32)
        .map(|i| (i * 167 % 251) as u8 | 0x80)
        .collect();
    ends(&served, true, &noise, "says it has");
}

#[test]
fn a_client_that_does_not_start_with_a_version_is_shown_the_door() {
    let served = Served::controller();
    let reset = header(Command::DeviceReset, 16);
    ends(&served, false, reset.as_bytes(), "first message");
    for (payload, reason) in [
        (&b"\0"[..], "shorter than a version"),
        (b"\x05\0\0\0", "speaks vfio-user 5.0"),
        (b"\0\0\x01\0{\"capabilities\": 1}\0", "not valid"),
        (
            b"\0\0\x01\0{\"capabilities\": {\"max_msg_fds\": {}}}\0",
            "not valid",
        ),
        (b"\0\0\x01\0\xff\xfe\0", "not valid"),
        (b"\0\0\x01\0{\0", "not valid"),
    ] {
        let size = u32::try_from(16 + payload.len()).unwrap();
        let bytes = [header(Command::Version, size).as_bytes(), payload].concat();
        ends(&served, false, &bytes, reason);
    }
}

#[test]
fn too_many_descriptors_end_the_connection_and_are_closed() {
    let served = Served::controller();
    let stream = UnixStream::connect(&served.path).unwrap();
    Client(Connection::new(stream.try_clone().unwrap())).hello();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let fds = vec![writer.as_fd(); 40];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let bytes = header(Command::DmaMap, 48);
    let io = [std::io::IoSlice::new(bytes.as_bytes())];
    rustix::net::sendmsg(&stream, &io, &mut control, SendFlags::empty()).unwrap();
    drop(writer);
    // The end of the pipe: nobody has its other end any more.
    let mut byte = [0];
    assert_eq!(rustix::io::read(&reader, &mut byte), Ok(0));
    served.connect().works();
    let lines = served.complaints();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("more than 16 file descriptors"));
}

#[test]
fn interrupts_that_do_not_exist_are_refused() {
    let served = Served::controller();
    let mut client = served.client();
    let set = |flags, index, start, count| IrqSet {
        argsz: 20,
        flags,
        index,
        start,
        count,
    };
    let irqs = |client: &mut Client, set: IrqSet, reason: &str| {
        refused(
            &served,
            client,
            Command::DeviceSetIrqs,
            set.as_bytes(),
            reason,
        );
    };
    irqs(&mut client, set(0x21, 2, 0, 66), "which has 65");
    irqs(&mut client, set(0x21, 2, 65, 1), "which has 65");
    irqs(
        &mut client,
        set(0x21, 2, u32::MAX, u32::MAX),
        "which has 65",
    );
    irqs(&mut client, set(0x21, 9, 0, 1), "no interrupt type 9");
    irqs(&mut client, set(0x21, 0, 0, 2), "which has 1");
    irqs(&mut client, set(0x21, 0, 1, 1), "which has 1");
    irqs(&mut client, set(0x21, 1, 1, 32), "which has 32");
    irqs(&mut client, set(0x27, 2, 0, 1), "contradict");
    irqs(&mut client, set(0x22, 2, 0, 4), "fewer bytes");
    for index in 0..3 {
        irqs(&mut client, set(0x0c, index, 0, 1), "masking by eventfd");
    }
    drop(client);
    served.connect().works();
}

#[test]
fn accesses_outside_of_a_region_are_refused() {
    let served = Served::controller();
    let mut client = served.client();
    let read = |client: &mut Client, region, offset, count: u32, reason: &str| {
        let access = RegionAccess {
            offset,
            region,
            count,
        };
        refused(
            &served,
            client,
            Command::RegionRead,
            access.as_bytes(),
            reason,
        );
    };
    read(&mut client, 0, 0x8000, 1, "which has 0x8000");
    read(&mut client, 0, 0x7ffd, 4, "which has 0x8000");
    read(&mut client, 0, u64::MAX, 2, "which has 0x8000");
    read(&mut client, 0, 1 << 32, 4, "which has 0x8000");
    read(&mut client, 7, 0xffd, 4, "which has 0x1000");
    read(&mut client, 7, 0, u32::MAX, "which has 0x1000");
    read(&mut client, 6, 0, 4, "which has 0x0");
    read(&mut client, 99, 0, 4, "region 99");
    drop(client);
    served.connect().works();
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let served = Served::controller();
    let mut client = served.client();
    let access = RegionAccess {
        offset: 0,
        region: 0,
        count: 8,
    };
    let short = [access.as_bytes(), &[0; 4]].concat();
    refused(
        &served,
        &mut client,
        Command::RegionWrite,
        &short,
        "4 bytes of data",
    );
    refused(
        &served,
        &mut client,
        Command::RegionWrite,
        &short[..9],
        "shorter",
    );
    refused(
        &served,
        &mut client,
        Command::DeviceGetInfo,
        &[0; 15],
        "shorter",
    );
    refused(&served, &mut client, Command::DmaUnmap, &[0; 23], "shorter");
    let info = RegionInfo {
        index: 9,
        ..RegionInfo::default()
    };
    let info = info.as_bytes();
    refused(
        &served,
        &mut client,
        Command::DeviceGetRegionInfo,
        info,
        "no region 9",
    );
    refused(
        &served,
        &mut client,
        Command::DmaRead,
        &[0; 16],
        "does not do that",
    );
    refused(&served, &mut client, Command::Version, &[0; 4], "already");
    let bitmap = DmaUnmap {
        flags: DmaUnmapFlags::new().with_dirty_bitmap(true),
        ..DmaUnmap::default()
    };
    let bitmap = bitmap.as_bytes();
    refused(
        &served,
        &mut client,
        Command::DmaUnmap,
        bitmap,
        "dirty pages",
    );
    drop(client);
    served.connect().works();
}

#[test]
fn an_unknown_command_is_refused() {
    let served = Served::controller();
    let mut client = served.client();
    for number in [0, 14, 19, u16::MAX] {
        let header = Header {
            command: number,
            ..header(Command::Version, 0)
        };
        client.0.send(header, &[b"what?"], &[]).unwrap();
        let reply = client.0.recv(SECONDS).unwrap().header;
        assert!(reply.is_reply() && reply.is_error());
        assert_eq!((reply.id, reply.command), (0x77, number));
    }
    assert_eq!(served.complaints().len(), 4);
}

#[test]
fn memory_that_makes_no_sense_is_refused() {
    let served = Served::controller();
    let mut client = served.client();
    let fd = memory(1 << 20);
    client.map(range(0x10_0000, 1 << 20), &fd).unwrap();
    let mut no = |map: DmaMap, reason: &str| {
        let before = served.complaints().len();
        let reply = client.map(map, &fd);
        assert!(matches!(reply, Err(WireError::Refused { .. })), "{map:?}");
        let lines = served.complaints().split_off(before);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains(reason), "{reason}: {}", lines[0]);
    };
    no(range(0x10_0000, 1 << 20), "is mapped there");
    no(range(0x0f_f000, 0x2000), "is mapped there");
    no(range(0x1f_f000, 0x1000), "is mapped there");
    no(range(u64::MAX - 0xfff, 0x2000), "overflows");
    no(range(0, 0), "length is 0");
    no(range(0x800, 0x1000), "multiples");
    no(range(0x80_0000, 2 << 20), "has only");
    let far = DmaMap {
        offset: u64::MAX - 0xfff,
        ..range(0x80_0000, 0x1000)
    };
    no(far, "overflows");
    let nothing = DmaMap {
        flags: DmaFlags::new(),
        ..range(0x80_0000, 0x1000)
    };
    no(nothing, "no access");
    let many = [fd.as_fd(); 2];
    let map = range(0x80_0000, 0x1000);
    let reply = client
        .0
        .request(Command::DmaMap, &[map.as_bytes()], &many, SECONDS);
    assert!(matches!(reply, Err(WireError::Refused { .. })));
    // Any unmap is taken.
    client.unmap(u64::MAX, u64::MAX).unwrap();
    client.unmap(0, 0).unwrap();
    client.unmap(0, u64::MAX).unwrap();
    client.map(range(0x10_0000, 1 << 20), &fd).unwrap();
    drop(client);
    served.connect().works();
}

#[test]
fn descriptors_that_are_no_eventfds_are_refused() {
    let served = Served::controller();
    let mut client = served.client();
    let set = IrqSet {
        argsz: 20,
        flags: 0x24,
        index: 2,
        start: 0,
        count: 2,
    };
    let (_reader, pipe) = rustix::pipe::pipe().unwrap();
    for fds in [vec![pipe.as_fd(); 2], vec![pipe.as_fd(); 1]] {
        let reply = client
            .0
            .request(Command::DeviceSetIrqs, &[set.as_bytes()], &fds, SECONDS);
        assert!(matches!(reply, Err(WireError::Refused { .. })));
    }
    assert_eq!(served.complaints().len(), 2);
}

#[test]
fn a_flood_of_bad_requests_does_not_flood_the_log() {
    let served = Served::controller();
    let mut client = served.client();
    for _ in 0..500 {
        client.ask(Command::MigDataRead, &[]).unwrap_err();
    }
    let lines = served.complaints();
    assert_eq!(lines.len(), 17);
    assert!(lines[16].contains("not shown"));
}

#[test]
fn a_client_that_takes_no_replies_is_not_read_from() {
    let (served, _) = Served::probe();
    let mut client = served.client();
    let access = RegionAccess {
        offset: 0,
        region: 0,
        count: 0x8000,
    };
    let header = Header::request(1, Command::RegionRead);
    // More than both sockets hold, until the server stops reading.
    let mut sent = 0;
    while !client.0.is_pending() {
        client.0.send(header, &[access.as_bytes()], &[]).unwrap();
        sent += 1;
        assert!(sent < 1_000_000, "the server never stopped reading");
    }
    // It goes on as soon as replies are taken.
    for _ in 0..sent {
        client.0.flush().unwrap();
        let reply = client.0.recv(SECONDS).unwrap();
        assert_eq!(reply.payload.len(), 16 + 0x8000);
    }
    drop(client);
    served.connect().works();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_write_ends_the_server(
        writes in proptest::collection::vec(
            (any::<bool>(), 0_u64..0x200, proptest::collection::vec(any::<u8>(), 1..16)),
            1..40,
        ),
    ) {
        let config = ControllerConfig { cmb_bytes: 4096, ..ControllerConfig::default() };
        let served = Served::with(config);
        let mut client = served.client();
        for (config, offset, bytes) in writes {
            client.write(if config { 7 } else { 0 }, offset, &bytes).unwrap();
            client.read(if config { 7 } else { 4 }, offset, 16).unwrap();
        }
        client.ask(Command::DeviceReset, &[]).unwrap();
        prop_assert_eq!(client.read(7, 4, 4).unwrap(), [0, 0, 0x10, 0]);
        drop(client);
        served.connect().works();
    }

    #[test]
    fn no_payload_ends_the_server(
        requests in proptest::collection::vec(
            (0_u16..24, proptest::collection::vec(any::<u8>(), 0..80), 0_usize..3),
            1..20,
        ),
    ) {
        let served = Served::controller();
        let mut client = served.client();
        let fd = memory(1 << 16);
        for (command, payload, fds) in requests {
            let header = Header { command, ..header(Command::Version, 0) };
            client.0.send(header, &[&payload], &vec![fd.as_fd(); fds]).unwrap();
            prop_assert!(client.0.recv(SECONDS).unwrap().header.is_reply());
        }
        drop(client);
        served.connect().works();
    }
}
