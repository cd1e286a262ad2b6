//! Firmware: images that are downloaded in pieces, slots that keep them, and
//! what it takes to run one of them.
//!
//! A virtual drive executes no firmware. An image is data with a head that says
//! how the drive is to behave once it runs: which revision Identify tells, which
//! reset its activation needs, and how long that takes. 64 bytes of head:
//!
//! | bytes | content |
//! |---|---|
//! | 0..6 | `VSSDFW` |
//! | 6 | version of the format, 1 |
//! | 7 | what activation needs, see [`Activation`] |
//! | 8..16 | revision, printable ASCII padded with spaces |
//! | 16..20 | length of the whole image, bytes, little-endian |
//! | 20..24 | CRC-32 of the whole image with this field 0, little-endian |
//! | 24..28 | time that an activation without a reset takes, ms, little-endian |
//! | 28..64 | 0 |

use nvme::{FirmwareCommitCdw10, FirmwareSlotLog, IdentifyController, Status, ascii_field};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 6] = b"VSSDFW";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 64;
/// Slots that the log has room for.
const SLOTS_MAX: u8 = 7;
/// The unit of FWUG.
pub(crate) const GRANULARITY_UNIT: u32 = 4096;

/// What an image needs to be activated: byte 7 of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Activation {
    /// It can be activated without a reset.
    Immediate = 0,
    /// Any controller level reset.
    ControllerReset = 1,
    /// A conventional reset of the PCI function.
    ConventionalReset = 2,
    /// An NVM subsystem reset, or a power cycle.
    SubsystemReset = 3,
    /// The drive refuses to run it.
    Prohibited = 4,
}

impl Activation {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Immediate,
            1 => Self::ControllerReset,
            2 => Self::ConventionalReset,
            3 => Self::SubsystemReset,
            4 => Self::Prohibited,
            _ => return None,
        })
    }
}

/// A reset, by how much of the subsystem it reaches: the later include the
/// earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ResetKind {
    /// CC.EN, or a function level reset.
    Controller,
    /// A conventional reset.
    Conventional,
    /// An NVM subsystem reset, or power.
    Subsystem,
}

/// Makes an image of `payload` (see the head of this module): `revision` is cut
/// to 8 characters, and `activation_ms` is how long an activation without a
/// reset takes. None where the payload is longer than an image can be.
#[must_use]
pub fn image(
    revision: &str,
    activation: Activation,
    activation_ms: u32,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let bytes = HEAD_BYTES.checked_add(payload.len())?;
    let mut image = Vec::with_capacity(bytes);
    image.extend_from_slice(MAGIC);
    image.push(VERSION);
    image.push(activation as u8);
    image.extend_from_slice(&ascii_field::<8>(revision));
    image.extend_from_slice(&u32::try_from(bytes).ok()?.to_le_bytes());
    image.extend_from_slice(&[0; 4]);
    image.extend_from_slice(&activation_ms.to_le_bytes());
    image.resize(HEAD_BYTES, 0);
    image.extend_from_slice(payload);
    let crc = crc32fast::hash(&image);
    if let Some(field) = image.get_mut(20..24) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    Some(image)
}

/// What the drive keeps of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Image {
    revision: [u8; 8],
    activation: Activation,
    activation_ms: u32,
}

impl Image {
    /// Reads and checks an image; none where it is not one.
    fn parse(data: &[u8]) -> Option<Self> {
        let (head, payload) = data.split_first_chunk::<HEAD_BYTES>()?;
        let number = |at: usize| {
            let field = head.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*field))
        };
        if head.get(..6)? != MAGIC
            || head.get(6) != Some(&VERSION)
            || usize::try_from(number(16)?).ok()? != data.len()
        {
            return None;
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(head.get(..20)?);
        crc.update(&[0; 4]);
        crc.update(head.get(24..)?);
        crc.update(payload);
        let revision = *head.get(8..)?.first_chunk::<8>()?;
        let printable = revision.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if crc.finalize() != number(20)? || !printable || revision == [b' '; 8] {
            return None;
        }
        Some(Self {
            revision,
            activation: Activation::from_code(*head.get(7)?)?,
            activation_ms: number(24)?,
        })
    }
}

