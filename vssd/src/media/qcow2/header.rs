//! What the header of a qcow2 image says that keeps us from using it.
//!
//! The library that reads these images does not look at everything, and its
//! messages name bits; these name the way out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use zerocopy::FromBytes;
use zerocopy::big_endian::{U32, U64};

/// The first bytes of every qcow2 image.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bits of the incompatible features (QEMU, docs/interop/qcow2.rst).
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// The header, as far as it matters here.
#[derive(FromBytes)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U32,
    backing_offset: U64,
    backing_bytes: U32,
    cluster_bits: U32,
    size: U64,
    encryption: U32,
    _tables: [u8; 24],
    _snapshots: [u8; 12],
    /// From version 3 on.
    incompatible: U64,
}

/// What is to be known of an image before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Whether it is one at all.
    pub(super) is_qcow2: bool,
    /// Whether it names a file that it builds on.
    pub(super) has_backing: bool,
}

/// Looks at the header of `file`.
///
/// # Errors
///
/// What keeps a qcow2 image from being used, or what the system says.
pub(super) fn look_at(file: &File) -> io::Result<Summary> {
    let mut bytes = [0_u8; size_of::<Header>()];
    let mut have = 0;
    while have < bytes.len() {
        let at = u64::try_from(have).unwrap_or(u64::MAX);
        match file.read_at(bytes.get_mut(have..).unwrap_or_default(), at) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let none = Summary {
        is_qcow2: false,
        has_backing: false,
    };
    let Ok(header) = Header::read_from_bytes(&bytes) else {
        return Ok(none);
    };
    if header.magic != MAGIC {
        return Ok(none);
    }
    let version = header.version.get();
    let refused = match version {
        2 | 3 => refusal(&header),
        _ => Some(format!(
            "it is qcow version {version}, not 2 or 3: convert it with `qemu-img convert -O qcow2`"
        )),
    };
    match refused {
        Some(refused) => Err(io::Error::other(refused)),
        None => Ok(Summary {
            is_qcow2: true,
            has_backing: header.backing_offset.get() != 0 && header.backing_bytes.get() != 0,
        }),
    }
}

/// Why an image with this header is not to be used.
fn refusal(header: &Header) -> Option<String> {
    if header.encryption.get() != 0 {
        return Some("it is encrypted: decrypt it with `qemu-img convert` first".to_owned());
    }
    if header.version.get() < 3 {
        return None;
    }
    let bits = header.incompatible.get();
    let has = |bit| bits & bit != 0;
    let unknown = bits & !(DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | EXTENDED_L2);
    if unknown != 0 {
        return Some(format!(
            "it uses features that are not known here ({unknown:#x}): convert it with `qemu-img \
             convert -O qcow2`"
        ));
    }
    if has(EXTERNAL_DATA) {
        return Some(
            "it keeps its data in another file: convert it with `qemu-img convert`".into(),
        );
    }
    if has(COMPRESSION) || has(EXTENDED_L2) {
        let what = if has(COMPRESSION) {
            "a compression other than zlib"
        } else {
            "subclusters (extended_l2)"
        };
        return Some(format!(
            "it uses {what}: convert it with `qemu-img convert -O qcow2`"
        ));
    }
    if has(DIRTY) || has(CORRUPT) {
        return Some(
            "it was not closed cleanly, or is damaged: repair it with `qemu-img check -r all`"
                .to_owned(),
        );
    }
    None
}
