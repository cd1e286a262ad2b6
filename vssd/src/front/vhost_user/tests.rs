//! The front with a client that is not ours: the frontend of the crate `vhost`,
//! which virtual machine monitors use.

mod changes;
mod client;
mod messages;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use vhost::VhostBackend;
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{VhostUserFrontend, VhostUserVirtioFeatures};
use zerocopy::FromBytes;

use self::client::{Client, Served};
use crate::virtio::layout::{BlockConfig, feature, kind};

#[test]
fn a_client_learns_what_the_drive_is() {
    let served = Served::start(|_| {});
    let mut client = Client::connect(&served);
    let features = client.frontend.get_features().unwrap();
    let expected = feature::VERSION_1
        | feature::MQ
        | feature::FLUSH
        | feature::DISCARD
        | feature::WRITE_ZEROES
        | feature::INDIRECT_DESC
        | feature::EVENT_IDX
        | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
    assert_eq!(features & expected, expected);
    assert_eq!(features & feature::RO, 0);
    client.negotiate();
    assert!(client.frontend.get_queue_num().unwrap() >= 16);
    assert!(client.frontend.get_max_mem_slots().unwrap() >= 32);

    let flags = VhostUserConfigFlags::empty();
    let buffer = [0; 60];
    let (_, config) = client.frontend.get_config(0, 60, flags, &buffer).unwrap();
    let config = BlockConfig::read_from_bytes(&config).unwrap();
    assert_eq!(config.capacity.get(), served.bytes / 512);
    assert_eq!(config.blk_size.get(), 512);
    assert_eq!(config.physical_block_exp, 3);
    assert_eq!(config.max_discard_seg.get(), 256);
    assert_eq!(config.max_write_zeroes_sectors.get(), 1 << 16);
    assert_eq!(config.writeback, 1);
    // A part of it, which goes beyond its end.
    let (_, tail) = client
        .frontend
        .get_config(56, 40, flags, &buffer[..40])
        .unwrap();
    assert_eq!(tail[0], 1);
    assert!(tail[4..].iter().all(|&byte| byte == 0));
}

