//! Commands on zoned namespaces (`ZNS Command Set 1.1 §3`).

use nvme::{
    Lba, NamespaceId, NvmOpcode, ReadWriteCdw12, Sqe, Status, ZoneReceiveCdw13, ZoneSendCdw13,
};
use traces::{Clock, Tap};

use super::Way;
use crate::command::{Command, data_pointer};
use crate::device::Device;
use crate::job::{Job, Transfer};
use crate::media::Extent;
use crate::memory::Access;
use crate::namespace::Namespace;
use crate::zoned::{BlockRange, ReportRequest};

/// The most bytes of a zone's descriptor extension.
const EXTENSION_BYTES_MAX: usize = 255 * 64;

impl<T: Tap, C: Clock> Device<T, C> {
    /// How a command on a zoned namespace goes on.
    pub(super) fn zoned_way(&mut self, sqe: &Sqe, through: bool) -> Result<Way, Status> {
        let opcode = NvmOpcode(sqe.opcode);
        let zoned = self
            .namespaces
            .active(sqe.nsid())
            .is_some_and(|namespace| namespace.zones.is_some());
        if !zoned {
            return Err(Status::INVALID_OPCODE.dnr());
        }
        match opcode {
            NvmOpcode::FLUSH => {
                data_pointer(sqe)?;
                // Write pointers are as durable as the data.
                self.changed = true;
                Ok(Way::Run(Command::Flush))
            }
            NvmOpcode::DATASET_MANAGEMENT => {
                let namespace = self.namespaces.active(sqe.nsid());
                let namespace = namespace.ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
                namespace.decode(sqe).map(Way::Run)
            }
            NvmOpcode::COPY => self.copy_way(sqe),
            NvmOpcode::RESERVATION_REGISTER
            | NvmOpcode::RESERVATION_REPORT
            | NvmOpcode::RESERVATION_ACQUIRE
            | NvmOpcode::RESERVATION_RELEASE => self.reserve(sqe),
            NvmOpcode::ZONE_MANAGEMENT_SEND => self.zone_send(sqe),
            NvmOpcode::ZONE_MANAGEMENT_RECEIVE => self.zone_receive(sqe),
            _ => self.zoned_transfer(sqe, through),
        }
    }

    /// Commands that read or write blocks: zones are asked first.
    fn zoned_transfer(&mut self, sqe: &Sqe, through: bool) -> Result<Way, Status> {
        let opcode = NvmOpcode(sqe.opcode);
        let blocks = u64::from(ReadWriteCdw12::from_bits(sqe.cdw12.get()).blocks());
        let missing = Status::INVALID_NAMESPACE_OR_FORMAT.dnr();
        let namespace = self.namespaces.get_mut(sqe.nsid()).ok_or(missing)?;
        let lba = sqe.slba();
        // What is wrong with the command itself is found before a zone changes.
        namespace.extent(lba.0, blocks)?;
        let probe = Transfer::new(sqe, namespace, lba.0, through)?;
        let reads = matches!(
            opcode,
            NvmOpcode::READ | NvmOpcode::COMPARE | NvmOpcode::VERIFY
        );
        if reads && namespace.has_uncorrectable(lba.0, blocks) {
            return Err(Status::UNRECOVERED_READ_ERROR);
        }
        let zones = namespace.zones.as_mut().ok_or(missing)?;
        let transfer = match opcode {
            _ if reads => {
                zones.read(lba, blocks)?;
                probe
            }
            NvmOpcode::ZONE_APPEND => {
                let accepted = zones.append(lba, blocks)?;
                Transfer::new(sqe, namespace, accepted.slba.0, through)?
                    .with_result(accepted.slba.0)
                    .in_zone(accepted)
            }
            _ => {
                let accepted = zones.begin_write(lba, blocks)?;
                if opcode == NvmOpcode::WRITE_UNCORRECTABLE {
                    namespace.damage(lba.0, blocks);
                    self.lba_status.lost();
                    self.changed = true;
                    return Ok(Way::Done(0));
                }
                probe.in_zone(accepted)
            }
        };
        let bytes = transfer.buffer_bytes();
        Ok(Way::Job(Box::new(Job::Transfer(transfer)), bytes))
    }

