//! Changing a device: sanitize, self-test, firmware, namespaces, security,
//! directives, resets of the subsystem.

use std::time::Duration;

use nvme::{
    AdminOpcode, ControllerList, DirectiveCdw11, FirmwareCommitCdw10, NSSR_RESET,
    NamespaceCreation, NamespaceId, NamespaceManagementCdw10, NamespaceManagementCdw11,
    SanitizeCdw10, SecurityCdw10, SelfTestCdw10, SelfTestOperation, Status, offset,
};
use traces::Clock;
use zerocopy::IntoBytes;

use super::data::admin_sqe;
use super::{Controller, Data};
use crate::DriverError;
use crate::transport::Transport;

/// When committed firmware takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareActivation {
    /// As the commit action says: now, or at the next reset.
    AsAsked,
    /// At the next conventional reset of the PCI function.
    ConventionalReset,
    /// At the next NVM subsystem reset.
    SubsystemReset,
    /// At the next controller level reset.
    ControllerReset,
}

/// Pieces of a firmware image are no smaller, unless the device says so.
const FIRMWARE_PIECE: usize = 4096;

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Sanitize (`NVMe Base 2.1 §5.1.22`): **erases** the whole NVM subsystem
    /// where the action starts an operation. It goes on after this returns;
    /// [`Controller::sanitize_log`] tells how far it is.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn sanitize(
        &mut self,
        action: SanitizeCdw10,
        pattern: u32,
        timeout: Duration,
    ) -> Result<(), DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::SANITIZE, NamespaceId(0));
        sqe.cdw10.set(action.into());
        sqe.cdw11.set(pattern);
        self.admin_plain(sqe, timeout).map(drop)
    }

    /// Device Self-test (`NVMe Base 2.1 §5.1.5`) of the controller (namespace
    /// 0), with one namespace, or with all ([`nvme::NSID_ALL`]). It goes on
    /// after this returns; [`Controller::self_test_log`] tells how far it is.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn device_self_test(
        &mut self,
        operation: SelfTestOperation,
        nsid: NamespaceId,
    ) -> Result<(), DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::DEVICE_SELF_TEST, nsid);
        let cdw10 = SelfTestCdw10::new().with_stc(operation as u8);
        sqe.cdw10.set(cdw10.into());
        self.admin_plain(sqe, self.admin_timeout()).map(drop)
    }

    /// Firmware Image Download (`NVMe Base 2.1 §5.1.9`) of a whole image, in
    /// pieces of the device's granularity. `done` is told how many bytes have
    /// gone after each. Nothing is in use before
    /// [`Controller::firmware_commit`].
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the image is not a number of dwords, and
    /// those of [`Controller::admin_raw`].
    pub fn firmware_download(
        &mut self,
        image: &[u8],
        timeout: Duration,
        mut done: impl FnMut(usize),
    ) -> Result<(), DriverError> {
        if image.is_empty() || !image.len().is_multiple_of(4) {
            return Err(DriverError::Invalid {
                what: format!(
                    "a firmware image of {} bytes cannot be: it is a number of dwords, at least one",
                    image.len()
                ),
            });
        }
        let granularity = self.identify_controller()?.firmware_granularity_bytes();
        let piece = granularity
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(FIRMWARE_PIECE)
            .max(FIRMWARE_PIECE)
            .min(self.transfer_bytes_max());
        let mut gone = 0;
        for part in image.chunks(piece) {
            let mut sqe = admin_sqe(AdminOpcode::FIRMWARE_DOWNLOAD, NamespaceId(0));
            sqe.cdw10.set(zero_based_dwords(part.len())?);
            sqe.cdw11.set(dwords(gone)?);
            self.admin_data(sqe, Data::ToDevice(part), timeout)?;
            gone += part.len();
            done(gone);
        }
        Ok(())
    }

    /// Firmware Commit (`NVMe Base 2.1 §5.1.8`). What the device says about a
    /// reset that it needs is an answer, not an error.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn firmware_commit(
        &mut self,
        commit: FirmwareCommitCdw10,
        timeout: Duration,
    ) -> Result<FirmwareActivation, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::FIRMWARE_COMMIT, NamespaceId(0));
        sqe.cdw10.set(commit.into());
        match self.admin_plain(sqe, timeout) {
            Ok(_) => Ok(FirmwareActivation::AsAsked),
            Err(DriverError::CommandFailed { status, .. })
                if status.same_code(Status::FIRMWARE_NEEDS_CONVENTIONAL_RESET) =>
            {
                Ok(FirmwareActivation::ConventionalReset)
            }
            Err(DriverError::CommandFailed { status, .. })
                if status.same_code(Status::FIRMWARE_NEEDS_SUBSYSTEM_RESET) =>
            {
                Ok(FirmwareActivation::SubsystemReset)
            }
            Err(DriverError::CommandFailed { status, .. })
                if status.same_code(Status::FIRMWARE_NEEDS_RESET) =>
            {
                Ok(FirmwareActivation::ControllerReset)
            }
            Err(error) => Err(error),
        }
    }

    /// Namespace Management, create (`NVMe Base 2.1 §5.1.21`). The namespace
    /// is attached to no controller yet. Returns its identifier.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn namespace_create(
        &mut self,
        wanted: &NamespaceCreation,
        csi: u8,
        timeout: Duration,
    ) -> Result<NamespaceId, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::NAMESPACE_MANAGEMENT, NamespaceId(0));
        let cdw10 = NamespaceManagementCdw10::new().with_sel(NamespaceManagementCdw10::CREATE);
        sqe.cdw10.set(cdw10.into());
        sqe.cdw11
            .set(NamespaceManagementCdw11::new().with_csi(csi).into());
        let data = Data::ToDevice(wanted.as_bytes());
        let answered = self.admin_data(sqe, data, timeout)?;
        Ok(NamespaceId(answered.dword0))
    }

    /// Namespace Management, delete (`NVMe Base 2.1 §5.1.21`): **loses** what
    /// the namespace holds; with [`nvme::NSID_ALL`], all of them.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn namespace_delete(
        &mut self,
        nsid: NamespaceId,
        timeout: Duration,
    ) -> Result<(), DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::NAMESPACE_MANAGEMENT, nsid);
        let cdw10 = NamespaceManagementCdw10::new().with_sel(NamespaceManagementCdw10::DELETE);
        sqe.cdw10.set(cdw10.into());
        self.admin_plain(sqe, timeout)?;
        self.refresh_namespaces()
    }

    /// Namespace Attachment, attach (`NVMe Base 2.1 §5.1.20`), to
    /// `controllers`.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn namespace_attach(
        &mut self,
        nsid: NamespaceId,
        controllers: &[u16],
    ) -> Result<(), DriverError> {
        self.attachment(nsid, controllers, NamespaceManagementCdw10::ATTACH)
    }

    /// Namespace Attachment, detach (`NVMe Base 2.1 §5.1.20`), from
    /// `controllers`. What the namespace holds stays.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn namespace_detach(
        &mut self,
        nsid: NamespaceId,
        controllers: &[u16],
    ) -> Result<(), DriverError> {
        self.attachment(nsid, controllers, NamespaceManagementCdw10::DETACH)
    }

    fn attachment(
        &mut self,
        nsid: NamespaceId,
        controllers: &[u16],
        select: u8,
    ) -> Result<(), DriverError> {
        let list = ControllerList::new(controllers);
        let mut sqe = admin_sqe(AdminOpcode::NAMESPACE_ATTACHMENT, nsid);
        let cdw10 = NamespaceManagementCdw10::new().with_sel(select);
        sqe.cdw10.set(cdw10.into());
        let data = Data::ToDevice(list.as_bytes());
        self.admin_data(sqe, data, self.admin_timeout())?;
        self.refresh_namespaces()
    }

    /// Security Send (`NVMe Base 2.1 §5.1.24`).
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn security_send(
        &mut self,
        protocol: SecurityCdw10,
        nsid: NamespaceId,
        data: &[u8],
    ) -> Result<(), DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::SECURITY_SEND, nsid);
        sqe.cdw10.set(protocol.into());
        sqe.cdw11.set(length(data.len())?);
        self.admin_data(sqe, Data::ToDevice(data), self.admin_timeout())
            .map(drop)
    }

    /// Security Receive (`NVMe Base 2.1 §5.1.23`) of up to `bytes` bytes.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn security_receive(
        &mut self,
        protocol: SecurityCdw10,
        nsid: NamespaceId,
        bytes: usize,
    ) -> Result<Vec<u8>, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::SECURITY_RECEIVE, nsid);
        sqe.cdw10.set(protocol.into());
        sqe.cdw11.set(length(bytes)?);
        let data = Data::FromDevice(bytes);
        Ok(self.admin_data(sqe, data, self.admin_timeout())?.data)
    }

    /// Directive Send (`NVMe Base 2.1 §5.1.7`); `data` may be empty. Returns
    /// dword 0 of the completion.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn directive_send(
        &mut self,
        nsid: NamespaceId,
        directive: DirectiveCdw11,
        cdw12: u32,
        data: &[u8],
    ) -> Result<u32, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::DIRECTIVE_SEND, nsid);
        sqe.cdw10.set(zero_based_dwords(data.len())?);
        sqe.cdw11.set(directive.into());
        sqe.cdw12.set(cdw12);
        let data = Data::ToDevice(data);
        Ok(self.admin_data(sqe, data, self.admin_timeout())?.dword0)
    }

    /// Directive Receive (`NVMe Base 2.1 §5.1.6`) of `bytes` bytes, which may
    /// be 0. Returns dword 0 of the completion with the data.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn directive_receive(
        &mut self,
        nsid: NamespaceId,
        directive: DirectiveCdw11,
        cdw12: u32,
        bytes: usize,
    ) -> Result<super::Answered, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::DIRECTIVE_RECEIVE, nsid);
        sqe.cdw10.set(zero_based_dwords(bytes)?);
        sqe.cdw11.set(directive.into());
        sqe.cdw12.set(cdw12);
        self.admin_data(sqe, Data::FromDevice(bytes), self.admin_timeout())
    }

    /// Resets the NVM subsystem (NSSR, `NVMe Base 2.1 §3.7.1`), all of its
    /// controllers with it, and brings this one up again; see
    /// [`Controller::reset`].
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the controller has no such reset, and
    /// those of [`Controller::initialise`].
    pub fn reset_subsystem(&mut self) -> Result<(), DriverError> {
        if !self.device.cap.nssrs() {
            return Err(DriverError::Invalid {
                what: format!(
                    "{} has no NVM subsystem reset (CAP.NSSRS is 0): reset the controller",
                    self.device.name()
                ),
            });
        }
        self.begin_closing();
        let transport = &mut self.device.transport;
        transport.write32(offset::NSSR, NSSR_RESET);
        let disabled = self.device.disable();
        if disabled.is_ok() {
            // The next one is to be told from this one.
            let occurred = nvme::Csts::new().with_nssro(true);
            let transport = &mut self.device.transport;
            transport.write32(offset::CSTS, occurred.into());
        }
        self.restart(disabled)
    }
}

/// A length that stands in a dword.
fn length(bytes: usize) -> Result<u32, DriverError> {
    u32::try_from(bytes).map_err(|_| DriverError::Invalid {
        what: format!("{bytes} bytes are too many for a command: split them"),
    })
}

/// A number of dwords.
fn dwords(bytes: usize) -> Result<u32, DriverError> {
    length(bytes / 4)
}

/// A number of dwords, zero-based; 0 for none.
fn zero_based_dwords(bytes: usize) -> Result<u32, DriverError> {
    Ok(length(bytes.div_ceil(4))?.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::{dwords, zero_based_dwords};

    #[test]
    fn lengths_are_dwords() {
        assert_eq!(dwords(8192).unwrap(), 2048);
        assert_eq!(zero_based_dwords(4096).unwrap(), 1023);
        assert_eq!(zero_based_dwords(0).unwrap(), 0);
        let error = zero_based_dwords(1 << 40).unwrap_err().to_string();
        assert!(error.contains("too many"), "{error}");
    }
}
