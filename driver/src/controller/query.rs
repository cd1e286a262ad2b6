//! Asking a device: identify structures, log pages, features.

use nvme::{
    AdminOpcode, Cns, FeatureCapabilities, FeatureId, FeatureSelect, FeaturesCdw10,
    GetLogPageCdw10, GetLogPageCdw11, GetLogPageCdw14, IDENTIFY_BYTES, IdentifyCdw10,
    IdentifyCdw11, IdentifyController, LogPageId, NSID_ALL, NamespaceId, SanitizeLog, SelfTestLog,
    SmartLog, Sqe,
};
use traces::Clock;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::data::admin_sqe;
use super::{Answered, Controller, Data};
use crate::DriverError;
use crate::transport::Transport;

/// Which structure Identify is to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentifyRequest {
    /// The structure.
    pub cns: Cns,
    /// The namespace; 0 where the structure is not of one.
    pub nsid: NamespaceId,
    /// The controller, for the structures that take one.
    pub cntid: u16,
    /// CNS specific identifier: an NVM set, a domain.
    pub cnssid: u16,
    /// The command set; 0 is the NVM command set.
    pub csi: u8,
    /// UUID index; 0 for none.
    pub uuid_index: u8,
}

impl IdentifyRequest {
    /// The structure `cns` of the namespace `nsid`, with everything else 0.
    #[must_use]
    pub const fn new(cns: Cns, nsid: NamespaceId) -> Self {
        Self {
            cns,
            nsid,
            cntid: 0,
            cnssid: 0,
            csi: 0,
            uuid_index: 0,
        }
    }
}

/// Which part of which log page Get Log Page is to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// The page.
    pub page: LogPageId,
    /// The namespace, or [`nvme::NSID_ALL`] for the controller.
    pub nsid: NamespaceId,
    /// Where to start, bytes; a multiple of 4.
    pub offset: u64,
    /// How much, bytes; a multiple of 4.
    pub bytes: usize,
    /// Log specific parameter.
    pub lsp: u8,
    /// Log specific identifier: an endurance group, for one.
    pub lsi: u16,
    /// The command set, for pages that have one each.
    pub csi: u8,
    /// UUID index; 0 for none.
    pub uuid_index: u8,
    /// Leave the page's asynchronous event as it is.
    pub retain: bool,
}

impl LogRequest {
    /// The first `bytes` bytes of the controller's `page`.
    #[must_use]
    pub const fn new(page: LogPageId, bytes: usize) -> Self {
        Self {
            page,
            nsid: NSID_ALL,
            offset: 0,
            bytes,
            lsp: 0,
            lsi: 0,
            csi: 0,
            uuid_index: 0,
            retain: false,
        }
    }
}

/// What a feature is to be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSetting<'a> {
    /// The feature.
    pub feature: FeatureId,
    /// The namespace, or 0 for the controller.
    pub nsid: NamespaceId,
    /// CDW11: the value of most features.
    pub cdw11: u32,
    /// CDW12.
    pub cdw12: u32,
    /// CDW13.
    pub cdw13: u32,
    /// CDW15.
    pub cdw15: u32,
    /// The data structure of features that have one; empty for none.
    pub data: &'a [u8],
    /// Keep the value over power cycles.
    pub save: bool,
}

impl FeatureSetting<'_> {
    /// The controller's `feature` with the value `cdw11`, until the next
    /// reset.
    #[must_use]
    pub const fn new(feature: FeatureId, cdw11: u32) -> Self {
        Self {
            feature,
            nsid: NamespaceId(0),
            cdw11,
            cdw12: 0,
            cdw13: 0,
            cdw15: 0,
            data: &[],
            save: false,
        }
    }
}

/// Which value of a feature to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureQuery {
    /// The feature.
    pub feature: FeatureId,
    /// The namespace, or 0 for the controller.
    pub nsid: NamespaceId,
    /// Which value.
    pub select: FeatureSelect,
    /// CDW11, for features that take one: a temperature sensor, a vector.
    pub cdw11: u32,
    /// The size of the data structure of features that have one.
    pub bytes: usize,
}