    /// Zone Management Send.
    fn zone_send(&mut self, sqe: &Sqe) -> Result<Way, Status> {
        const SET_EXTENSION: u8 = 0x10;
        let cdw13 = ZoneSendCdw13::from_bits(sqe.cdw13.get());
        let missing = Status::INVALID_NAMESPACE_OR_FORMAT.dnr();
        let namespace = self.namespaces.get_mut(sqe.nsid()).ok_or(missing)?;
        let zones = namespace.zones.as_mut().ok_or(missing)?;
        let mut extension = [0; EXTENSION_BYTES_MAX];
        let bytes = if cdw13.zsa() == SET_EXTENSION {
            zones.geometry().extension_bytes
        } else {
            0
        };
        let extension = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| extension.get_mut(..bytes))
            .ok_or(Status::INVALID_FIELD.dnr())?;
        let data = data_pointer(sqe)?;
        if bytes > 0 {
            data.walk(&self.memory, bytes.into(), Access::Read, &mut self.segments)?
                .read(extension);
        }
        let mut emptied = Vec::new();
        zones.manage(sqe.slba(), cdw13, extension, |range| emptied.push(range))?;
        self.extents.clear();
        for range in emptied {
            self.extents.extend(parts(namespace, range));
            namespace.heal(range.slba.0, range.blocks);
        }
        self.changed = true;
        Ok(Way::Run(Command::Deallocate))
    }

    /// Zone Management Receive.
    fn zone_receive(&mut self, sqe: &Sqe) -> Result<Way, Status> {
        let cdw13 = ZoneReceiveCdw13::from_bits(sqe.cdw13.get());
        let request = ReportRequest::decode(sqe.slba(), sqe.cdw12.get(), cdw13)?;
        if request.bytes > self.namespaces.transfer_bytes_max() {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let zones = self
            .namespaces
            .get(sqe.nsid())
            .and_then(|namespace| namespace.zones.as_ref())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        let mut report = zones.report(request)?;
        let mut answer = vec![0; usize::try_from(request.bytes).unwrap_or(0)];
        report.fill(&mut answer);
        data_pointer(sqe)?
            .walk(
                &self.memory,
                request.bytes,
                Access::Write,
                &mut self.segments,
            )?
            .write(&answer);
        Ok(Way::Done(0))
    }

    /// A write to a zone has failed.
    pub(crate) fn zone_write_failed(
        &mut self,
        nsid: NamespaceId,
        accepted: &crate::zoned::Accepted,
    ) {
        let zones = self
            .namespaces
            .get_mut(nsid)
            .and_then(|namespace| namespace.zones.as_mut());
        if let Some(zones) = zones {
            zones.fail_write(accepted);
            self.changed = true;
        }
    }

    /// Tells the host of zones that have changed by themselves.
    pub(crate) fn note_zones(&mut self) {
        let wanted = self.features.wanted_events().zone_descriptor();
        let mut changed = false;
        for namespace in self.namespaces.iter_mut() {
            if let Some(zones) = &mut namespace.zones {
                changed |= zones.take_notice();
            }
        }
        if changed && wanted {
            self.events.raise(nvme::AsyncEvent::ZONE_DESCRIPTOR_CHANGED);
        }
    }
}

/// The parts of the medium that blocks of a namespace have.
pub(crate) fn parts(namespace: &Namespace, range: BlockRange) -> impl Iterator<Item = Extent> {
    let BlockRange {
        slba: Lba(lba),
        blocks,
    } = range;
    let metadata = namespace.metadata_extent(lba, blocks);
    namespace
        .extent(lba, blocks)
        .into_iter()
        .chain((metadata.bytes > 0).then_some(metadata))
}
