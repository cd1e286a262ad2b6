//! Directives: identify, and streams.

use std::collections::BTreeMap;

use nvme::{DirectiveCdw11, DirectiveEnableCdw12, Sqe, Status};

/// Directive types (`NVMe Base 2.1 §8.1.8`).
const IDENTIFY: u8 = 0;
const STREAMS: u8 = 1;
/// Bits of the directive types that are supported.
const SUPPORTED: u8 = 1 << IDENTIFY | 1 << STREAMS;

/// Streams of the subsystem: MSL.
pub(crate) const STREAMS_MAX: u16 = 64;
/// Streams that may be open in a namespace that has none of its own.
const OPEN_MAX: usize = 64;

/// What a namespace has of streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Streams {
    enabled: bool,
    /// Allocated for the namespace's own use.
    allocated: u16,
    /// Identifiers that are open, the least recently used first.
    open: Vec<u16>,
}

/// The state of directives. A controller level reset disables what is enabled
/// and gives every resource back: nothing of it persists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directives {
    namespaces: BTreeMap<u32, Streams>,
}

impl Directives {
    /// Streams that no namespace has for itself.
    fn available(&self) -> u16 {
        let allocated = self.namespaces.values().map(|streams| streams.allocated);
        STREAMS_MAX.saturating_sub(allocated.fold(0, u16::saturating_add))
    }

    fn enabled(&self, nsid: u32) -> Result<&Streams, Status> {
        self.namespaces
            .get(&nsid)
            .filter(|streams| streams.enabled)
            .ok_or(Status::INVALID_FIELD.dnr())
    }

    fn enabled_mut(&mut self, nsid: u32) -> Result<&mut Streams, Status> {
        self.namespaces
            .get_mut(&nsid)
            .filter(|streams| streams.enabled)
            .ok_or(Status::INVALID_FIELD.dnr())
    }

