//! The kernel's calls for VFIO and iommufd, one safe function for each.
#![expect(
    unsafe_code,
    reason = "an ioctl writes to memory that the compiler knows nothing of"
)]

use std::ffi::{CStr, c_void};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use iommufd_bindings as iommufd;
use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};
use vfio_bindings::bindings::vfio;

use crate::transport::memory::{IovaRange, Region};

/// The type of all of these calls: VFIO's and iommufd's is the same.
const TYPE: u8 = vfio::VFIO_TYPE;

/// Numbers of VFIO's calls, from `VFIO_BASE` on; some number two calls, on
/// descriptors of different kinds.
mod number {
    pub(super) const GET_API_VERSION: u8 = 100;
    pub(super) const CHECK_EXTENSION: u8 = 101;
    pub(super) const SET_IOMMU: u8 = 102;
    pub(super) const GROUP_GET_STATUS: u8 = 103;
    pub(super) const GROUP_SET_CONTAINER: u8 = 104;
    pub(super) const GROUP_GET_DEVICE_FD: u8 = 106;
    pub(super) const DEVICE_GET_INFO: u8 = 107;
    pub(super) const DEVICE_GET_REGION_INFO: u8 = 108;
    pub(super) const DEVICE_GET_IRQ_INFO: u8 = 109;
    pub(super) const DEVICE_SET_IRQS: u8 = 110;
    pub(super) const DEVICE_RESET: u8 = 111;
    pub(super) const DEVICE_GET_PCI_HOT_RESET_INFO: u8 = 112;
    pub(super) const IOMMU_GET_INFO: u8 = 112;
    pub(super) const DEVICE_PCI_HOT_RESET: u8 = 113;
    pub(super) const IOMMU_MAP_DMA: u8 = 113;
    pub(super) const DEVICE_BIND_IOMMUFD: u8 = 118;
    pub(super) const DEVICE_ATTACH_IOMMUFD_PT: u8 = 119;
    pub(super) const IOAS_ALLOC: u8 = 129;
    pub(super) const IOAS_IOVA_RANGES: u8 = 132;
    pub(super) const IOAS_MAP: u8 = 133;
}

/// An interrupt index of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Irq {
    /// MSI-X vectors.
    MsiX,
    /// A fatal error on the link.
    Error,
    /// The kernel wants the device back.
    Request,
}

impl Irq {
    const fn index(self) -> u32 {
        match self {
            Self::MsiX => vfio::VFIO_PCI_MSIX_IRQ_INDEX,
            Self::Error => vfio::VFIO_PCI_ERR_IRQ_INDEX,
            Self::Request => vfio::VFIO_PCI_REQ_IRQ_INDEX,
        }
    }
}

/// A region of a PCI function that the driver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegionIndex {
    /// Registers and doorbells.
    Bar0,
    /// Configuration space.
    Config,
}

/// Where a region is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionPlace {
    /// Bytes.
    pub(super) size: u64,
    /// From the beginning of the descriptor, bytes.
    pub(super) offset: u64,
    /// The parts that can be mapped: start and length, bytes.
    pub(super) mappable: Vec<(u64, u64)>,
}

/// A function that a reset of the bus would reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dependent {
    /// Its IOMMU group.
    pub(super) group: u32,
    /// Its domain, bus, and device and function number.
    pub(super) place: (u16, u8, u8),
}

/// A call whose argument is a pointer or a number.
struct Call {
    opcode: Opcode,
    argument: *mut c_void,
}

// SAFETY: whoever makes one gives an argument that fits the opcode, and the
// output is the call's own return value.
unsafe impl Ioctl for Call {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<IoctlOutput> {
        Ok(output)
    }
}

/// # Safety
///
/// The call `number` on `fd` reads and writes `argument` as a `V`, and with it
/// what that points to.
unsafe fn exchange<V>(fd: BorrowedFd<'_>, number: u8, argument: &mut V) -> Result<IoctlOutput> {
    let call = Call {
        opcode: opcode::none(TYPE, number),
        argument: std::ptr::from_mut(argument).cast(),
    };
    // SAFETY: as the caller says.
    unsafe { rustix::ioctl::ioctl(fd, call) }
}