impl FeatureQuery {
    /// The controller's `feature`: its value in force, without data.
    #[must_use]
    pub const fn new(feature: FeatureId) -> Self {
        Self {
            feature,
            nsid: NamespaceId(0),
            select: FeatureSelect::Current,
            cdw11: 0,
            bytes: 0,
        }
    }
}

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Identify (`NVMe Base 2.1 §5.1.13`): the 4096 bytes of any structure.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn identify_page(&mut self, request: IdentifyRequest) -> Result<Vec<u8>, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::IDENTIFY, request.nsid);
        let cdw10 = IdentifyCdw10::new()
            .with_cns(request.cns.0)
            .with_cntid(request.cntid);
        let cdw11 = IdentifyCdw11::new()
            .with_cnssid(request.cnssid)
            .with_csi(request.csi);
        sqe.cdw10.set(cdw10.into());
        sqe.cdw11.set(cdw11.into());
        sqe.cdw14.set(u32::from(request.uuid_index));
        let data = Data::FromDevice(IDENTIFY_BYTES);
        Ok(self.admin_data(sqe, data, self.admin_timeout())?.data)
    }

    /// Identify Controller as the device has it now.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn identify_controller(&mut self) -> Result<IdentifyController, DriverError> {
        self.identify(Cns::CONTROLLER, NamespaceId(0))
    }

    /// Get Log Page (`NVMe Base 2.1 §5.1.12`): a part of any page. What is
    /// longer than the longest transfer is read in parts, only the last of
    /// which clears the page's asynchronous event.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`], and those of [`Controller::admin_raw`].
    pub fn read_log(&mut self, request: LogRequest) -> Result<Vec<u8>, DriverError> {
        let LogRequest { bytes, offset, .. } = request;
        if bytes == 0 || !bytes.is_multiple_of(4) || !offset.is_multiple_of(4) {
            return Err(DriverError::Invalid {
                what: format!(
                    "{bytes} bytes at {offset} of {}: log pages are read in dwords, at least one",
                    request.page
                ),
            });
        }
        let mut log = Vec::new();
        for (at, part, is_last) in parts(bytes, self.transfer_bytes_max()) {
            let from = offset.saturating_add(at as u64);
            let sqe = log_sqe(&request, from, part, !is_last);
            let data = Data::FromDevice(part);
            log.extend(self.admin_data(sqe, data, self.admin_timeout())?.data);
        }
        Ok(log)
    }

    /// The start of the log page `page` as a `V`, whose size is a multiple of
    /// 4.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::read_log`].
    pub fn log_as<V: FromBytes + IntoBytes>(
        &mut self,
        page: LogPageId,
        nsid: NamespaceId,
    ) -> Result<V, DriverError> {
        let mut value = V::new_zeroed();
        let request = LogRequest {
            nsid,
            ..LogRequest::new(page, size_of::<V>())
        };
        let log = self.read_log(request)?;
        value.as_mut_bytes().copy_from_slice(&log);
        Ok(value)
    }

    /// SMART / Health Information of the controller, or of a namespace.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::read_log`].
    pub fn smart_log(&mut self, nsid: NamespaceId) -> Result<SmartLog, DriverError> {
        self.log_as(LogPageId::SMART, nsid)
    }

    /// The Device Self-test log.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::read_log`].
    pub fn self_test_log(&mut self) -> Result<SelfTestLog, DriverError> {
        self.log_as(LogPageId::SELF_TEST, NSID_ALL)
    }

    /// The Sanitize Status log.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::read_log`].
    pub fn sanitize_log(&mut self) -> Result<SanitizeLog, DriverError> {
        self.log_as(LogPageId::SANITIZE_STATUS, NSID_ALL)
    }

    /// Get Features (`NVMe Base 2.1 §5.1.11`) of any feature, with its data.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn get_feature(&mut self, query: FeatureQuery) -> Result<Answered, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::GET_FEATURES, query.nsid);
        let cdw10 = FeaturesCdw10::new()
            .with_fid(query.feature.0)
            .with_sel(query.select.code());
        sqe.cdw10.set(cdw10.into());
        sqe.cdw11.set(query.cdw11);
        let data = match query.bytes {
            0 => Data::None,
            bytes => Data::FromDevice(bytes),
        };
        self.admin_data(sqe, data, self.admin_timeout())
    }

    /// What can be done with a feature.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn feature_capabilities(
        &mut self,
        feature: FeatureId,
    ) -> Result<FeatureCapabilities, DriverError> {
        let query = FeatureQuery {
            select: FeatureSelect::SupportedCapabilities,
            ..FeatureQuery::new(feature)
        };
        let answered = self.get_feature(query)?;
        Ok(FeatureCapabilities::from_bits(answered.dword0))
    }

    /// Set Features (`NVMe Base 2.1 §5.1.25`) of any feature, with its data.
    /// Returns dword 0 of the completion.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`].
    pub fn set_feature(&mut self, setting: FeatureSetting<'_>) -> Result<u32, DriverError> {
        let mut sqe = admin_sqe(AdminOpcode::SET_FEATURES, setting.nsid);
        let cdw10 = FeaturesCdw10::new()
            .with_fid(setting.feature.0)
            .with_sv(setting.save);
        sqe.cdw10.set(cdw10.into());
        sqe.cdw11.set(setting.cdw11);
        sqe.cdw12.set(setting.cdw12);
        sqe.cdw13.set(setting.cdw13);
        sqe.cdw15.set(setting.cdw15);
        let data = Data::ToDevice(setting.data);
        Ok(self.admin_data(sqe, data, self.admin_timeout())?.dword0)
    }
}

