//! A server dies, and the next one goes on.

use std::os::fd::{AsFd, OwnedFd};

use super::driver::{Driver, Request, SIZE};
use super::{OK, kind};
use crate::front::Function;
use crate::host::Held;
use crate::media::Ram;
use crate::virtio::InflightFile;
use crate::virtio::layout::BlockStatus;

/// What a server leaves: the driver's memory, the file, and what was asked for.
type Remains = (OwnedFd, OwnedFd, Vec<Request>);

/// Four writes to blocks 0 to 3, of which `done` are answered, and the death of
/// the server.
fn die(done: usize) -> Remains {
    let (mut driver, file, requests) = asked();
    driver.controller.media_mut().release = done;
    driver.controller.poll(64);
    assert_eq!(driver.used().len(), done);
    let memory = driver.memory.try_clone().unwrap();
    (memory, file, requests)
}

/// A server with four writes under way.
fn asked() -> (Driver<Held>, OwnedFd, Vec<Request>) {
    let file = InflightFile::create(1, SIZE).unwrap();
    let mapped = InflightFile::map(file.as_fd(), 0, (1, SIZE)).unwrap();
    let memory = Driver::new(Held::default()).memory;
    let mut driver = Driver::attach(Held::default(), memory);
    driver.start(0, Some(&mapped), false);
    let requests: Vec<Request> = (0..4)
        .map(|block| {
            let request = driver.request(kind::OUT, block, 512);
            let number = u8::try_from(block + 1).unwrap();
            driver.fill(&request, &[number; 512]);
            request
        })
        .collect();
    // Not in the order of their descriptors.
    for index in [2, 0, 3, 1] {
        driver.offer(requests[index].head);
    }
    driver.controller.poll(64);
    (driver, file, requests)
}

#[test]
fn what_the_driver_was_not_shown_is_served_again() {
    for used in 0..=4 {
        let (mut driver, file, requests) = asked();
        let (rings, memory) = driver.controller.rings();
        for request in requests.iter().take(used) {
            rings.complete(0, request.head, BlockStatus::Ok, memory);
        }
        assert!(driver.used().is_empty(), "the turn goes on");
        let mapped = InflightFile::map(file.as_fd(), 0, (1, SIZE)).unwrap();
        let mut next = Driver::attach(Ram::new(1 << 20).unwrap(), driver.memory);
        next.start(0, Some(&mapped), false);
        next.controller.poll(64);
        assert_eq!(next.commands().len(), 4, "{used} were used");
        assert_eq!(next.used().len(), 4);
    }
}

#[test]
fn every_request_is_finished_once_and_in_order() {
    for done in 0..=4 {
        let (memory, file, requests) = die(done);
        let mapped = InflightFile::map(file.as_fd(), 0, (1, SIZE)).unwrap();
        let mut driver = Driver::attach(Ram::new(1 << 20).unwrap(), memory);
        // The client knows no better than the used index.
        driver.start(u16::try_from(done).unwrap(), Some(&mapped), false);
        // The last server may have died before it told.
        assert_eq!(driver.calls(), u64::from(done > 0));
        driver.controller.poll(64);
        let order = [2, 0, 3, 1];
        let expected: Vec<u16> = order.iter().map(|&index| requests[index].head).collect();
        let served: Vec<u16> = driver
            .commands()
            .iter()
            .map(|(record, _)| record.cid.0)
            .collect();
        assert_eq!(served, expected[done..], "{done} were done");
        let used: Vec<u16> = driver.used().iter().map(|(head, _)| *head).collect();
        assert_eq!(used, expected, "each is used once");
        assert!(
            requests
                .iter()
                .all(|request| driver.status_of(request) == OK)
        );
        assert_eq!(driver.half(Driver::<Ram>::place(0).used + 2), 4);
        // And nothing is left for the one after.
        let mut log = mapped.log(0, SIZE).unwrap();
        assert!(log.recover(4).is_empty());
    }
}

#[test]
fn a_queue_that_is_stopped_tells_where_it_goes_on() {
    let (memory, file, _) = die(4);
    let mapped = InflightFile::map(file.as_fd(), 0, (1, SIZE)).unwrap();
    let mut driver = Driver::attach(Ram::new(1 << 20).unwrap(), memory);
    driver.start(4, Some(&mapped), false);
    driver.controller.poll(64);
    assert!(driver.commands().is_empty());
    let (rings, memory) = driver.controller.rings();
    rings.halt(0);
    assert_eq!(rings.stop(0, memory), 4);
    assert!(!rings.is_started(0));
}
