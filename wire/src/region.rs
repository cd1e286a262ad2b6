//! A region's description, with the areas of it that can be mapped.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Command, RegionInfo, WireError};

/// `VFIO_REGION_INFO_CAP_SPARSE_MMAP`.
const CAP_SPARSE_MMAP: u16 = 1;

/// More capabilities than this in one chain are not followed.
const CAPS_MAX: usize = 16;

/// Head of an entry in the chain of capabilities ("VFIO cap header format").
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct CapHeader {
    id: u16,
    version: u16,
    next: u32,
}

/// "VFIO region info cap sparse mmap", before the areas.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SparseMmap {
    header: CapHeader,
    areas: u32,
    reserved: u32,
}

/// A part of a region that can be mapped.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SparseArea {
    /// Where it starts in the region, bytes. Where it starts in the file says
    /// [`RegionInfo::file_offset`].
    pub offset: u64,
    /// Its size, bytes.
    pub size: u64,
}

/// The payload of a reply to `VFIO_USER_DEVICE_GET_REGION_INFO`: `info`, and a
/// sparse-mmap capability if there are `areas`.
///
/// A client says in `room` (its `argsz`) how large a payload it takes. If that
/// is too small for the areas they are left out, and `argsz` in the reply tells
/// it what to ask for next time.
#[must_use]
pub fn encode_region_info(mut info: RegionInfo, areas: &[SparseArea], room: u32) -> Vec<u8> {
    let full = if areas.is_empty() {
        size_of::<RegionInfo>()
    } else {
        size_of_val(areas)
            .saturating_add(size_of::<RegionInfo>())
            .saturating_add(size_of::<SparseMmap>())
    };
    let full = u32::try_from(full).unwrap_or(u32::MAX);
    info.argsz = full;
    info.flags.set_caps(false);
    info.cap_offset = 0;
    if areas.is_empty() || room < full {
        return info.as_bytes().to_vec();
    }
    info.flags.set_caps(true);
    info.cap_offset = RegionInfo::BYTES;
    let sparse = SparseMmap {
        header: CapHeader {
            id: CAP_SPARSE_MMAP,
            version: 1,
            next: 0,
        },
        areas: u32::try_from(areas.len()).unwrap_or(u32::MAX),
        reserved: 0,
    };
    [info.as_bytes(), sparse.as_bytes(), areas.as_bytes()].concat()
}

/// The opposite of [`encode_region_info`]: the region, and the areas of it that
/// can be mapped, none if the reply has no such capability.
///
/// # Errors
///
/// [`WireError::Payload`] if the payload is short, or a capability points outside
/// of it.
pub fn decode_region_info(payload: &[u8]) -> Result<(RegionInfo, Vec<SparseArea>), WireError> {
    let wrong = |what| WireError::Payload {
        command: Command::DeviceGetRegionInfo,
        what,
        size: payload.len(),
    };
    let (info, _) = RegionInfo::read_from_prefix(payload)
        .map_err(|_| wrong("shorter than a region description"))?;
    if !info.flags.caps() {
        return Ok((info, Vec::new()));
    }
    let mut offset = info.cap_offset;
    for _ in 0..CAPS_MAX {
        if offset == 0 {
            return Ok((info, Vec::new()));
        }
        let at = usize::try_from(offset)
            .ok()
            .and_then(|at| payload.get(at..))
            .ok_or_else(|| wrong("a capability lies outside"))?;
        let (head, _) =
            CapHeader::read_from_prefix(at).map_err(|_| wrong("a capability is cut off"))?;
        if head.id != CAP_SPARSE_MMAP {
            offset = head.next;
            continue;
        }
        let (sparse, rest) =
            SparseMmap::read_from_prefix(at).map_err(|_| wrong("a capability is cut off"))?;
        return Ok((
            info,
            read_areas(rest, sparse.areas).ok_or_else(|| wrong("the areas to map are cut off"))?,
        ));
    }
    Err(wrong("the chain of capabilities does not end"))
}

/// `count` areas from the start of `bytes`, which need not be aligned.
fn read_areas(bytes: &[u8], count: u32) -> Option<Vec<SparseArea>> {
    let len = usize::try_from(count)
        .ok()?
        .checked_mul(size_of::<SparseArea>())?;
    bytes
        .get(..len)?
        .chunks_exact(size_of::<SparseArea>())
        .map(|chunk| SparseArea::read_from_bytes(chunk).ok())
        .collect()
}

impl RegionInfo {
    /// Size of the structure, bytes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "32; there is no fallible conversion in a constant"
    )]
    pub const BYTES: u32 = size_of::<Self>() as u32;

    /// Where `area` starts in the file behind the descriptor, bytes: the sum of
    /// both offsets modulo 2^64, as clients in C reckon. A server whose file
    /// starts with the area makes use of that.
    #[must_use]
    pub const fn file_offset(&self, area: &SparseArea) -> u64 {
        self.offset.wrapping_add(area.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegionFlags;

    const AREAS: [SparseArea; 2] = [
        SparseArea {
            offset: 0x1000,
            size: 0x1000,
        },
        SparseArea {
            offset: 0x4000,
            size: 0x2000,
        },
    ];

    fn bar() -> RegionInfo {
        RegionInfo {
            flags: RegionFlags::new()
                .with_read(true)
                .with_write(true)
                .with_mmap(true),
            size: 0x8000,
            ..RegionInfo::default()
        }
    }

    #[test]
    fn areas_survive_the_way() {
        let payload = encode_region_info(bar(), &AREAS, 4096);
        let (info, areas) = decode_region_info(&payload).unwrap();
        assert_eq!(areas, AREAS);
        assert_eq!(info.file_offset(&areas[1]), 0x4000);
        assert_eq!(info.size, 0x8000);
        assert_eq!(usize::try_from(info.argsz).unwrap(), payload.len());
    }

    #[test]
    fn a_client_with_too_little_room_learns_how_much_it_needs() {
        let payload = encode_region_info(bar(), &AREAS, 32);
        let (info, areas) = decode_region_info(&payload).unwrap();
        assert!(areas.is_empty() && !info.flags.caps());
        assert_eq!((payload.len(), info.argsz), (32, 32 + 16 + 32));
        assert_eq!(encode_region_info(bar(), &AREAS, info.argsz).len(), 80);
    }

    #[test]
    fn a_chain_that_goes_in_a_circle_ends() {
        let mut payload = encode_region_info(bar(), &AREAS, 4096);
        // Another identifier, and a pointer back to itself.
        payload[32] = 9;
        payload[36] = 32;
        assert!(matches!(
            decode_region_info(&payload),
            Err(WireError::Payload { .. })
        ));
    }
}