/// Get Log Page of `bytes` bytes from `offset` on; with `retain`, whatever the
/// request says, the event stays.
fn log_sqe(request: &LogRequest, offset: u64, bytes: usize, retain: bool) -> Sqe {
    let mut sqe = admin_sqe(AdminOpcode::GET_LOG_PAGE, request.nsid);
    // A part is at most 4 MiB: the number of dwords fits.
    let dwords = u32::try_from(bytes / 4).unwrap_or(1).saturating_sub(1);
    let [a, b, c, d] = dwords.to_le_bytes();
    let cdw10 = GetLogPageCdw10::new()
        .with_lid(request.page.0)
        .with_lsp(request.lsp & 0x7f)
        .with_rae(retain || request.retain)
        .with_numdl(u16::from_le_bytes([a, b]));
    let cdw11 = GetLogPageCdw11::new()
        .with_numdu(u16::from_le_bytes([c, d]))
        .with_lsi(request.lsi);
    let cdw14 = GetLogPageCdw14::new()
        .with_uuid_index(request.uuid_index & 0x7f)
        .with_csi(request.csi);
    sqe.cdw10.set(cdw10.into());
    sqe.cdw11.set(cdw11.into());
    let [low, high]: [U32; 2] = zerocopy::transmute!(offset.to_le_bytes());
    sqe.cdw12 = low;
    sqe.cdw13 = high;
    sqe.cdw14.set(cdw14.into());
    sqe
}

/// What is longer than `step` bytes in parts of that: where each begins, its
/// length, and whether it is the last.
fn parts(bytes: usize, step: usize) -> impl Iterator<Item = (usize, usize, bool)> {
    (0..bytes).step_by(step).map(move |at| {
        let left = bytes - at;
        (at, left.min(step), left <= step)
    })
}

#[cfg(test)]
mod tests {
    use nvme::{LogPageId, NamespaceId};

    use super::{LogRequest, log_sqe, parts};

    #[test]
    fn a_request_stands_in_all_of_its_dwords() {
        let request = LogRequest {
            nsid: NamespaceId(3),
            lsp: 0x11,
            lsi: 0x2222,
            csi: 2,
            uuid_index: 5,
            ..LogRequest::new(LogPageId::TELEMETRY_HOST, 0)
        };
        let sqe = log_sqe(&request, 0x1_0000_0004, 0x5_0000, true);
        // 14000h dwords, zero-based, over both halves; the event stays.
        let dwords = [sqe.cdw10, sqe.cdw11, sqe.cdw12, sqe.cdw13, sqe.cdw14];
        let wanted = [0x3fff_9107, 0x2222_0001, 4, 1, 0x0200_0005];
        assert_eq!(dwords.map(|dword| dword.get()), wanted);
        assert_eq!((sqe.opcode, sqe.nsid().0), (0x02, 3));
        let last = log_sqe(&request, 0, 512, false);
        assert_eq!(last.cdw10.get(), 0x007f_1107);
    }

    #[test]
    fn only_the_last_part_clears_the_event() {
        let of = |bytes| parts(bytes, 4096).collect::<Vec<_>>();
        assert_eq!(of(512), [(0, 512, true)]);
        assert_eq!(of(4096), [(0, 4096, true)]);
        assert_eq!(of(4100), [(0, 4096, false), (4096, 4, true)]);
        assert_eq!(of(8192), [(0, 4096, false), (4096, 4096, true)]);
    }
}