/// How a drive takes firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirmwareConfig {
    /// Slots, 1 to 7.
    pub slots: u8,
    /// Whether slot 1 cannot be written.
    pub first_read_only: bool,
    /// Granularity and alignment of the pieces of a download, units of 4096
    /// bytes; 255 for none.
    pub granularity: u8,
    /// The longest time that an activation without a reset may take, units of
    /// 100 ms.
    pub activation_max: u16,
    /// The size of the largest image, bytes.
    pub image_bytes_max: u32,
}

impl Default for FirmwareConfig {
    fn default() -> Self {
        Self {
            slots: 3,
            first_read_only: true,
            granularity: 1,
            activation_max: 100,
            image_bytes_max: 64 << 20,
        }
    }
}

impl FirmwareConfig {
    /// Firmware Updates of Identify Controller: the slots, and that images can
    /// be activated without a reset.
    pub(crate) fn frmw(&self) -> u8 {
        let slots = self.slots.clamp(1, SLOTS_MAX) << 1;
        let first = if self.first_read_only {
            IdentifyController::FRMW_SLOT1_READ_ONLY
        } else {
            0
        };
        slots | first | IdentifyController::FRMW_ACTIVATE_WITHOUT_RESET
    }
}

/// A download: its pieces, and what of it is there.
#[derive(Clone, Debug, Default)]
struct Download {
    data: Vec<u8>,
    /// Start and end of what is there, ascending, apart from each other.
    pieces: Vec<(usize, usize)>,
    overlapped: bool,
    /// A commit was tried: the next piece begins a new image.
    committed: bool,
}

/// Pieces that do not touch each other may be this many: a host that leaves so
/// many gaps does not download an image.
const PIECES_MAX: usize = 4096;

impl Download {
    /// Enters a piece.
    fn write(&mut self, at: usize, piece: &[u8]) -> Result<(), Status> {
        if self.committed {
            *self = Self::default();
        }
        let end = at.saturating_add(piece.len());
        let next = self.pieces.partition_point(|&(start, _)| start < at);
        let before = next.checked_sub(1).and_then(|index| self.pieces.get(index));
        if before.is_some_and(|&(_, last)| last > at)
            || self.pieces.get(next).is_some_and(|&(start, _)| start < end)
        {
            self.overlapped = true;
            return Err(Status::OVERLAPPING_RANGE.dnr());
        }
        if self.pieces.len() >= PIECES_MAX {
            return Err(Status::INVALID_FIELD.dnr());
        }
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        if let Some(slot) = self.data.get_mut(at..end) {
            slot.copy_from_slice(piece);
        }
        self.pieces.insert(next, (at, end));
        self.join(next);
        Ok(())
    }

    /// Makes the piece at `index` one with those that it touches.
    fn join(&mut self, index: usize) {
        for first in [index, index.saturating_sub(1)] {
            let second = first.saturating_add(1);
            let (Some(&(start, middle)), Some(&(from, end))) =
                (self.pieces.get(first), self.pieces.get(second))
            else {
                continue;
            };
            if middle == from {
                self.pieces.remove(second);
                if let Some(piece) = self.pieces.get_mut(first) {
                    *piece = (start, end);
                }
            }
        }
    }

    /// The image, where it is whole.
    fn image(&mut self) -> Result<Image, Status> {
        self.committed = true;
        if self.overlapped {
            return Err(Status::OVERLAPPING_RANGE.dnr());
        }
        let whole = self.pieces == [(0, self.data.len())];
        let image = if whole {
            Image::parse(&self.data)
        } else {
            None
        };
        image.ok_or(Status::INVALID_FIRMWARE_IMAGE.dnr())
    }
}

/// What a commit did, beside its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The slot that was meant; 0 where none was found.
    pub(crate) slot: u8,
    /// The revision in it.
    pub(crate) revision: [u8; 8],
    /// An activation started that takes a while: processing is paused.
    pub(crate) starting: bool,
}

/// The firmware of a drive. Its slots survive a power cycle, a download does
/// not survive a reset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Firmware {
    slots: [Option<Image>; 7],
    /// The slot whose image runs, and its revision: the slot may have another
    /// one by now.
    active: u8,
    running: [u8; 8],
    /// The slot whose image is to run after a reset.
    next: Option<u8>,
    /// The slot that was written last.
    written: Option<u8>,
    #[serde(skip)]
    download: Download,
    /// When the activation that goes on is over, and of which slot.
    #[serde(skip)]
    activating: Option<(u64, u8)>,
}