    /// Directive Send (`NVMe Base 2.1 §5.1.7`); no operation takes data.
    /// `nsid` is a namespace that is attached.
    pub(crate) fn send(&mut self, sqe: &Sqe) -> Result<(), Status> {
        const ENABLE: u8 = 1;
        const RELEASE_IDENTIFIER: u8 = 1;
        const RELEASE_RESOURCES: u8 = 2;
        let cdw11 = DirectiveCdw11::from_bits(sqe.cdw11.get());
        let nsid = sqe.nsid().0;
        match (cdw11.dtype(), cdw11.doper()) {
            (IDENTIFY, ENABLE) => {
                let cdw12 = DirectiveEnableCdw12::from_bits(sqe.cdw12.get());
                // The identify directive is always enabled.
                if cdw12.tdtype() != STREAMS {
                    return Err(Status::INVALID_FIELD.dnr());
                }
                if cdw12.endir() {
                    self.namespaces.entry(nsid).or_default().enabled = true;
                } else {
                    self.namespaces.remove(&nsid);
                }
                Ok(())
            }
            (STREAMS, RELEASE_IDENTIFIER) => {
                let id = cdw11.dspec();
                // One that is not open is released already.
                self.enabled_mut(nsid)?.open.retain(|&open| open != id);
                Ok(())
            }
            (STREAMS, RELEASE_RESOURCES) => {
                let streams = self.enabled_mut(nsid)?;
                streams.allocated = 0;
                streams.open.clear();
                Ok(())
            }
            _ => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    /// Directive Receive (`NVMe Base 2.1 §5.1.6`): dword 0 and data. `sws` is
    /// the stream write size, blocks.
    pub(crate) fn receive(&mut self, sqe: &Sqe, sws: u32) -> Result<(u32, Vec<u8>), Status> {
        const PARAMETERS: u8 = 1;
        const STATUS: u8 = 2;
        const ALLOCATE: u8 = 3;
        let cdw11 = DirectiveCdw11::from_bits(sqe.cdw11.get());
        let nsid = sqe.nsid().0;
        match (cdw11.dtype(), cdw11.doper()) {
            (IDENTIFY, PARAMETERS) => Ok((0, self.parameters(nsid))),
            (STREAMS, PARAMETERS) => Ok((0, self.stream_parameters(nsid, sws)?)),
            (STREAMS, STATUS) => {
                let open = &self.enabled(nsid)?.open;
                let count = u16::try_from(open.len()).unwrap_or(u16::MAX);
                let mut ids = open.clone();
                ids.sort_unstable();
                let words = std::iter::once(count).chain(ids);
                Ok((0, words.flat_map(u16::to_le_bytes).collect()))
            }
            (STREAMS, ALLOCATE) => {
                let [low, high, ..] = sqe.cdw12.get().to_le_bytes();
                let asked = u16::from_le_bytes([low, high]);
                let available = self.available();
                let streams = self.enabled_mut(nsid)?;
                // A namespace that has resources has to release them first.
                if streams.allocated > 0 {
                    return Err(Status::INVALID_FIELD.dnr());
                }
                streams.allocated = asked.min(available);
                let got = streams.allocated;
                Ok((got.into(), Vec::new()))
            }
            _ => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    /// Supported and enabled directives, 32 bytes each; none persists over a
    /// controller level reset (`NVMe Base 2.1 §8.1.8.2.1`).
    fn parameters(&self, nsid: u32) -> Vec<u8> {
        const BYTES: usize = 4096;
        const ENABLED: usize = 32;
        let enabled = if self.enabled(nsid).is_ok() {
            SUPPORTED
        } else {
            1 << IDENTIFY
        };
        let mut data = vec![0; BYTES];
        if let Some(byte) = data.get_mut(0) {
            *byte = SUPPORTED;
        }
        if let Some(byte) = data.get_mut(ENABLED) {
            *byte = enabled;
        }
        data
    }

    /// Return Parameters of streams: 32 bytes (`NVMe Base 2.1 §8.1.8.3.1`).
    fn stream_parameters(&self, nsid: u32, sws: u32) -> Result<Vec<u8>, Status> {
        let available = self.available();
        let open_everywhere = self
            .namespaces
            .values()
            .filter(|streams| streams.allocated == 0)
            .map(|streams| streams.open.len())
            .sum::<usize>();
        let streams = self.enabled(nsid)?;
        let short = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
        let mut data = Vec::with_capacity(32);
        data.extend_from_slice(&STREAMS_MAX.to_le_bytes());
        data.extend_from_slice(&available.to_le_bytes());
        data.extend_from_slice(&short(open_everywhere));
        data.resize(16, 0);
        data.extend_from_slice(&sws.to_le_bytes());
        // A granularity of one stream write size.
        data.extend_from_slice(&1_u16.to_le_bytes());
        data.extend_from_slice(&streams.allocated.to_le_bytes());
        data.extend_from_slice(&short(streams.open.len()));
        data.resize(32, 0);
        Ok(data)
    }

    /// A write with a directive: its type and its specific value (DTYPE and
    /// DSPEC of `NVM Command Set 1.1 §3.3.6`). Call it where the type is not 0.
    /// A stream is opened by the first write to it; where too many are open the
    /// least recently used one is closed.
    pub(crate) fn write(&mut self, nsid: u32, dtype: u8, dspec: u16) -> Result<(), Status> {
        if dtype != STREAMS {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let available = usize::from(self.available()).min(OPEN_MAX);
        let streams = self.enabled_mut(nsid)?;
        // 0 is a normal write.
        if dspec == 0 {
            return Ok(());
        }
        let most = match streams.allocated {
            0 => available,
            own => usize::from(own),
        };
        streams.open.retain(|&open| open != dspec);
        if most == 0 {
            return Ok(());
        }
        while streams.open.len() >= most {
            streams.open.remove(0);
        }
        streams.open.push(dspec);
        Ok(())
    }

    /// A namespace is gone, or formatted: so are its streams.
    pub(crate) fn forget(&mut self, nsid: u32) {
        self.namespaces.remove(&nsid);
    }

    /// A controller level reset.
    pub(crate) fn reset(&mut self) {
        self.namespaces.clear();
    }
}