#[test]
fn data_goes_through_every_queue() {
    let served = Served::start(|_| {});
    let mut client = Client::ready(&served, 4);
    for (queue, number) in (1..=4_u8).enumerate() {
        let sector = 8 * u64::from(number);
        let data = [number; 4096];
        assert_eq!(client.transfer(queue, kind::OUT, sector, &data).0, 0);
        let (status, back) = client.transfer(queue, kind::IN, sector, &[0; 4096]);
        assert_eq!((status, back), (0, data.to_vec()));
    }
    drop(client);
    let commands = served.stop().commands;
    let queues: Vec<u16> = commands.iter().map(|(record, _)| record.queue.0).collect();
    assert_eq!(queues, [1, 1, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn a_queue_that_stops_has_answered_everything_and_goes_on_where_it_was() {
    let served = Served::start(|_| {});
    let mut client = Client::ready(&served, 1);
    for round in 1..=3_u16 {
        let offered = 5;
        for _ in 0..offered {
            client.offer(0, kind::OUT, 0, &[7; 512]);
        }
        client.kick(0);
        let base = client.frontend.get_vring_base(0).unwrap();
        let used = client.used_index(0);
        assert_eq!(u32::from(used), base, "whatever was fetched is used");
        client.start(0, u16::try_from(base).unwrap());
        client.kick(0);
        client.wait_used(0, round * offered);
    }
    drop(client);
    assert_eq!(served.stop().commands.len(), 15, "each ran once");
}

#[test]
fn memory_comes_and_goes_region_by_region() {
    let served = Served::start(|_| {});
    let mut client = Client::connect(&served);
    client.negotiate();
    client.add_memory();
    client.start(0, 0);
    assert_eq!(client.transfer(0, kind::OUT, 0, &[3; 512]).0, 0);
    client.frontend.get_vring_base(0).unwrap();
    client.remove_memory();
    assert!(client.remove_memory_again().is_err(), "it is gone");
    // The connection goes on.
    client.add_memory();
    let base = client.used_index(0);
    client.start(0, base);
    assert_eq!(
        client.transfer(0, kind::IN, 0, &[0; 512]),
        (0, vec![3; 512])
    );
}

#[test]
fn the_write_cache_can_be_switched() {
    let served = Served::start(|_| {});
    let mut client = Client::ready(&served, 1);
    let flags = VhostUserConfigFlags::WRITABLE;
    let writeback = |client: &mut Client| {
        let none = VhostUserConfigFlags::empty();
        client.frontend.get_config(32, 1, none, &[0]).unwrap().1[0]
    };
    assert_eq!(writeback(&mut client), 1);
    client.frontend.set_config(32, flags, &[0]).unwrap();
    assert_eq!(writeback(&mut client), 0);
    assert!(client.frontend.set_config(0, flags, &[9; 8]).is_err());
}

#[test]
fn a_client_without_flushes_has_no_cache() {
    let served = Served::start(|_| {});
    let mut client = Client::connect(&served);
    client.negotiate_without(feature::FLUSH | feature::CONFIG_WCE);
    let none = VhostUserConfigFlags::empty();
    let (_, writeback) = client.frontend.get_config(32, 1, none, &[0]).unwrap();
    assert_eq!(writeback, [0]);
}

#[test]
fn a_reset_stops_all_queues() {
    let served = Served::start(|_| {});
    let mut client = Client::ready(&served, 2);
    assert_eq!(client.transfer(1, kind::OUT, 0, &[3; 512]).0, 0);
    client.frontend.reset_device().unwrap();
    client.offer(1, kind::OUT, 0, &[4; 512]);
    client.kick(1);
    // It would have been used before this is answered.
    client.frontend.get_queue_num().unwrap();
    assert_eq!(client.used_index(1), 1);
    drop(client);
    assert_eq!(served.stop().commands.len(), 1);
}

#[test]
fn the_next_client_and_the_next_server_find_what_is_left() {
    let served = Served::start(|_| {});
    let mut client = Client::connect(&served);
    client.negotiate();
    let wanted = VhostUserInflight::new(0, 0, 2, client::SIZE);
    let (inflight, file) = client.frontend.get_inflight_fd(&wanted).unwrap();
    assert_eq!(inflight.num_queues, 2);
    assert!(inflight.mmap_size >= 2 * (16 + 16 * u64::from(client::SIZE)));
    client.use_inflight(&inflight, &file);
    client.share_memory();
    client.start(0, 0);
    assert_eq!(client.transfer(0, kind::OUT, 0, &[3; 512]).0, 0);
    drop(served.stop());

    // The first two of these were fetched by a server that died at once.
    let heads: Vec<u16> = (0..3)
        .map(|_| client.offer(0, kind::OUT, 8, &[5; 512]))
        .collect();
    client.pretend_in_flight(&file, &heads[..2]);
    let again = Served::start(|_| {});
    let mut client = client.reconnect(&again);
    client.negotiate();
    client.use_inflight(&inflight, &file);
    client.share_memory();
    // As QEMU does: it knows the used index only.
    client.start(0, 1);
    client.kick(0);
    client.wait_used(0, 4);
    drop(client);
    let served: Vec<u16> = again
        .stop()
        .commands
        .iter()
        .map(|(record, _)| record.cid.0)
        .collect();
    assert_eq!(served, heads);
}

#[test]
fn what_a_client_may_not_do_is_refused_and_the_connection_goes_on() {
    let served = Served::start(|_| {});
    let mut client = Client::connect(&served);
    client.negotiate();
    client
        .frontend
        .set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    client.share_memory();
    let unknown = u64::MAX;
    assert!(client.frontend.set_features(unknown).is_err(), "features");
    assert!(
        client.frontend.set_vring_num(0, 3).is_err(),
        "not a power of two"
    );
    assert!(client.frontend.set_vring_num(0, 4096).is_err(), "too large");
    assert!(client.start_at(0, 0x1000).is_err(), "in no memory");
    let everything = VhostUserProtocolFeatures::all();
    assert!(client.frontend.set_protocol_features(everything).is_err());
    let wanted = VhostUserInflight::new(1 << 20, 0, 2, client::SIZE);
    let short = tempfile::tempfile().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&short);
    assert!(
        client.frontend.set_inflight_fd(&wanted, fd).is_err(),
        "an empty file"
    );
    client.start(0, 0);
    assert_eq!(client.transfer(0, kind::OUT, 0, &[3; 512]).0, 0);
}

#[test]
fn a_client_that_talks_nonsense_is_sent_away_and_the_next_is_served() {
    let served = Served::start(|_| {});
    let header =
        |request: u32, flags: u32, size: u32| [request, flags, size].map(u32::to_ne_bytes).concat();
    let nonsense: [(&str, Vec<u8>); 8] = [
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("zeroes", vec![0; 4096]),
        ("a request that there is not", header(99, 1, 0)),
        ("a reply", header(1, 5, 0)),
        ("a payload of 4 GiB", header(1, 1, u32::MAX)),
        (
            "a payload that is too short",
            [header(8, 1, 4), vec![0; 4]].concat(),
        ),
        (
            "a queue that there is not",
            [header(8, 1, 8), vec![0xff; 8]].concat(),
        ),
        (
            "regions without descriptors",
            [header(5, 1, 8), vec![1, 0, 0, 0, 0, 0, 0, 0]].concat(),
        ),
    ];
    for (what, bytes) in nonsense {
        let mut client = UnixStream::connect(&served.path).unwrap();
        client.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        // Closed with bytes unread, it may say so.
        let _ = client.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{what}: {answer:?}");
    }
    let half = UnixStream::connect(&served.path).unwrap();
    (&half).write_all(&[1, 0]).unwrap();
    drop(half);
    let mut client = Client::ready(&served, 1);
    assert_eq!(client.transfer(0, kind::OUT, 0, &[3; 512]).0, 0);
}

#[test]
fn a_client_that_stands_in_the_middle_of_a_message_does_not_hold_the_server() {
    let served = Served::start(|_| {});
    let mut half = UnixStream::connect(&served.path).unwrap();
    half.write_all(&[1, 0]).unwrap();
    drop(served.stop());
}

#[test]
fn a_read_only_drive_says_so() {
    let served = Served::start(|controller| {
        let namespaces = &mut controller.device.namespaces;
        let namespace = namespaces.get_mut(nvme::NamespaceId(1)).unwrap();
        namespace.write_protection = crate::namespace::WriteProtection::Set;
        namespace.classify();
    });
    let client = Client::connect(&served);
    let features = client.frontend.get_features().unwrap();
    assert_ne!(features & feature::RO, 0);
    assert_eq!(features & (feature::DISCARD | feature::WRITE_ZEROES), 0);
}