impl Firmware {
    /// A drive that came with `revision` in slot 1.
    pub(crate) fn new(revision: &str) -> Self {
        let revision = ascii_field(revision);
        let mut slots = [None; 7];
        if let Some(first) = slots.first_mut() {
            *first = Some(Image {
                revision,
                activation: Activation::Immediate,
                activation_ms: 0,
            });
        }
        Self {
            slots,
            active: 1,
            running: revision,
            next: None,
            written: None,
            download: Download::default(),
            activating: None,
        }
    }

    /// The revision that runs, for Identify Controller.
    pub(crate) const fn revision(&self) -> [u8; 8] {
        self.running
    }

    /// Firmware Image Download (`NVMe Base 2.1 §5.1.9`): checks where `bytes`
    /// from `offset` on may go, before they are transferred.
    pub(crate) fn check_piece(
        config: &FirmwareConfig,
        offset: u64,
        bytes: u64,
    ) -> Result<(), Status> {
        let unit = match config.granularity {
            u8::MAX | 0 => 4,
            units => u64::from(units).saturating_mul(GRANULARITY_UNIT.into()),
        };
        let end = offset.checked_add(bytes);
        let fits = end.is_some_and(|end| end <= u64::from(config.image_bytes_max));
        if !fits || !offset.is_multiple_of(unit) || !bytes.is_multiple_of(unit) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        Ok(())
    }

    /// Enters a piece that [`Firmware::check_piece`] let through.
    pub(crate) fn download(&mut self, offset: u64, piece: &[u8]) -> Result<(), Status> {
        let at = usize::try_from(offset).map_err(|_| Status::INVALID_FIELD.dnr())?;
        self.download.write(at, piece)
    }

    /// Firmware Commit (`NVMe Base 2.1 §5.1.8`). Some failures say that the
    /// image is committed, but waits for another reset.
    pub(crate) fn commit(
        &mut self,
        config: &FirmwareConfig,
        cdw10: FirmwareCommitCdw10,
        now_ns: u64,
    ) -> (Committed, Result<(), Status>) {
        let mut done = Committed::default();
        let result = self.try_commit(config, cdw10, now_ns, &mut done);
        (done, result)
    }

    fn try_commit(
        &mut self,
        config: &FirmwareConfig,
        cdw10: FirmwareCommitCdw10,
        now_ns: u64,
        done: &mut Committed,
    ) -> Result<(), Status> {
        let action = cdw10.ca();
        if action > FirmwareCommitCdw10::ACTIVATE_NOW {
            // There are no boot partitions.
            return Err(Status::INVALID_FIELD.dnr());
        }
        let has_download = !self.download.pieces.is_empty() && !self.download.committed;
        let replaces = action <= FirmwareCommitCdw10::REPLACE_AND_ACTIVATE
            || action == FirmwareCommitCdw10::ACTIVATE_NOW && has_download;
        let slot = self.slot_for(config, cdw10.fs(), replaces)?;
        done.slot = slot;
        if replaces {
            let image = self.download.image()?;
            done.revision = image.revision;
            if image.activation == Activation::Prohibited && action != FirmwareCommitCdw10::REPLACE
            {
                return Err(Status::FIRMWARE_ACTIVATION_PROHIBITED.dnr());
            }
            self.put(slot, image);
        }
        let image = self.get(slot).ok_or(Status::INVALID_FIRMWARE_IMAGE.dnr())?;
        done.revision = image.revision;
        if action == FirmwareCommitCdw10::REPLACE {
            return Ok(());
        }
        if image.activation == Activation::Prohibited {
            return Err(Status::FIRMWARE_ACTIVATION_PROHIBITED.dnr());
        }
        if action == FirmwareCommitCdw10::ACTIVATE_NOW {
            return self.activate_now(config, slot, image, now_ns, done);
        }
        self.next = Some(slot);
        match image.activation {
            Activation::ConventionalReset => Err(Status::FIRMWARE_NEEDS_CONVENTIONAL_RESET),
            Activation::SubsystemReset => Err(Status::FIRMWARE_NEEDS_SUBSYSTEM_RESET),
            _ => Ok(()),
        }
    }

