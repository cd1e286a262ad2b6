//! A profile taken from a drive.
//!
//! What a drive says is not to be believed: whatever it is, the profile that
//! comes out is one that [`Profile::parse`] takes, and a note says what had to
//! be changed.

mod capabilities;

use nvme::{
    GuardFormat, IdentifyController, IdentifyNamespace, IdentifyNvmNamespace, PowerStateDescriptor,
};

use super::{Identity, Limits, Memory, Profile, Thermal, check, convert};
use crate::{BlockFormat, OptionalCommand, PowerState};

/// What a drive says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Drive<'a> {
    /// Identify Controller.
    pub controller: &'a IdentifyController,
    /// Identify Namespace of one of its namespaces.
    pub namespace: &'a IdentifyNamespace,
    /// Identify Namespace of the NVM command set; none where there is none.
    pub nvm: Option<&'a IdentifyNvmNamespace>,
    /// The longest transfer of a command, bytes; none where there is no limit.
    pub transfer_bytes_max: Option<u64>,
    /// I/O queue pairs that it offers.
    pub queue_pairs_max: u16,
    /// Entries of an I/O queue (CAP.MQES).
    pub queue_entries_max: u32,
}

/// A profile taken from a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveProfile {
    /// The profile.
    pub profile: Profile,
    /// Where it differs from the drive, and why.
    pub changed: Vec<String>,
    /// What the drive can do, and the virtual SSD cannot.
    pub only_drive: Vec<&'static str>,
    /// What the virtual SSD can do, and the drive cannot.
    pub only_vssd: Vec<&'static str>,
}

impl DriveProfile {
    /// The profile as TOML, under comments that say where the virtual SSD and
    /// the drive differ.
    ///
    /// # Errors
    ///
    /// Those of [`Profile::to_toml`].
    pub fn to_toml(&self) -> Result<String, super::ProfileError> {
        let mut text = String::from(
            "# Taken from a drive. `vssd profile qemu` explains each field.\n\
             # Two drives of one serial number do not go together in one guest: leave\n\
             # identity.serial, identity.nqn and identity.uuid out for a second one.\n",
        );
        let mut list = |title: &str, items: &[&str]| {
            if items.is_empty() {
                return;
            }
            text.push_str("#\n# ");
            text.push_str(title);
            text.push('\n');
            for item in items {
                text.push_str("#   - ");
                text.push_str(item);
                text.push('\n');
            }
        };
        let changed: Vec<&str> = self.changed.iter().map(String::as_str).collect();
        list("Where this profile is not as the drive:", &changed);
        list(
            "What the drive has and the virtual SSD has not:",
            &self.only_drive,
        );
        list(
            "What the virtual SSD has and the drive has not:",
            &self.only_vssd,
        );
        text.push('\n');
        text.push_str(&self.profile.to_toml()?);
        Ok(text)
    }
}

impl Drive<'_> {
    /// The profile of this drive.
    #[must_use]
    pub fn profile(&self) -> DriveProfile {
        let mut taken = Taken {
            drive: *self,
            profile: Profile::default(),
            changed: Vec::new(),
        };
        taken.identity();
        taken.firmware();
        taken.limits();
        taken.formats();
        taken.power();
        taken.thermal();
        taken.rest();
        let Taken {
            profile, changed, ..
        } = taken;
        let (only_drive, only_vssd) = match profile.to_config() {
            Ok(config) => capabilities::compare(self, &config),
            Err(_) => (Vec::new(), Vec::new()),
        };
        DriveProfile {
            profile,
            changed,
            only_drive,
            only_vssd,
        }
    }
}

/// A profile as far as it is taken.
struct Taken<'a> {
    drive: Drive<'a>,
    profile: Profile,
    changed: Vec<String>,
}

