use std::os::fd::AsFd;

use nvme::{Cap, NvmOpcode, QueueId, Registers, Status};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::*;
use crate::ControllerConfig;
use crate::host::{BASE, Host, PAGE, Pair, io};
use crate::media::Ram;

const BYTES: u64 = 1 << 20;
/// Where the host puts the buffer: far from its own memory.
const CBA: u64 = 0x40_0000_0000;
const CRE: u64 = 1;
const CMSE: u64 = 2;

fn host(cmb_bytes: u64) -> Host<Ram> {
    let config = ControllerConfig {
        cmb_bytes,
        ..ControllerConfig::default()
    };
    Host::new(config, Ram::new(1 << 20).unwrap())
}

/// A host with a buffer in use, and an enabled controller.
fn with_buffer() -> Host<Ram> {
    let mut host = host(BYTES);
    host.controller.write64(offset::CMBMSC, CBA | CRE | CMSE);
    host.enable();
    host
}

fn poke(host: &Host<Ram>, at: u64, data: &[u8]) {
    let cmb = host.controller.cmb().unwrap();
    assert_eq!(rustix::io::pwrite(cmb.fd, data, at).unwrap(), data.len());
}

fn peek(host: &Host<Ram>, at: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    let cmb = host.controller.cmb().unwrap();
    rustix::io::pread(cmb.fd, &mut data, at).unwrap();
    data
}

#[test]
fn it_says_where_it_is_once_it_is_asked() {
    let mut host = host(BYTES);
    let cap = Cap::from_bits(host.controller.read64(offset::CAP));
    assert!(cap.cmbs());
    assert_eq!(host.controller.read32(offset::CMBLOC), 0);
    assert_eq!(host.controller.read32(offset::CMBSZ), 0);
    host.controller.write64(offset::CMBMSC, CRE);
    // BAR4, offset 0, everything anywhere.
    assert_eq!(host.controller.read32(offset::CMBLOC), 0xec);
    let size = CmbSize::from_bits(host.controller.read32(offset::CMBSZ));
    assert_eq!(size.bytes(), Some(BYTES));
    assert!(size.sqs() && size.cqs() && size.lists() && size.rds() && size.wds());
    assert_eq!(host.controller.read32(offset::CMBSTS), 0);
    // What is reserved cannot be written, nor what is read-only.
    host.controller.write64(offset::CMBMSC, 0xffd);
    assert_eq!(host.controller.read64(offset::CMBMSC), CRE);
    host.controller.write32(offset::CMBLOC, 0);
    host.controller.write32(offset::CMBSZ, 0);
    host.controller.write32(offset::CMBSTS, 1);
    assert_eq!(host.controller.read32(offset::CMBLOC), 0xec);
    assert_eq!(host.controller.read32(offset::CMBSTS), 0);
}

#[test]
fn without_one_there_is_nothing() {
    let mut host = host(0);
    assert!(!Cap::from_bits(host.controller.read64(offset::CAP)).cmbs());
    host.controller.write64(offset::CMBMSC, CBA | CRE | CMSE);
    for at in [
        offset::CMBLOC,
        offset::CMBSZ,
        offset::CMBMSC,
        offset::CMBSTS,
    ] {
        assert_eq!(host.controller.read32(at), 0);
    }
    assert!(host.controller.cmb().is_none());
    assert!(host.controller.memory().read_bytes(CBA, &mut [0]).is_err());
}