    fn activate_now(
        &mut self,
        config: &FirmwareConfig,
        slot: u8,
        image: Image,
        now_ns: u64,
        done: &mut Committed,
    ) -> Result<(), Status> {
        let waits = match image.activation {
            Activation::ControllerReset => Some(Status::FIRMWARE_NEEDS_RESET),
            Activation::ConventionalReset => Some(Status::FIRMWARE_NEEDS_CONVENTIONAL_RESET),
            Activation::SubsystemReset => Some(Status::FIRMWARE_NEEDS_SUBSYSTEM_RESET),
            _ => None,
        };
        if let Some(status) = waits {
            self.next = Some(slot);
            return Err(status);
        }
        let takes_ms = u64::from(image.activation_ms);
        if takes_ms > u64::from(config.activation_max).saturating_mul(100) {
            return Err(Status::FIRMWARE_NEEDS_MAX_TIME.dnr());
        }
        let until_ns = now_ns.saturating_add(takes_ms.saturating_mul(1_000_000));
        self.activating = Some((until_ns, slot));
        done.starting = true;
        Ok(())
    }

    /// The slot that a commit means by `asked`.
    fn slot_for(&self, config: &FirmwareConfig, asked: u8, replaces: bool) -> Result<u8, Status> {
        let bad = Status::INVALID_FIRMWARE_SLOT.dnr();
        let count = config.slots.clamp(1, SLOTS_MAX);
        let first = if config.first_read_only { 2 } else { 1 };
        if asked > count || (replaces && asked != 0 && asked < first) {
            return Err(bad);
        }
        match (asked, replaces) {
            // An empty slot, else one whose image does not run.
            (0, true) => (first..=count)
                .find(|&slot| self.get(slot).is_none())
                .or_else(|| (first..=count).find(|&slot| slot != self.active))
                .or_else(|| (first <= count).then_some(first))
                .ok_or(bad),
            (0, false) => self.written.ok_or(bad),
            (slot, _) => Ok(slot),
        }
    }

    fn get(&self, slot: u8) -> Option<Image> {
        let index = usize::from(slot.checked_sub(1)?);
        self.slots.get(index).copied().flatten()
    }

    fn put(&mut self, slot: u8, image: Image) {
        let index = usize::from(slot.saturating_sub(1));
        if let Some(place) = self.slots.get_mut(index) {
            *place = Some(image);
            self.written = Some(slot);
        }
        self.download = Download::default();
    }

    /// Whether processing is paused for an activation (CSTS.PP).
    pub(crate) const fn is_activating(&self) -> bool {
        self.activating.is_some()
    }

    /// Ends an activation whose time is over; whether it did.
    pub(crate) fn poll(&mut self, now_ns: u64) -> bool {
        match self.activating {
            Some((until_ns, slot)) if until_ns <= now_ns => {
                self.activating = None;
                self.run(slot);
                true
            }
            _ => false,
        }
    }

    fn run(&mut self, slot: u8) -> bool {
        let Some(image) = self.get(slot) else {
            return false;
        };
        self.next = None;
        self.active = slot;
        self.running = image.revision;
        true
    }

    /// A reset: a download is discarded, and the image that waits for such a
    /// reset runs. Whether one was activated.
    pub(crate) fn reset(&mut self, kind: ResetKind) -> bool {
        self.download = Download::default();
        if let Some((_, slot)) = self.activating.take() {
            return self.run(slot);
        }
        let Some(slot) = self.next else {
            return false;
        };
        let reaches = match self.get(slot).map(|image| image.activation) {
            Some(Activation::ConventionalReset) => kind >= ResetKind::Conventional,
            Some(Activation::SubsystemReset) => kind == ResetKind::Subsystem,
            Some(Activation::Prohibited) | None => false,
            Some(_) => true,
        };
        reaches && self.run(slot)
    }

    /// The Firmware Slot Information log (`NVMe Base 2.1 §5.1.12.1.4`).
    pub(crate) fn log(&self) -> FirmwareSlotLog {
        // Bits 06:04 have the slot at the next reset.
        let next = self.next.map_or(0, |slot| slot << 4);
        let mut log = FirmwareSlotLog {
            active: self.active | next,
            ..FirmwareSlotLog::default()
        };
        for (revision, slot) in log.revisions.iter_mut().zip(&self.slots) {
            if let Some(image) = slot {
                *revision = image.revision;
            }
        }
        log
    }
}