impl Taken<'_> {
    fn note(&mut self, text: impl Into<String>) {
        self.changed.push(text.into());
    }

    /// `value`, or the nearest to it between `min` and `max`.
    fn clamped<N: Ord + Copy + std::fmt::Display>(
        &mut self,
        field: &str,
        value: N,
        min: N,
        max: N,
    ) -> N {
        let clamped = value.clamp(min, max);
        if clamped != value {
            self.note(format!("{field}: the drive says {value}"));
        }
        clamped
    }

    fn identity(&mut self) {
        let controller = self.drive.controller;
        let pci = &mut self.profile.pci;
        pci.vendor = controller.vid.get();
        pci.subsystem_vendor = controller.ssvid.get();
        pci.oui = convert::print_oui(controller.ieee);
        self.note("pci.device, pci.subsystem and pci.revision: Identify does not tell them");
        let model = self.text("identity.model", &controller.mn);
        let nguid = self.drive.namespace.nguid;
        self.profile.identity = Identity {
            serial: self.text("identity.serial", &controller.sn),
            model: model.unwrap_or_else(|| "unknown".to_owned()),
            nqn: self.text("identity.nqn", &controller.subnqn),
            uuid: (nguid != [0; 16]).then(|| convert::print_uuid(nguid)),
        };
        self.profile.firmware.revision = self.text("firmware.revision", &controller.fr);
    }

    fn firmware(&mut self) {
        let controller = self.drive.controller;
        let slots = controller.firmware_slots();
        let read_only = controller.frmw & IdentifyController::FRMW_SLOT1_READ_ONLY != 0;
        let granularity_bytes = controller.firmware_granularity_bytes();
        if granularity_bytes.is_none() {
            self.note("firmware.granularity_bytes: the drive does not tell");
        }
        let slots = self.clamped("firmware.slots", slots, 1, 7);
        let firmware = &mut self.profile.firmware;
        firmware.slots = slots;
        firmware.first_slot_read_only = read_only;
        firmware.granularity_bytes = granularity_bytes.unwrap_or(firmware.granularity_bytes);
        firmware.activation_ms_max = u32::from(controller.mtfa.get()).saturating_mul(100);
    }

    /// The printable text of `field`; none where it has none.
    fn text(&mut self, name: &str, field: &[u8]) -> Option<String> {
        // A qualified name ends at the first zero; the others have spaces.
        let end = field.iter().position(|byte| *byte == 0);
        let field = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
        let printable: String = field
            .iter()
            .filter(|byte| matches!(byte, b' '..=b'~'))
            .map(|byte| char::from(*byte))
            .take(223)
            .collect();
        let text = printable.trim();
        if printable.len() != field.len() {
            self.note(format!("{name}: what is not printable ASCII was left out"));
        }
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn limits(&mut self) {
        const BYTES_MAX: u64 = 32 << 20;
        let drive = self.drive;
        let transfer_bytes_max = match drive.transfer_bytes_max {
            Some(bytes) if bytes.is_power_of_two() => {
                self.clamped("limits.transfer_bytes_max", bytes, 8192, BYTES_MAX)
            }
            _ => {
                self.note("limits.transfer_bytes_max: the drive has no limit");
                BYTES_MAX
            }
        };
        let controller = drive.controller;
        let namespaces = match controller.mnan.get() {
            0 => controller.nn.get(),
            mnan => mnan,
        };
        let pairs = drive.queue_pairs_max;
        let entries = u16::try_from(drive.queue_entries_max).unwrap_or(u16::MAX);
        self.profile.limits = Limits {
            transfer_bytes_max,
            queue_pairs_max: self.clamped("limits.queue_pairs_max", pairs, 1, 511),
            queue_entries_max: self.clamped("limits.queue_entries_max", entries, 2, 4096),
            namespaces_max: self.clamped("limits.namespaces_max", namespaces, 1, 1024),
        };
    }

    fn formats(&mut self) {
        const FORMATS_MAX: usize = 16;
        let namespace = self.drive.namespace;
        let mut formats = Vec::new();
        let count = usize::from(namespace.nlbaf) + 1;
        for (index, lbaf) in namespace.lbaf.iter().take(count).enumerate() {
            let format = self.format(index, *lbaf);
            match format {
                Some(format) if formats.len() < FORMATS_MAX - 1 || format.metadata_bytes == 0 => {
                    formats.push(format);
                }
                _ => self.note(format!(
                    "LBA format {index} (2^{} bytes, {} of metadata) was left out",
                    lbaf.lbads,
                    lbaf.ms.get()
                )),
            }
        }
        formats.truncate(FORMATS_MAX);
        let plain = |format: &&BlockFormat| format.metadata_bytes == 0;
        let in_use = namespace.block_bytes();
        let same = formats
            .iter()
            .find(|format| plain(format) && Some(format.block_bytes) == in_use);
        let first = same.or_else(|| formats.iter().find(plain)).copied();
        let first = first.unwrap_or_else(|| {
            let added = BlockFormat::plain(512);
            formats.truncate(FORMATS_MAX - 1);
            formats.push(added);
            added
        });
        if in_use != Some(first.block_bytes) {
            self.note("capacity.block_bytes: the drive has a format in use that cannot be had");
        }
        self.profile.capacity.block_bytes = first.block_bytes;
        self.profile.format = formats;
    }

    /// The LBA format at `index`; none where the virtual SSD cannot have it.
    fn format(&self, index: usize, lbaf: nvme::LbaFormat) -> Option<BlockFormat> {
        let extended = self.drive.nvm.and_then(|nvm| nvm.format(index));
        let guard = match extended {
            Some(extended) => match GuardFormat::from_pif(extended.pif())? {
                GuardFormat::Guard16 => 16,
                GuardFormat::Guard32 => 32,
                GuardFormat::Guard64 => 64,
            },
            None => 16,
        };
        let format = BlockFormat {
            block_bytes: 1_u32.checked_shl(lbaf.lbads.into())?,
            metadata_bytes: lbaf.ms.get(),
            performance: lbaf.rp & 0b11,
            guard_bits: guard,
            storage_tag_bits: extended.map_or(0, |extended| extended.sts()),
        };
        check::block_format(format).is_ok().then_some(format)
    }

    fn power(&mut self) {
        let controller = self.drive.controller;
        let count = usize::from(controller.npss) + 1;
        let mut states = Vec::new();
        for (index, descriptor) in controller.psd.iter().take(count).enumerate() {
            let (mut state, exact) = power_state(descriptor);
            if index == 0 && state.non_operational {
                state.non_operational = false;
                self.note("power.state[0]: the drive says that it is non-operational");
            }
            if !exact {
                self.note(format!("power.state[{index}]: rounded"));
            }
            states.push(state);
        }
        if count > states.len() {
            self.note(format!("power.state: the drive says that it has {count}"));
        }
        self.profile.power.state = states;
        self.profile.features.apst = controller.apsta & IdentifyController::APSTA_SUPPORTED != 0;
    }

    fn thermal(&mut self) {
        let controller = self.drive.controller;
        let default = Profile::default().thermal;
        let (warning, critical) = (controller.wctemp.get(), controller.cctemp.get());
        let (mut warning_kelvin, mut critical_kelvin) = (warning, critical);
        if warning == 0 || critical == 0 || critical < warning {
            self.note(format!(
                "thermal.warning_kelvin, thermal.critical_kelvin: the drive says {warning} and \
                 {critical}"
            ));
            warning_kelvin = default.warning_kelvin;
            critical_kelvin = default.critical_kelvin;
        }
        let offered = controller.hctma.get() & IdentifyController::HCTMA_SUPPORTED != 0;
        let (min, max) = (controller.mntmt.get(), controller.mxtmt.get());
        let sound = min > 0 && min <= max;
        if offered && !sound {
            self.note(format!(
                "features.thermal_management: the drive has it, from {min} to {max} kelvin"
            ));
        }
        self.profile.features.thermal_management = offered && sound;
        self.profile.thermal = Thermal {
            warning_kelvin,
            critical_kelvin,
            ambient_kelvin: default.ambient_kelvin,
            load_kelvin: default.load_kelvin,
            management_kelvin_min: if sound {
                min
            } else {
                default.management_kelvin_min
            },
            management_kelvin_max: if sound {
                max
            } else {
                default.management_kelvin_max
            },
        };
    }

    fn rest(&mut self) {
        let controller = self.drive.controller;
        self.profile.features.withheld = OptionalCommand::ALL
            .into_iter()
            .filter(|command| !command.is_offered(controller))
            .collect();
        self.profile.memory = Memory {
            host_bytes_preferred: u64::from(controller.hmpre.get())
                .saturating_mul(nvme::PAGE_BYTES),
            ..self.profile.memory
        };
        self.profile.times.keep_alive_ms = u32::from(controller.kas.get()).saturating_mul(100);
        if controller.edstt.get() > 0 {
            let minutes = u64::from(controller.edstt.get());
            self.profile.times.self_test_extended_ms = minutes.saturating_mul(60_000);
        }
        self.note("memory.controller_bytes and features.contiguous_queues_required: Identify does not tell them");
        self.note("times.format_ms, times.sanitize_ms and times.self_test_short_ms: neither");
        self.note(
            "capacity.terabytes_written, thermal.ambient_kelvin and thermal.load_kelvin: nor them",
        );
    }
}

