use std::io::Write;
use std::os::fd::AsFd;

use proptest::prelude::*;

use super::*;
use crate::{DmaFlags, DmaMap, RegionAccess, region_index};

const SECOND: Option<Duration> = Some(Duration::from_secs(1));

fn pair() -> (Connection, Connection) {
    let (a, b) = UnixStream::pair().unwrap();
    (Connection::new(a), Connection::new(b))
}

/// How many descriptors this process has for the file behind `fd`.
fn descriptors_of(fd: BorrowedFd<'_>) -> usize {
    let stat = rustix::fs::fstat(fd).unwrap();
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(Result::ok)
        .filter_map(|entry| rustix::fs::stat(entry.path()).ok())
        .filter(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
        .count()
}

fn memfd() -> OwnedFd {
    rustix::fs::memfd_create("wire-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
}

#[test]
fn a_message_arrives_with_its_descriptor_and_not_with_its_neighbours() {
    let (mut client, mut server) = pair();
    let fd = memfd();
    let map = DmaMap {
        argsz: 32,
        flags: DmaFlags::new().with_read(true),
        offset: 0x1000,
        address: 0x8000_0000,
        size: 0x2000,
    };
    let reset = Header::request(1, Command::DeviceReset);
    let request = Header::request(2, Command::DmaMap).without_reply();
    client.send(reset, &[], &[]).unwrap();
    client
        .send(request, &[map.as_bytes()], &[fd.as_fd()])
        .unwrap();
    client.send(reset, &[], &[]).unwrap();

    assert!(server.recv(SECOND).unwrap().fds.is_empty());
    let got = server.recv(SECOND).unwrap();
    assert!(got.header.no_reply() && !got.header.is_reply());
    assert_eq!(got.header.command(), Some(Command::DmaMap));
    assert_eq!(got.fds.len(), 1);
    let (parsed, rest) = got.parse::<DmaMap>(Command::DmaMap).unwrap();
    assert_eq!(parsed, map);
    assert!(rest.is_empty());
    assert!(server.recv(SECOND).unwrap().fds.is_empty());
    assert!(server.try_recv().unwrap().is_none());

    assert_eq!(descriptors_of(fd.as_fd()), 2);
    drop(got);
    assert_eq!(descriptors_of(fd.as_fd()), 1);
}

#[test]
fn a_message_in_pieces_is_one_message() {
    let (a, b) = UnixStream::pair().unwrap();
    let mut server = Connection::new(b);
    let header = Header {
        size: 16 + 24,
        ..Header::request(9, Command::RegionWrite)
    };
    let bytes = [header.as_bytes(), &[7; 24]].concat();
    for (index, byte) in bytes.iter().enumerate() {
        assert!(server.try_recv().unwrap().is_none(), "whole after {index}");
        (&a).write_all(&[*byte]).unwrap();
    }
    let message = server.try_recv().unwrap().unwrap();
    assert_eq!(message.payload, [7; 24]);
    // The next one starts afresh.
    (&a).write_all(&bytes).unwrap();
    assert_eq!(server.try_recv().unwrap().unwrap().header, header);
}

#[test]
fn a_message_larger_than_the_socket_takes_goes_out_bit_by_bit() {
    let (mut client, mut server) = pair();
    let fd = memfd();
    let data = vec![0xa5; crate::DATA_BYTES_MAX];
    let header = Header::request(3, Command::RegionWrite);
    client.send(header, &[&data], &[fd.as_fd()]).unwrap();
    assert!(client.is_pending());
    // A second one, with a descriptor of its own, waits behind it.
    let second = Header::request(4, Command::DmaMap);
    client.send(second, &[&[1; 32]], &[fd.as_fd()]).unwrap();
    let mut got = Vec::new();
    while got.len() < 2 {
        client.flush().unwrap();
        got.extend(server.try_recv().unwrap());
    }
    assert!(client.flush().unwrap() && !client.is_pending());
    assert_eq!(got[0].payload, data);
    assert_eq!((got[0].fds.len(), got[1].fds.len()), (1, 1));
    drop(got);
    assert_eq!(descriptors_of(fd.as_fd()), 1);
}

#[test]
fn a_request_gets_its_reply_or_the_reason_for_none() {
    let (mut client, mut server) = pair();
    let server = std::thread::spawn(move || {
        // Ask something back first: the client must not take it for its reply.
        let first = server.recv(SECOND).unwrap();
        server
            .send(Header::request(40, Command::DmaRead), &[&[0; 16]], &[])
            .unwrap();
        let refusal = server.recv(SECOND).unwrap().header;
        assert!(refusal.is_error() && refusal.id == 40);
        server.send(first.header.reply(), &[b"data"], &[]).unwrap();
        let second = server.recv(SECOND).unwrap();
        let no = second.header.error_reply(errno_number(Errno::INVAL));
        server.send(no, &[], &[]).unwrap();
        let third = server.recv(SECOND).unwrap();
        server
            .send(
                Header {
                    id: 9,
                    ..third.header.reply()
                },
                &[],
                &[],
            )
            .unwrap();
    });
    let reply = client.request(Command::RegionRead, &[], &[], SECOND);
    assert_eq!(reply.unwrap().payload, b"data");
    let refused = client.request(Command::DeviceReset, &[], &[], SECOND);
    assert!(matches!(
        refused,
        Err(WireError::Refused {
            errno: Errno::INVAL,
            ..
        })
    ));
    let stray = client.request(Command::DeviceReset, &[], &[], SECOND);
    assert!(matches!(
        stray,
        Err(WireError::UnexpectedReply { id: 9, .. })
    ));
    server.join().unwrap();
}

#[test]
fn the_end_of_the_stream_says_where_it_came() {
    let (a, b) = UnixStream::pair().unwrap();
    let mut server = Connection::new(b);
    drop(a);
    assert!(matches!(server.try_recv(), Err(WireError::Closed)));
    for (bytes, missing) in [(&[1u8, 0, 13][..], 13), (&[0, 0, 1, 0, 20, 0, 0, 0], 8)] {
        let (a, b) = UnixStream::pair().unwrap();
        let mut server = Connection::new(b);
        (&a).write_all(bytes).unwrap();
        drop(a);
        let Err(WireError::Truncated { missing: got }) = server.try_recv() else {
            panic!("a truncated message must be an error");
        };
        assert_eq!(got, missing);
    }
}

#[test]
fn an_impossible_size_takes_no_memory() {
    for size in [
        0,
        15,
        u32::try_from(MESSAGE_BYTES_MAX).unwrap() + 1,
        u32::MAX,
    ] {
        let (a, b) = UnixStream::pair().unwrap();
        let mut server = Connection::new(b);
        let header = Header {
            size,
            ..Header::request(1, Command::RegionWrite)
        };
        (&a).write_all(header.as_bytes()).unwrap();
        assert!(matches!(server.try_recv(), Err(WireError::Size { .. })));
        assert_eq!(server.inbox.payload.capacity(), 0);
    }
    // A possible size takes it only as bytes come.
    let (a, b) = UnixStream::pair().unwrap();
    let mut server = Connection::new(b);
    let header = Header {
        size: u32::try_from(MESSAGE_BYTES_MAX).unwrap(),
        ..Header::request(1, Command::RegionWrite)
    };
    (&a).write_all(header.as_bytes()).unwrap();
    assert!(server.try_recv().unwrap().is_none());
    assert!(server.inbox.payload.capacity() <= 2 * STEP_BYTES);
}

#[test]
fn more_descriptors_than_announced_are_an_error_and_leak_nothing() {
    let (a, b) = UnixStream::pair().unwrap();
    let mut server = Connection::new(b);
    let fd = memfd();
    let fds = vec![fd.as_fd(); FDS_MAX + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let header = Header {
        size: 16,
        ..Header::request(1, Command::DmaMap)
    };
    sendmsg(
        &a,
        &[IoSlice::new(header.as_bytes())],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
    assert!(matches!(server.try_recv(), Err(WireError::TooManyFds)));
    drop(server);
    assert_eq!(descriptors_of(fd.as_fd()), 1);
}

#[test]
fn silence_ends_in_a_time_out() {
    let (mut client, _server) = pair();
    let silence = client.recv(Some(Duration::from_millis(5)));
    assert!(matches!(silence, Err(WireError::TimedOut { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (a, b) = UnixStream::pair().unwrap();
        let mut server = Connection::new(b);
        (&a).write_all(&bytes).unwrap();
        drop(a);
        let mut taken = 0;
        while let Ok(Some(message)) = server.try_recv() {
            taken = HEADER_BYTES.saturating_add(message.payload.len()).saturating_add(taken);
            prop_assert!(taken <= bytes.len());
            let _ = crate::Version::decode(&message.payload);
            let _ = crate::decode_region_info(&message.payload);
            let _ = message.parse::<RegionAccess>(Command::RegionRead);
        }
        prop_assert!(server.inbox.payload.capacity() <= 2 * STEP_BYTES);
    }

    #[test]
    fn any_payload_decodes_or_is_refused(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        caps in any::<bool>(),
        offset in 0u8..64,
    ) {
        if let (true, Some(flags)) = (caps, bytes.get_mut(4)) {
            *flags |= 8;
        }
        if let Some(field) = bytes.get_mut(12..16) {
            field.copy_from_slice(&[offset, 0, 0, 0]);
        }
        let _ = crate::decode_region_info(&bytes);
        let _ = crate::Version::decode(&bytes);
    }

    #[test]
    fn whatever_is_sent_is_received(
        id in any::<u16>(),
        payload in proptest::collection::vec(any::<u8>(), 0..5000),
        count in 0usize..=FDS_MAX,
    ) {
        let (mut client, mut server) = pair();
        let fd = memfd();
        let (head, tail) = payload.split_at(payload.len() / 2);
        let header = Header::request(id, Command::RegionWrite);
        client.send(header, &[head, tail], &vec![fd.as_fd(); count]).unwrap();
        let message = server.recv(SECOND).unwrap();
        prop_assert_eq!(message.header.id, id);
        prop_assert_eq!(&message.payload, &payload);
        prop_assert_eq!(message.fds.len(), count);
    }

    #[test]
    fn areas_round_trip(areas in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..20)) {
        let areas: Vec<_> = areas
            .into_iter()
            .map(|(offset, size)| crate::SparseArea { offset, size })
            .collect();
        let info = crate::RegionInfo { index: region_index::BAR0, ..Default::default() };
        let payload = crate::encode_region_info(info, &areas, u32::MAX);
        let (_, decoded) = crate::decode_region_info(&payload).unwrap();
        prop_assert_eq!(decoded, areas);
    }
}
