//! Admin commands, one at a time.

use std::time::Duration;

use nvme::{
    AbortCdw10, AdminOpcode, Cns, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, FeatureId,
    FeaturesCdw10, FormatCdw10, IdentifyController, IdentifyNamespace, LogPageId, NamespaceId,
    NumberOfQueues, QueueId, Sqe,
};
use traces::Clock;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::data::answer;
use super::{Controller, ControllerInfo, IdentifyRequest, LogRequest, NamespaceInfo};
use crate::queue_pair::Layout;
use crate::transport::Transport;
use crate::{Command, DmaBuffer, DmaSlice, DriverError, QueueOptions, Tag};

const PAGE: usize = 4096;
/// More namespaces than this are not looked at.
const NAMESPACES_MAX: usize = 1024;

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Issues any admin command and waits for it, as long as the options say.
    /// Returns dword 0 of its completion.
    ///
    /// # Errors
    ///
    /// [`DriverError::CommandFailed`] with the status where it failed,
    /// [`DriverError::CommandTimeout`] where it did not complete (the device may
    /// then still write to `data`), [`DriverError::Submit`], [`DriverError::DeviceGone`],
    /// [`DriverError::Fatal`].
    pub fn admin_raw(&mut self, sqe: Sqe, data: Option<DmaSlice<'_>>) -> Result<u32, DriverError> {
        self.execute(Command::raw(sqe, data), self.options.admin_timeout)
    }

    /// As [`Controller::admin_raw`], with a time-out of its own.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn admin_raw_within(
        &mut self,
        sqe: Sqe,
        data: Option<DmaSlice<'_>>,
        timeout: Duration,
    ) -> Result<u32, DriverError> {
        self.execute(Command::raw(sqe, data), timeout)
    }

    /// Identify (`NVMe Base 2.1 §5.1.13`): the structure `cns` as a `V` of up
    /// to 4096 bytes.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn identify<V: FromBytes + IntoBytes>(
        &mut self,
        cns: Cns,
        nsid: NamespaceId,
    ) -> Result<V, DriverError> {
        let page = self.identify_page(IdentifyRequest::new(cns, nsid))?;
        let mut value = V::new_zeroed();
        for (to, from) in value.as_mut_bytes().iter_mut().zip(page) {
            *to = from;
        }
        Ok(value)
    }

    /// Get Log Page (`NVMe Base 2.1 §5.1.12`): `bytes` bytes of the page from
    /// `offset` on, both multiples of 4, of the namespace `nsid` or of the
    /// controller ([`nvme::NSID_ALL`]). See [`Controller::read_log`].
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`], and those of [`Controller::admin_raw`].
    pub fn get_log_page(
        &mut self,
        page: LogPageId,
        nsid: NamespaceId,
        offset: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, DriverError> {
        self.read_log(LogRequest {
            nsid,
            offset,
            ..LogRequest::new(page, bytes)
        })
    }

    /// Get Features (`NVMe Base 2.1 §5.1.11`) of one that is a dword: its
    /// value in force.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn get_features(
        &mut self,
        feature: FeatureId,
        nsid: NamespaceId,
    ) -> Result<u32, DriverError> {
        let mut sqe = Sqe::new(AdminOpcode::GET_FEATURES.0, nsid);
        sqe.cdw10
            .set(FeaturesCdw10::new().with_fid(feature.0).into());
        self.admin_raw(sqe, None)
    }

    /// Set Features (`NVMe Base 2.1 §5.1.25`) of one that is a dword, until
    /// the next reset. Returns dword 0 of the completion.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn set_features(
        &mut self,
        feature: FeatureId,
        nsid: NamespaceId,
        value: u32,
    ) -> Result<u32, DriverError> {
        let mut sqe = Sqe::new(AdminOpcode::SET_FEATURES.0, nsid);
        sqe.cdw10
            .set(FeaturesCdw10::new().with_fid(feature.0).into());
        sqe.cdw11.set(value);
        self.admin_raw(sqe, None)
    }

    /// Abort (`NVMe Base 2.1 §5.1.1`) of `tag` on `queue`. Returns whether the
    /// device aborted it; it completes with a status of its own either way, or
    /// has already.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn abort(&mut self, queue: QueueId, tag: Tag) -> Result<bool, DriverError> {
        self.abort_within(queue, tag, self.options.admin_timeout)
    }

    pub(super) fn abort_within(
        &mut self,
        queue: QueueId,
        tag: Tag,
        timeout: Duration,
    ) -> Result<bool, DriverError> {
        let mut sqe = Sqe::new(AdminOpcode::ABORT.0, NamespaceId(0));
        let cdw10 = AbortCdw10::new().with_sqid(queue.0).with_cid(tag.cid().0);
        sqe.cdw10.set(cdw10.into());
        // Dword 0 bit 0 is set where it was not aborted.
        Ok(self.admin_raw_within(sqe, None, timeout)? & 1 == 0)
    }

    /// Format NVM (`NVMe Base 2.1 §5.1.10`): **erases** the namespace, or all
    /// with [`nvme::NSID_ALL`]. Waits up to `timeout`. The namespaces in
    /// [`Controller::info`] are read again.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn format(
        &mut self,
        nsid: NamespaceId,
        format: FormatCdw10,
        timeout: Duration,
    ) -> Result<(), DriverError> {
        let mut sqe = Sqe::new(AdminOpcode::FORMAT_NVM.0, nsid);
        sqe.cdw10.set(format.into());
        self.admin_raw_within(sqe, None, timeout)?;
        self.refresh_namespaces()
    }

    /// Reads the namespaces in [`Controller::info`] again, after something may
    /// have changed them.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn refresh_namespaces(&mut self) -> Result<(), DriverError> {
        self.info.namespaces = self.identify_namespaces()?;
        Ok(())
    }

    /// Creates the completion queue and the submission queue `id`.
    pub(super) fn create_queues(
        &mut self,
        id: QueueId,
        memory: &DmaBuffer,
        layout: Layout,
        options: &QueueOptions,
    ) -> Result<(), DriverError> {
        let interrupt = options.interrupt;
        let cdw11 = CreateCqCdw11::new()
            .with_pc(true)
            .with_ien(interrupt.is_some())
            .with_iv(interrupt.unwrap_or(0));
        let qsize = layout.cq.zero_based_entries();
        let prp1 = memory.iova() + layout.cq.start as u64;
        let cq = create_queue(AdminOpcode::CREATE_CQ, id, qsize, prp1, cdw11.into());
        self.admin_raw(cq, None)?;

        let cdw11 = CreateSqCdw11::new()
            .with_pc(true)
            .with_qprio(options.priority.min(3))
            .with_cqid(id.0);
        let qsize = layout.sq.zero_based_entries();
        let prp1 = memory.iova() + layout.sq.start as u64;
        let sq = create_queue(AdminOpcode::CREATE_SQ, id, qsize, prp1, cdw11.into());
        self.admin_raw(sq, None).map(drop).inspect_err(|_| {
            // The first error is the one to report.
            let _ = self.delete_cq(id);
        })
    }

    pub(super) fn delete_sq(&mut self, id: QueueId) -> Result<(), DriverError> {
        self.delete(AdminOpcode::DELETE_SQ, id)
    }

    pub(super) fn delete_cq(&mut self, id: QueueId) -> Result<(), DriverError> {
        self.delete(AdminOpcode::DELETE_CQ, id)
    }

    fn delete(&mut self, opcode: AdminOpcode, id: QueueId) -> Result<(), DriverError> {
        self.admin_raw(delete_queue(opcode, id), None).map(drop)
    }

    /// Fills in [`Controller::info`] after the controller became ready.
    pub(super) fn identify_all(&mut self) -> Result<(), DriverError> {
        let identify: IdentifyController = self.identify(Cns::CONTROLLER, NamespaceId(0))?;
        let mut info = ControllerInfo::of(&identify, self.device.cap.mpsmin());
        info.depth_max = u16::try_from(self.device.entries_max() - 1).unwrap_or(u16::MAX);
        info.queue_pairs_max = self.number_of_queues()?;
        info.namespaces = self.identify_namespaces()?;
        self.info = info;
        Ok(())
    }

    fn number_of_queues(&mut self) -> Result<u16, DriverError> {
        // 65,535 stands for 65,536 queues, and is not allowed.
        let wanted = self.options.queue_pairs.clamp(1, u16::MAX) - 1;
        let value = NumberOfQueues::new().with_nsq(wanted).with_ncq(wanted);
        let granted =
            self.set_features(FeatureId::NUMBER_OF_QUEUES, NamespaceId(0), value.into())?;
        let granted = NumberOfQueues::from_bits(granted);
        Ok(granted.nsq().min(granted.ncq()).min(wanted) + 1)
    }

    fn identify_namespaces(&mut self) -> Result<Vec<NamespaceInfo>, DriverError> {
        let mut namespaces = Vec::new();
        let mut last = NamespaceId(0);
        // A list is full where more namespaces follow. The bounds are against
        // a device whose lists never end.
        'lists: loop {
            let list: [U32; PAGE / 4] = self.identify(Cns::ACTIVE_NAMESPACES, last)?;
            for nsid in list {
                let nsid = NamespaceId(nsid.get());
                if nsid <= last || namespaces.len() == NAMESPACES_MAX {
                    break 'lists;
                }
                last = nsid;
                let identify: IdentifyNamespace = self.identify(Cns::NAMESPACE, nsid)?;
                namespaces.extend(NamespaceInfo::of(nsid, &identify));
            }
        }
        Ok(namespaces)
    }

    pub(super) fn execute(
        &mut self,
        command: Command<'_>,
        timeout: Duration,
    ) -> Result<u32, DriverError> {
        let name = || AdminOpcode(command.sqe().opcode).to_string();
        let user = self.next_user;
        self.next_user += 1;
        let start_ns = self.device.clock.now_ns();
        self.admin.submit(command, user, start_ns)?;
        loop {
            let (_, mine) = self.reap(Some(user))?;
            if let Some(done) = mine {
                return answer(self.device.name(), name(), &done);
            }
            self.device.check_link()?;
            if self.device.pause(start_ns) >= timeout {
                // A controller that is gone or has failed is the better
                // explanation.
                self.device.status()?;
                return Err(DriverError::CommandTimeout {
                    device: self.device.name(),
                    command: name(),
                    timeout,
                });
            }
        }
    }
}

/// Create I/O Completion Queue or Submission Queue (`NVMe Base 2.1 §5.2.1`,
/// `§5.2.2`), whose dword 11 differs.
pub(super) fn create_queue(
    opcode: AdminOpcode,
    id: QueueId,
    qsize: u16,
    prp1: u64,
    cdw11: u32,
) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
    sqe.prp1.set(prp1);
    let cdw10 = CreateQueueCdw10::new().with_qid(id.0).with_qsize(qsize);
    sqe.cdw10.set(cdw10.into());
    sqe.cdw11.set(cdw11);
    sqe
}

/// Delete I/O Completion Queue or Submission Queue (`NVMe Base 2.1 §5.2.3`,
/// `§5.2.4`).
pub(super) fn delete_queue(opcode: AdminOpcode, id: QueueId) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
    sqe.cdw10.set(CreateQueueCdw10::new().with_qid(id.0).into());
    sqe
}