/// A power state, and whether it is told exactly.
fn power_state(descriptor: &PowerStateDescriptor) -> (PowerState, bool) {
    const RANK_MASK: u8 = 0b1_1111;
    let flags = descriptor.flags;
    let max = u32::from(descriptor.max_power.get());
    let fine = flags & PowerStateDescriptor::FLAGS_MAX_POWER_SCALE != 0;
    let (power_mw_max, max_exact) = if fine {
        (max / 10, max.is_multiple_of(10))
    } else {
        (max.saturating_mul(10), true)
    };
    let idle = u32::from(descriptor.idle_power.get());
    let (power_mw_idle, idle_exact) =
        match descriptor.idle_power_scale & PowerStateDescriptor::SCALE_MASK {
            PowerStateDescriptor::SCALE_100_MICROWATTS => (idle / 10, idle.is_multiple_of(10)),
            PowerStateDescriptor::SCALE_10_MILLIWATTS => (idle.saturating_mul(10), true),
            _ => (0, true),
        };
    let ranks = [
        descriptor.read_throughput,
        descriptor.read_latency,
        descriptor.write_throughput,
        descriptor.write_latency,
    ];
    let rank = ranks.into_iter().map(|rank| rank & RANK_MASK).max();
    let rank = rank.unwrap_or(0);
    let mut state = PowerState {
        power_mw_max,
        power_mw_idle,
        entry_us: descriptor.entry_latency_us.get(),
        exit_us: descriptor.exit_latency_us.get(),
        non_operational: flags & PowerStateDescriptor::FLAGS_NON_OPERATIONAL != 0,
        rank,
    };
    let mut exact = max_exact && idle_exact && ranks.iter().all(|other| *other == rank);
    // What the virtual SSD tells of idle power has a smaller range.
    if check::power_state(&state).is_err() {
        state.power_mw_idle = 0;
        exact = false;
    }
    (state, exact)
}