/// A call whose argument is a number.
fn pass(fd: BorrowedFd<'_>, number: u8, argument: usize) -> Result<IoctlOutput> {
    let call = Call {
        opcode: opcode::none(TYPE, number),
        argument: std::ptr::without_provenance_mut(argument),
    };
    // SAFETY: the kernel takes the argument for a number, and touches no memory.
    unsafe { rustix::ioctl::ioctl(fd, call) }
}

/// The size of a structure, as its first field has it.
fn size<V>() -> u32 {
    u32::try_from(size_of::<V>()).unwrap_or(u32::MAX)
}

fn adopt(fd: IoctlOutput) -> OwnedFd {
    // SAFETY: the kernel has just made the descriptor, for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Whether `container` speaks this version of VFIO, with type 1 IOMMUs.
pub(super) fn is_type1(container: BorrowedFd<'_>) -> Result<bool> {
    let version = pass(container, number::GET_API_VERSION, 0)?;
    let extension = vfio::VFIO_TYPE1v2_IOMMU as usize;
    let has_type1 = pass(container, number::CHECK_EXTENSION, extension)?;
    let wanted = i32::try_from(vfio::VFIO_API_VERSION).unwrap_or(0);
    Ok(version == wanted && has_type1 == 1)
}

/// Whether all devices of `group` are with VFIO, or with no driver.
pub(super) fn is_viable(group: BorrowedFd<'_>) -> Result<bool> {
    let mut status = vfio::vfio_group_status {
        argsz: size::<vfio::vfio_group_status>(),
        flags: 0,
    };
    // SAFETY: the structure is this call's.
    unsafe { exchange(group, number::GROUP_GET_STATUS, &mut status)? };
    Ok(status.flags & vfio::VFIO_GROUP_FLAGS_VIABLE != 0)
}

/// Puts `group` into `container`.
pub(super) fn set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> Result<()> {
    let mut fd: RawFd = container.as_raw_fd();
    // SAFETY: the call reads one descriptor.
    unsafe { exchange(group, number::GROUP_SET_CONTAINER, &mut fd) }.map(drop)
}

/// Gives `container` an IOMMU of type 1.
pub(super) fn set_type1(container: BorrowedFd<'_>) -> Result<()> {
    let kind = vfio::VFIO_TYPE1v2_IOMMU as usize;
    pass(container, number::SET_IOMMU, kind).map(drop)
}

/// The device `address` of `group`.
pub(super) fn device(group: BorrowedFd<'_>, address: &CStr) -> Result<OwnedFd> {
    let call = Call {
        opcode: opcode::none(TYPE, number::GROUP_GET_DEVICE_FD),
        argument: address.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the call reads a C string.
    unsafe { rustix::ioctl::ioctl(group, call) }.map(adopt)
}

/// Whether `device` is a PCI function, and whether it can be reset alone.
pub(super) fn device_info(device: BorrowedFd<'_>) -> Result<(bool, bool)> {
    let mut info = vfio::vfio_device_info {
        argsz: size::<vfio::vfio_device_info>(),
        flags: 0,
        num_regions: 0,
        num_irqs: 0,
        cap_offset: 0,
        pad: 0,
    };
    // SAFETY: the structure is this call's.
    unsafe { exchange(device, number::DEVICE_GET_INFO, &mut info)? };
    Ok((
        info.flags & vfio::VFIO_DEVICE_FLAGS_PCI != 0,
        info.flags & vfio::VFIO_DEVICE_FLAGS_RESET != 0,
    ))
}

/// Room for what follows a structure, bytes: capabilities of a few dozen each.
const ROOM: usize = 4096;

/// A structure that the kernel writes more behind.
#[repr(C)]
struct Roomy<V> {
    head: V,
    room: [u8; ROOM],
}

impl<V> Roomy<V> {
    fn new(head: V) -> Self {
        Self {
            head,
            room: [0; ROOM],
        }
    }

    /// The capabilities of a chain that begins `offset` bytes from the
    /// structure's start: identifier and content.
    fn capabilities(&self, offset: u32) -> impl Iterator<Item = (u16, &[u8])> {
        let tail = move |offset: u32| {
            let offset = (offset as usize).checked_sub(size_of::<V>())?;
            self.room.get(offset..)
        };
        let mut next = offset;
        // Each takes eight bytes at least.
        (0..ROOM / 8).map_while(move |_| {
            if next == 0 {
                return None;
            }
            let (head, content) = tail(next)?.split_at_checked(8)?;
            next = word(head, 4)?;
            let id = head.first_chunk().copied().map(u16::from_ne_bytes)?;
            Some((id, content))
        })
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

/// `count` pairs of 64-bit numbers from `offset` on.
fn pairs(bytes: &[u8], offset: usize, count: u32) -> Vec<(u64, u64)> {
    let pair = |index| Some((long(bytes, index)?, long(bytes, index + 8)?));
    (0..count as usize)
        .map_while(|index| pair(offset + index * 16))
        .collect()
}

/// Where a region of `device` is.
pub(super) fn region(device: BorrowedFd<'_>, index: RegionIndex) -> Result<RegionPlace> {
    let mut info = Roomy::new(vfio::vfio_region_info {
        argsz: size::<Roomy<vfio::vfio_region_info>>(),
        flags: 0,
        index: match index {
            RegionIndex::Bar0 => vfio::VFIO_PCI_BAR0_REGION_INDEX,
            RegionIndex::Config => vfio::VFIO_PCI_CONFIG_REGION_INDEX,
        },
        cap_offset: 0,
        size: 0,
        offset: 0,
    });
    // SAFETY: the structure is this call's, and `argsz` tells of the room.
    unsafe { exchange(device, number::DEVICE_GET_REGION_INFO, &mut info)? };
    let head = &info.head;
    let mut mappable = Vec::new();
    if head.flags & vfio::VFIO_REGION_INFO_FLAG_MMAP != 0 {
        mappable.push((0, head.size));
    }
    if head.flags & vfio::VFIO_REGION_INFO_FLAG_CAPS != 0 {
        for (id, content) in info.capabilities(head.cap_offset) {
            if u32::from(id) == vfio::VFIO_REGION_INFO_CAP_SPARSE_MMAP {
                let count = word(content, 0).unwrap_or(0);
                mappable = pairs(content, 8, count);
            }
        }
    }
    Ok(RegionPlace {
        size: head.size,
        offset: head.offset,
        mappable,
    })
}

/// How many interrupts an index of `device` has.
pub(super) fn irq_count(device: BorrowedFd<'_>, irq: Irq) -> Result<u32> {
    let mut info = vfio::vfio_irq_info {
        argsz: size::<vfio::vfio_irq_info>(),
        flags: 0,
        index: irq.index(),
        count: 0,
    };
    // SAFETY: the structure is this call's.
    unsafe { exchange(device, number::DEVICE_GET_IRQ_INFO, &mut info)? };
    Ok(info.count)
}

/// Has the interrupts from `start` on signal `events`; none detaches one.
pub(super) fn set_irqs(
    device: BorrowedFd<'_>,
    irq: Irq,
    start: u32,
    events: &[Option<BorrowedFd<'_>>],
) -> Result<()> {
    let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
    // No events at all mean: all off.
    let data = match count {
        0 => vfio::VFIO_IRQ_SET_DATA_NONE,
        _ => vfio::VFIO_IRQ_SET_DATA_EVENTFD,
    };
    let head: [u32; 5] = [
        (count.saturating_add(5)).saturating_mul(4),
        data | vfio::VFIO_IRQ_SET_ACTION_TRIGGER,
        irq.index(),
        start,
        count,
    ];
    let events = events
        .iter()
        .map(|event| event.map_or(-1, |event| event.as_raw_fd()).cast_unsigned());
    let mut words: Vec<u32> = head.into_iter().chain(events).collect();
    let call = Call {
        opcode: opcode::none(TYPE, number::DEVICE_SET_IRQS),
        argument: words.as_mut_ptr().cast(),
    };
    // SAFETY: five words and then the descriptors are this call's structure,
    // whose first word tells its size.
    unsafe { rustix::ioctl::ioctl(device, call) }.map(drop)
}

/// Resets the function.
pub(super) fn reset(device: BorrowedFd<'_>) -> Result<()> {
    pass(device, number::DEVICE_RESET, 0).map(drop)
}

/// The functions that a reset of the bus of `device` would reset.
pub(super) fn hot_reset_dependents(device: BorrowedFd<'_>) -> Result<Vec<Dependent>> {
    #[repr(C)]
    struct Head {
        argsz: u32,
        flags: u32,
        count: u32,
    }
    let mut info = Roomy::new(Head {
        argsz: size::<Roomy<Head>>(),
        flags: 0,
        count: 0,
    });
    // SAFETY: the structure is this call's, and `argsz` tells of the room.
    unsafe { exchange(device, number::DEVICE_GET_PCI_HOT_RESET_INFO, &mut info)? };
    let dependent = |bytes: &[u8]| {
        let &[a, b, c, d, e, f, bus, devfn] = bytes.first_chunk()?;
        Some(Dependent {
            group: u32::from_ne_bytes([a, b, c, d]),
            place: (u16::from_ne_bytes([e, f]), bus, devfn),
        })
    };
    let chunks = info.room.chunks_exact(8).take(info.head.count as usize);
    Ok(chunks.filter_map(dependent).collect())
}

/// Resets the bus of `device`; `group` holds all that is on it. Without one,
/// iommufd knows who owns what.
pub(super) fn hot_reset(device: BorrowedFd<'_>, group: Option<BorrowedFd<'_>>) -> Result<()> {
    let fd = group.map_or(0, |group| group.as_raw_fd().cast_unsigned());
    let count = u32::from(group.is_some());
    let mut words: [u32; 4] = [12 + 4 * count, 0, count, fd];
    // SAFETY: three words and then the descriptors are this call's structure,
    // whose first word tells its size.
    unsafe { exchange(device, number::DEVICE_PCI_HOT_RESET, &mut words) }.map(drop)
}

/// What the devices in `container` may use; nothing where the kernel does not
/// tell.
pub(super) fn type1_ranges(container: BorrowedFd<'_>) -> Result<Vec<IovaRange>> {
    let mut info = Roomy::new(vfio::vfio_iommu_type1_info {
        argsz: size::<Roomy<vfio::vfio_iommu_type1_info>>(),
        flags: 0,
        iova_pgsizes: 0,
        cap_offset: 0,
        pad: 0,
    });
    // SAFETY: the structure is this call's, and `argsz` tells of the room.
    unsafe { exchange(container, number::IOMMU_GET_INFO, &mut info)? };
    let mut ranges = Vec::new();
    if info.head.flags & vfio::VFIO_IOMMU_INFO_CAPS != 0 {
        for (id, content) in info.capabilities(info.head.cap_offset) {
            if u32::from(id) == vfio::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE {
                let count = word(content, 0).unwrap_or(0);
                let range = |(first, last)| IovaRange { first, last };
                ranges = pairs(content, 8, count).into_iter().map(range).collect();
            }
        }
    }
    Ok(ranges)
}

/// Shows memory to the devices in `container`. The kernel keeps its pages until
/// the container is closed, whether the process still maps them or not.
pub(super) fn type1_map(container: BorrowedFd<'_>, region: &Region) -> Result<()> {
    let mut map = vfio::vfio_iommu_type1_dma_map {
        argsz: size::<vfio::vfio_iommu_type1_dma_map>(),
        flags: vfio::VFIO_DMA_MAP_FLAG_READ | vfio::VFIO_DMA_MAP_FLAG_WRITE,
        vaddr: region.address(),
        iova: region.iova(),
        size: region.len() as u64,
    };
    // SAFETY: the structure is this call's; the memory is a region, which is only
    // ever accessed by copies and atomics.
    unsafe { exchange(container, number::IOMMU_MAP_DMA, &mut map) }.map(drop)
}

/// Binds `device` to `iommufd`.
pub(super) fn bind(device: BorrowedFd<'_>, iommufd: BorrowedFd<'_>) -> Result<()> {
    let mut bind = vfio::vfio_device_bind_iommufd {
        argsz: size::<vfio::vfio_device_bind_iommufd>(),
        flags: 0,
        iommufd: iommufd.as_raw_fd(),
        out_devid: 0,
        token_uuid_ptr: 0,
    };
    // SAFETY: the structure is this call's.
    unsafe { exchange(device, number::DEVICE_BIND_IOMMUFD, &mut bind) }.map(drop)
}

/// Gives `device` the address space `ioas`.
pub(super) fn attach(device: BorrowedFd<'_>, ioas: u32) -> Result<()> {
    let mut attach = vfio::vfio_device_attach_iommufd_pt {
        argsz: size::<vfio::vfio_device_attach_iommufd_pt>(),
        flags: 0,
        pt_id: ioas,
        pasid: 0,
    };
    // SAFETY: the structure is this call's.
    unsafe { exchange(device, number::DEVICE_ATTACH_IOMMUFD_PT, &mut attach) }.map(drop)
}

/// A new address space.
pub(super) fn ioas(fd: BorrowedFd<'_>) -> Result<u32> {
    let mut alloc = iommufd::iommu_ioas_alloc {
        size: size::<iommufd::iommu_ioas_alloc>(),
        flags: 0,
        out_ioas_id: 0,
    };
    // SAFETY: the structure is this call's.
    unsafe { exchange(fd, number::IOAS_ALLOC, &mut alloc)? };
    Ok(alloc.out_ioas_id)
}

/// What the devices of an address space may use.
pub(super) fn ioas_ranges(fd: BorrowedFd<'_>, ioas: u32) -> Result<Vec<IovaRange>> {
    let mut found = [[0_u64; 2]; 64];
    let mut ranges = iommufd::iommu_ioas_iova_ranges {
        size: size::<iommufd::iommu_ioas_iova_ranges>(),
        ioas_id: ioas,
        num_iovas: 64,
        __reserved: 0,
        allowed_iovas: found.as_mut_ptr().expose_provenance() as u64,
        out_iova_alignment: 0,
    };
    // SAFETY: the structure is this call's, and points to room for 64 ranges.
    unsafe { exchange(fd, number::IOAS_IOVA_RANGES, &mut ranges)? };
    let found = found.iter().take(ranges.num_iovas as usize);
    Ok(found
        .map(|[first, last]| IovaRange {
            first: *first,
            last: *last,
        })
        .collect())
}

/// Shows memory to the devices of an address space; the kernel keeps its pages
/// until `fd` is closed.
pub(super) fn ioas_map(fd: BorrowedFd<'_>, ioas: u32, region: &Region) -> Result<()> {
    let flags = iommufd::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE
        | iommufd::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE
        | iommufd::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA;
    let mut map = iommufd::iommu_ioas_map {
        size: size::<iommufd::iommu_ioas_map>(),
        flags,
        ioas_id: ioas,
        __reserved: 0,
        user_va: region.address(),
        length: region.len() as u64,
        iova: region.iova(),
    };
    // SAFETY: the structure is this call's; the memory is a region, which is only
    // ever accessed by copies and atomics.
    unsafe { exchange(fd, number::IOAS_MAP, &mut map) }.map(drop)
}
