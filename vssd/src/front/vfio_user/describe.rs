//! What the device has: its regions and its interrupt types.

use wire::{
    Command, DeviceFlags, DeviceInfo, IrqInfo, IrqInfoFlags, Message, RegionFlags, RegionInfo,
    RegionIoFds, SparseArea, irq_index, region_index,
};
use zerocopy::IntoBytes;

use super::bar;
use super::config_space;
use super::reply::{Refusal, Reply};
use crate::front::Function;

/// Size of a reply of that structure, bytes.
fn argsz<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// Size of a region, bytes; none for an index that does not exist.
pub(super) fn region_bytes(index: u32) -> Option<u64> {
    match index {
        region_index::BAR0 => Some(u64::from(bar::BYTES)),
        region_index::CONFIG => u64::try_from(config_space::BYTES).ok(),
        // The other BARs, the ROM and VGA are there, and empty.
        _ if index < region_index::COUNT => Some(0),
        _ => None,
    }
}

/// How many vectors an interrupt type has, where MSI-X has `msix`.
pub(super) fn irq_count(msix: usize, index: u32) -> Result<usize, Refusal> {
    match index {
        irq_index::INTX | irq_index::MSI => Ok(0),
        irq_index::MSIX => Ok(msix),
        // They can be set up, as QEMU wants to, and never come.
        irq_index::ERR | irq_index::REQ => Ok(1),
        _ => Err(Refusal::invalid(format!(
            "there is no interrupt type {index}"
        ))),
    }
}

pub(super) fn irq_info(msix: usize, message: &Message) -> Result<Reply, Refusal> {
    let (info, _) = message.parse::<IrqInfo>(Command::DeviceGetIrqInfo)?;
    let count = irq_count(msix, info.index)?;
    let reply = IrqInfo {
        argsz: argsz::<IrqInfo>(),
        flags: IrqInfoFlags::new().with_eventfd(true),
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

pub(super) fn region_info(function: &dyn Function, message: &Message) -> Result<Reply, Refusal> {
    let (asked, _) = message.parse::<RegionInfo>(Command::DeviceGetRegionInfo)?;
    let Some(size) = region_bytes(asked.index) else {
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
    if asked.index != region_index::BAR0 {
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
    let doorbells = payload.len() > size_of::<RegionInfo>();
    Ok(Reply { payload, doorbells })
}

/// No sub-region has a descriptor of its own: the doorbells are memory.
pub(super) fn region_io_fds(message: &Message) -> Result<Reply, Refusal> {
    let (asked, _) = message.parse::<RegionIoFds>(Command::DeviceGetRegionIoFds)?;
    if region_bytes(asked.index).is_none() {
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
