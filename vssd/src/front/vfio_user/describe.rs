//! What the device has: its regions and its interrupt types.

use wire::{
    Command, DeviceFlags, DeviceInfo, IrqInfo, Message, RegionFlags, RegionInfo, RegionIoFds,
    SparseArea, irq_index, region_index,
};
use zerocopy::IntoBytes;

use super::bar;
use super::config_space;
use super::irqs::Irqs;
use super::reply::{Refusal, Reply, Share};
use crate::front::Function;

/// Size of a reply of that structure, bytes.
fn argsz<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// Size of a region, bytes, of a function with so large a controller memory
/// buffer; none for an index that does not exist.
pub(super) fn region_bytes(cmb_bytes: u64, index: u32) -> Option<u64> {
    match index {
        region_index::BAR0 => Some(u64::from(bar::BYTES)),
        bar::CMB => Some(cmb_bytes),
        region_index::CONFIG => u64::try_from(config_space::BYTES).ok(),
        // The other BARs, the ROM and VGA are there, and empty.
        _ if index < region_index::COUNT => Some(0),
        _ => None,
    }
}

pub(super) fn irq_info(irqs: &Irqs, message: &Message) -> Result<Reply, Refusal> {
    let (info, _) = message.parse::<IrqInfo>(Command::DeviceGetIrqInfo)?;
    let count = irqs.count(info.index)?;
    let reply = IrqInfo {
        argsz: argsz::<IrqInfo>(),
        flags: Irqs::flags(info.index),
        index: info.index,
        count: u32::try_from(count).unwrap_or(0),
    };
    Ok(reply.as_bytes().to_vec().into())
}

pub(super) fn device_info(message: &Message) -> Result<Reply, Refusal> {
    message.parse::<DeviceInfo>(Command::DeviceGetInfo)?;
    let info = DeviceInfo {
        argsz: argsz::<DeviceInfo>(),
        flags: DeviceFlags::new().with_reset(true).with_pci(true),
        regions: region_index::COUNT,
        irqs: irq_index::COUNT,
    };
    Ok(info.as_bytes().to_vec().into())
}

/// What a region is; the client gets no page for doorbells where they are
/// `trapped`.
pub(super) fn region_info(
    function: &dyn Function,
    trapped: bool,
    message: &Message,
) -> Result<Reply, Refusal> {
    let (asked, _) = message.parse::<RegionInfo>(Command::DeviceGetRegionInfo)?;
    let cmb = function.cmb();
    let cmb_bytes = cmb.map_or(0, |cmb| cmb.bytes);
    let Some(size) = region_bytes(cmb_bytes, asked.index) else {
        let why = format!("there is no region {}", asked.index);
        return Err(Refusal::invalid(why));
    };
    let exists = size != 0;
    let mut info = RegionInfo {
        flags: RegionFlags::new().with_read(exists).with_write(exists),
        index: asked.index,
        size,
        ..RegionInfo::default()
    };
    if asked.index == bar::CMB && exists {
        // All of it, from the start of its file.
        info.flags.set_mmap(true);
        let payload = wire::encode_region_info(info, &[], asked.argsz);
        let share = Share::Cmb;
        return Ok(Reply { payload, share });
    }
    if asked.index != region_index::BAR0 || trapped {
        return Ok(wire::encode_region_info(info, &[], asked.argsz).into());
    }
    let file = function.doorbells();
    let area = SparseArea {
        offset: u64::from(bar::DOORBELLS),
        size: file.bytes,
    };
    info.flags.set_mmap(true);
    // Clients add this and the offset of the area.
    info.offset = file.offset.wrapping_sub(area.offset);
    let payload = wire::encode_region_info(info, &[area], asked.argsz);
    // Without the areas, the descriptor would stand for the whole region.
    let share = if payload.len() > size_of::<RegionInfo>() {
        Share::Doorbells
    } else {
        Share::Nothing
    };
    Ok(Reply { payload, share })
}

/// No sub-region has a descriptor of its own: the doorbells are memory.
pub(super) fn region_io_fds(cmb_bytes: u64, message: &Message) -> Result<Reply, Refusal> {
    let (asked, _) = message.parse::<RegionIoFds>(Command::DeviceGetRegionIoFds)?;
    if region_bytes(cmb_bytes, asked.index).is_none() {
        let why = format!("there is no region {}", asked.index);
        return Err(Refusal::invalid(why));
    }
    let reply = RegionIoFds {
        argsz: argsz::<RegionIoFds>(),
        index: asked.index,
        ..RegionIoFds::default()
    };
    Ok(reply.as_bytes().to_vec().into())
}