#[test]
fn data_moves_between_the_buffer_and_the_medium() {
    let mut host = with_buffer();
    let mut pair = host.create_pair(1, 8);
    let data: Vec<u8> = (0..4096_u32).map(|at| (at % 251) as u8).collect();
    poke(&host, 0x3000, &data);
    let write = io(NvmOpcode::WRITE, 8, 8, CBA + 0x3000, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let read = io(NvmOpcode::READ, 8, 8, CBA + BYTES - PAGE, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(peek(&host, BYTES - PAGE, 4096), data);
    // Half in the buffer, half in host memory, by a list in the buffer.
    let page = host.pages(1);
    poke(&host, 0x5000, U64::new(page).as_bytes());
    poke(&host, 0x5008, U64::new(CBA + 0x7000).as_bytes());
    let read = io(NvmOpcode::READ, 0, 24, CBA + 0x6000, CBA + 0x5000);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(page, 4096), data);
    // One byte beyond it is not there.
    let read = io(NvmOpcode::READ, 8, 16, CBA + BYTES - PAGE, CBA + BYTES);
    assert!(!host.status(&mut pair, read).is_success());
}

#[test]
fn queues_may_be_in_it() {
    let mut host = with_buffer();
    assert_eq!(host.create_cq(1, 8, CBA + 0x1000), Status::SUCCESS);
    assert_eq!(host.create_sq(1, 1, 8, CBA), Status::SUCCESS);
    let page = host.pages(1);
    let mut sqe = io(NvmOpcode::READ, 0, 8, page, 0);
    for tail in 1..=3_u16 {
        sqe.command_id = tail.into();
        poke(&host, u64::from(tail - 1) * 64, sqe.as_bytes());
        let pair = Pair {
            id: QueueId(1),
            sq: CBA,
            cq: CBA + 0x1000,
            entries: 8,
            tail,
            head: 0,
            phase: true,
        };
        host.ring(&pair);
        host.settle();
        let cqe = peek(&host, 0x1000 + u64::from(tail - 1) * 16, 16);
        assert_eq!(cqe[12..], [tail.to_le_bytes()[0], 0, 1, 0]);
    }
}

#[test]
fn an_address_that_cannot_be_is_invalid() {
    let mut host = host(BYTES);
    let high = u64::MAX - BYTES + 1;
    host.controller
        .write64(offset::CMBMSC, (high & !0xfff) | CRE);
    // Nothing is wrong until it is enabled.
    assert_eq!(host.controller.read32(offset::CMBSTS), 0);
    host.controller
        .write64(offset::CMBMSC, (high + PAGE) | CRE | CMSE);
    assert_eq!(host.controller.read32(offset::CMBSTS), 1);
    let memory = host.controller.memory();
    assert!(memory.read_bytes(high + PAGE, &mut [0]).is_err());
    // Another one is taken, and clears it; half by half, as Linux writes it.
    host.controller.write32(offset::CMBMSC + 4, 0x40);
    host.controller.write32(offset::CMBMSC, 3);
    assert_eq!(host.controller.read32(offset::CMBSTS), 0);
    host.controller.memory().read_bytes(CBA, &mut [0]).unwrap();
}

#[test]
fn it_outlives_resets_and_no_power_cycle() {
    let mut host = with_buffer();
    poke(&host, 0, b"kept");
    host.controller.write32(offset::CC, 0);
    host.controller.function_reset();
    assert_eq!(host.controller.read64(offset::CMBMSC), CBA | CRE | CMSE);
    let mut bytes = [0; 4];
    host.controller
        .memory()
        .read_bytes(CBA, &mut bytes)
        .unwrap();
    assert_eq!(&bytes, b"kept");
    host.controller.connected();
    assert_eq!(host.controller.read64(offset::CMBMSC), 0);
    assert!(
        host.controller
            .memory()
            .read_bytes(CBA, &mut bytes)
            .is_err()
    );
    assert_eq!(peek(&host, 0, 4), [0; 4]);
}

#[test]
fn it_comes_before_host_memory_at_the_same_addresses() {
    let mut host = host(2 * PAGE);
    host.write(BASE, &[1; 4 * 4096]);
    poke(&host, 0, &[2; 2 * 4096]);
    let at = BASE + PAGE;
    host.controller.write64(offset::CMBMSC, at | CRE | CMSE);
    let mut bytes = [0; 4 * 4096];
    host.controller
        .memory()
        .read_bytes(BASE, &mut bytes)
        .unwrap();
    let pages: Vec<u8> = bytes.iter().step_by(4096).copied().collect();
    assert_eq!(pages, [1, 2, 2, 1]);
    assert!(
        bytes
            .chunks(4096)
            .all(|page| page.iter().all(|it| *it == page[0]))
    );
    // From behind it, too, which finds the host's region first.
    let mut last = [0; 8];
    host.controller
        .memory()
        .read_bytes(BASE + 3 * PAGE, &mut last)
        .unwrap();
    host.controller
        .memory()
        .read_bytes(at, &mut bytes[..16])
        .unwrap();
    assert_eq!((last, bytes[0]), ([1; 8], 2));
    // Taken away, what was there is there.
    host.controller.write64(offset::CMBMSC, at | CRE);
    host.controller.memory().read_bytes(at, &mut last).unwrap();
    assert_eq!(last, [1; 8]);
    // The host's unmapping leaves it alone.
    host.controller.write64(offset::CMBMSC, at | CRE | CMSE);
    host.controller.dma_unmap_all();
    host.controller.memory().read_bytes(at, &mut last).unwrap();
    assert_eq!(last, [2; 8]);
}

#[test]
fn it_cannot_be_made_shorter() {
    let host = host(BYTES);
    let cmb = host.controller.cmb().unwrap();
    assert!(rustix::fs::ftruncate(cmb.fd.as_fd(), 0).is_err());
    assert_eq!(cmb.bytes, BYTES);
}
