//! Making an image larger.

use std::io;

use imago::file::File;
use imago::format::PreallocateMode;
use imago::{FormatAccess, Mapping};

/// Makes `image` `bytes` bytes large, where it is smaller; what is new reads as
/// zeroes, and the image has its new size on disk. One that cannot be made so large
/// is as it was.
pub(super) fn grow(image: &mut FormatAccess<File>, bytes: u64) -> io::Result<()> {
    let old = image.size();
    if old >= bytes {
        return Ok(());
    }
    // The table of the tables that say where data is moves, and the library has no
    // barrier between the new one and the header that names it: a loss of power between
    // the two may cost the image. With all else on disk before, there is little between
    // them, and nothing is written to where the old one was until both are on disk.
    image.flush()?;
    image.sync()?;
    image.resize_grow(bytes, PreallocateMode::None)?;
    let grown = hide_base(image, old).and_then(|()| {
        image.flush()?;
        image.sync()
    });
    if grown.is_err() {
        image.resize_shrink(old)?;
    }
    grown
}

/// Has `image` read as zeroes from `old` on. What it builds on may be larger than it
/// was itself.
fn hide_base(image: &FormatAccess<File>, old: u64) -> io::Result<()> {
    let end = image.size();
    let mut at = old;
    while at < end {
        let (mapping, length) = image.get_mapping(at, end - at)?;
        match mapping {
            Mapping::Eof { .. } => break,
            Mapping::Zero { .. } => {}
            _ => image.write_zeroes(at, length)?,
        }
        at += length;
    }
    Ok(())
}
