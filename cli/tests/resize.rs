//! A drive that grows while somebody uses it.

mod common;
#[path = "common/ctl.rs"]
mod ctl;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::Served;
use ctl::{complains, says};
use driver::transport::vfio_user::VfioUser;
use driver::{Controller, ControllerOptions, Data, IdentifyRequest, LogRequest};
use nvme::{
    AdminOpcode, AsyncEvent, Cns, IdentifyNamespace, Lba, LogPageId, NamespaceId, NvmOpcode, Sqe,
};
use serde_json::Value;
use traces::{MonotonicClock, Reader, Record};
use vhost::VhostBackend as _;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures as Protocol};
use vhost::vhost_user::{
    Frontend, FrontendReqHandler, HandlerResult, VhostUserFrontend as _,
    VhostUserFrontendReqHandler,
};
use zerocopy::FromBytes as _;

type Device = Controller<VfioUser, MonotonicClock>;

const MIB: u64 = 1 << 20;
const BLOCK: usize = 512;
const ONE: NamespaceId = NamespaceId(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// The last block of a drive of so many MiB.
const fn last(mib: u64) -> Lba {
    Lba(mib * MIB / BLOCK as u64 - 1)
}

/// The size of the namespace that Identify tells, MiB.
fn size(device: &mut Device) -> u64 {
    let request = IdentifyRequest::new(Cns::NAMESPACE, ONE);
    let page = device.identify_page(request).unwrap();
    let namespace = IdentifyNamespace::read_from_bytes(&page).unwrap();
    (namespace.nsze.get() * BLOCK as u64) / MIB
}

fn write(device: &mut Device, at: Lba, byte: u8) {
    let mut sqe = Sqe::new(NvmOpcode::WRITE.0, ONE);
    sqe.set_slba(at);
    let data = [byte; BLOCK];
    device
        .io_data(sqe, Data::ToDevice(&data), PATIENCE)
        .unwrap();
}

fn reads(device: &mut Device, at: Lba, byte: u8) {
    let mut sqe = Sqe::new(NvmOpcode::READ.0, ONE);
    sqe.set_slba(at);
    let answered = device.io_data(sqe, Data::FromDevice(BLOCK), PATIENCE);
    assert_eq!(answered.unwrap().data, [byte; BLOCK], "{at:?}");
}

#[test]
fn a_driver_is_told_of_the_new_size_and_uses_it() {
    let image = ["disk.img", "--create", "16M"];
    let plain = ["sync.img", "--create", "16M", "--aio", "sync"];
    let qcow2 = ["disk.qcow2", "--create", "16M"];
    for disk in [&image[..], &plain, &qcow2, &["ram:16M"]] {
        let served = Served::start(&[disk, &["--control", "c"]].concat());
        let transport = VfioUser::connect(&served.file("s")).unwrap();
        let clock = MonotonicClock::start();
        let mut device =
            Controller::initialise(transport, ControllerOptions::default(), clock).unwrap();
        says(&served, &["ctl", "c", "record", "start", "a.vtr"]);
        let mut wanted = Sqe::new(AdminOpcode::SET_FEATURES.0, NamespaceId(0));
        wanted.cdw10 = 0x0b.into();
        wanted.cdw11 = (1 << 8).into();
        device.admin_data(wanted, Data::None, PATIENCE).unwrap();
        device.listen().unwrap();
        assert_eq!(size(&mut device), 16);
        write(&mut device, last(16), 5);

        let said = says(&served, &["ctl", "c", "resize", "40M", "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&said["before_bytes"], &said["bytes"]),
            (&(16 * MIB).into(), &(40 * MIB).into())
        );
        assert_eq!(said["namespace"]["blocks"], last(40).0 + 1);
        let event = device.wait_event(PATIENCE).unwrap();
        assert_eq!(event, Some(AsyncEvent::NAMESPACE_ATTRIBUTE_CHANGED));
        let log = LogRequest::new(LogPageId::CHANGED_NAMESPACES, 4096);
        assert_eq!(device.read_log(log).unwrap()[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(size(&mut device), 40);
        reads(&mut device, last(16), 5);
        reads(&mut device, last(40), 0);
        write(&mut device, last(40), 6);
        reads(&mut device, last(40), 6);

        let smaller = complains(&served, &["ctl", "c", "resize", "16M"]);
        assert!(smaller.contains("would be lost"), "{smaller}");
        assert_eq!(smaller.lines().count(), 1, "{smaller}");
        assert_eq!(size(&mut device), 40);
        let said = says(&served, &["ctl", "c", "record", "stop"]);
        assert!(said.starts_with("recorded "), "{said}");
        let reader = Reader::open(served.file("a.vtr")).unwrap();
        assert_eq!(reader.totals().lost, 0);
        let written: Vec<_> = (reader.records().map(Result::unwrap))
            .filter_map(|record| match record {
                Record::Command { command, .. } => Some(command),
                _ => None,
            })
            .filter(|command| command.nvm_opcode() == Some(NvmOpcode::WRITE))
            .map(|command| command.lba_range().unwrap().0)
            .collect();
        assert_eq!(written, [last(16), last(40)]);
    }
}

/// Passes on that configuration space is said to have changed.
struct Changes(Sender<()>);

impl VhostUserFrontendReqHandler for Changes {
    fn handle_config_change(&self) -> HandlerResult<u64> {
        // Whoever has gone does not want to know.
        let _ = self.0.send(());
        Ok(0)
    }
}

/// The client is the frontend that virtual machine monitors use.
#[test]
fn a_virtio_client_is_told_of_the_new_size() {
    let served = Served::start_as("--vhost-user", &["ram:16M", "--control", "c"]);
    let mut client = Frontend::connect(served.file("s"), 1).unwrap();
    client.set_owner().unwrap();
    let features = client.get_features().unwrap();
    client.set_features(features).unwrap();
    let protocol = Protocol::CONFIG | Protocol::BACKEND_REQ | Protocol::REPLY_ACK;
    assert!(client.get_protocol_features().unwrap().contains(protocol));
    client.set_protocol_features(protocol).unwrap();
    let (changes, changed) = channel();
    let mut handler = FrontendReqHandler::new(Arc::new(Changes(changes))).unwrap();
    client
        .set_backend_request_fd(&handler.get_tx_raw_fd())
        .unwrap();
    std::thread::spawn(move || while handler.handle_request().is_ok() {});
    let mut capacity = || {
        let none = VhostUserConfigFlags::empty();
        let (_, bytes) = client.get_config(0, 8, none, &[0; 8]).unwrap();
        u64::from_le_bytes(bytes.try_into().unwrap()) * 512
    };
    assert_eq!(capacity(), 16 * MIB);
    for mib in [24, 32] {
        says(&served, &["ctl", "c", "resize", &format!("{mib}M")]);
        changed.recv_timeout(PATIENCE).expect("it is told");
        assert_eq!(capacity(), mib * MIB);
    }
    // Once each.
    assert!(changed.try_recv().is_err());
}
