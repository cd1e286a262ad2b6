use super::layout::{
    AER, BAR0, COMMAND, DEVICE_CONTROL, DEVICE_STATUS, ERROR_CONTROL, EXPRESS, HEADER_LOG, LTR,
    MSI, MSIX, PM, POWER, SECONDARY, SERIAL, STATUS, UNCORRECTABLE_MASK, UNCORRECTABLE_STATUS,
};
use super::*;
use crate::front::vfio_user::bar;

const SHAPE: Shape = Shape {
    identity: PciIdentity::QEMU,
    serial: 0x5254_00aa_bbcc_ddee,
    vectors: 65,
    cmb_bytes: 0,
};

fn space() -> ConfigSpace {
    ConfigSpace::new(SHAPE)
}

/// What every bit of a register is: where it stands, how wide it is, and the
/// bits that take what is written; that ones clear; that any reset leaves alone;
/// that a function level reset leaves alone besides. Written down from the
/// specification, apart from the layout.
const BITS: &[(usize, usize, u32, u32, u32, u32)] = &[
    (COMMAND, 2, 0x0546, 0, 0, 0),
    (STATUS, 2, 0, 0xf900, 0, 0),
    (0x0c, 4, 0xff, 0, 0, 0),
    (BAR0, 4, 0xffff_8000, 0, 0, 0),
    (BAR0 + 4, 4, u32::MAX, 0, 0, 0),
    (0x3c, 4, 0xff, 0, 0, 0),
    (MSI, 4, 0x0071_0000, 0, 0, 0),
    (MSI + 0x04, 4, 0xffff_fffc, 0, 0, 0),
    (MSI + 0x08, 4, u32::MAX, 0, 0, 0),
    (MSI + 0x0c, 4, 0x0000_ffff, 0, 0, 0),
    (MSI + 0x10, 4, u32::MAX, 0, 0, 0),
    (MSIX, 4, 0xc000_0000, 0, 0, 0),
    (DEVICE_CONTROL, 2, 0x79ff, 0, 0, 0x00e0),
    (DEVICE_STATUS, 2, 0, 0x000f, 0, 0),
    (EXPRESS + 0x10, 4, 0x02cb, 0, 0, 0x02cb),
    (EXPRESS + 0x28, 4, 0x041f, 0, 0, 0),
    (
        EXPRESS + 0x30,
        4,
        0xffbf,
        0x0020_0000,
        0x0000_ffff,
        0x0020_0000,
    ),
    (AER + 0x04, 4, 0, 0x0057_f010, u32::MAX, 0),
    (AER + 0x08, 4, 0x0057_f010, 0, u32::MAX, 0),
    (AER + 0x0c, 4, 0x0057_f010, 0, u32::MAX, 0),
    (AER + 0x10, 4, 0, 0x0000_71c1, u32::MAX, 0),
    (AER + 0x14, 4, 0x0000_71c1, 0, u32::MAX, 0),
    (AER + 0x18, 4, 0, 0, u32::MAX, 0),
    (AER + 0x1c, 4, 0, 0, u32::MAX, 0),
    (AER + 0x20, 4, 0, 0, u32::MAX, 0),
    (AER + 0x24, 4, 0, 0, u32::MAX, 0),
    (AER + 0x28, 4, 0, 0, u32::MAX, 0),
    (LTR + 0x04, 4, 0x1fff_1fff, 0, 0, 0x1fff_1fff),
    (SECONDARY + 0x08, 4, 0, 0x0000_000f, u32::MAX, 0),
];

fn mask(at: usize, pick: impl Fn(&(usize, usize, u32, u32, u32, u32)) -> u32) -> u8 {
    BITS.iter()
        .find(|row| (row.0..row.0 + row.1).contains(&at))
        .map_or(0, |row| pick(row).to_le_bytes()[at - row.0])
}

/// Whether single bits are tried elsewhere: power states that are not there, and
/// the bit that resets.
fn special(at: usize) -> bool {
    at == POWER || at == DEVICE_CONTROL + 1
}

#[test]
fn every_bit_can_be_written_or_cleared_or_neither() {
    for at in (0..BYTES).filter(|at| !special(*at)) {
        for bit in (0..8).map(|bit| 1_u8 << bit) {
            let mut space = space();
            let before = space.byte(at);
            // A one.
            space.cells[at].value = before & !bit;
            space.write(at, &[space.byte(at) & mask(at, |row| row.2) | bit]);
            let set = space.byte(at) & bit != 0;
            assert_eq!(
                set,
                mask(at, |row| row.2) & bit != 0,
                "{at:#x} {bit:#x} := 1"
            );
            // A zero, and a one where there is a one.
            space.cells[at].value = before | bit;
            space.write(at, &[space.byte(at) & mask(at, |row| row.2) & !bit]);
            let cleared = space.byte(at) & bit == 0;
            assert_eq!(
                cleared,
                mask(at, |row| row.2) & bit != 0,
                "{at:#x} {bit:#x} := 0"
            );
            space.cells[at].value = before | bit;
            space.write(at, &[space.byte(at) & mask(at, |row| row.2) | bit]);
            let cleared = space.byte(at) & bit == 0;
            assert_eq!(
                cleared,
                mask(at, |row| row.3) & bit != 0,
                "{at:#x} {bit:#x} w1c"
            );
        }
    }
}

#[test]
fn each_reset_leaves_alone_what_is_not_its_own() {
    for reset in [Reset::Function, Reset::Bus] {
        for at in 0..BYTES {
            let mut space = space();
            let initial = space.byte(at);
            space.cells[at].value = !initial;
            space.reset(reset);
            let stays = mask(at, |row| match reset {
                Reset::Function => row.4 | row.5,
                Reset::Bus => row.4,
            });
            let changed = space.byte(at) ^ initial;
            assert_eq!(changed, stays, "{at:#x} {reset:?}");
        }
    }
}

#[test]
fn a_driver_finds_an_nvme_controller() {
    let space = space();
    assert_eq!((space.word(0), space.word(2)), (0x1b36, 0x0010));
    assert_eq!(space.dword(8), 0x0108_0202);
    // INTA.
    assert_eq!(space.dword(0x3c), 0x0100);
    assert_eq!(space.word(STATUS), 0x0010);
    assert_eq!(space.dword(SERIAL + 4), 0xbbcc_ddee);
    assert_eq!(space.dword(SERIAL + 8), 0x5254_00aa);
}

#[test]
fn the_lists_of_capabilities_end_and_have_all_of_them() {
    let space = space();
    let mut at = usize::from(space.byte(0x34));
    let mut found = Vec::new();
    while at != 0 {
        assert!(at >= 0x40 && found.len() < 10);
        let [id, next] = space.word(at).to_le_bytes();
        found.push((id, at));
        at = usize::from(next);
    }
    assert_eq!(
        found,
        [(0x01, PM), (0x05, MSI), (0x11, MSIX), (0x10, EXPRESS)]
    );
    assert_eq!(space.word(MSIX + 2), 64);
    let mut at = 0x100;
    let mut found = Vec::new();
    while at != 0 {
        assert!(at >= 0x100 && found.len() < 10);
        let header = space.dword(at);
        found.push((header & 0xffff, header >> 16 & 0xf, at));
        at = usize::try_from(header >> 20).unwrap();
    }
    let expected = [
        (0x0001, 2, AER),
        (0x0003, 1, SERIAL),
        (0x0018, 1, LTR),
        (0x0019, 1, SECONDARY),
    ];
    assert_eq!(found, expected);
}

#[test]
fn msi_asks_for_as_many_messages_as_there_are_vectors() {
    for (vectors, capable, mask) in [
        (1, 0, 0x1),
        (2, 1, 0x3),
        (3, 2, 0xf),
        (9, 4, 0xffff),
        (32, 5, u32::MAX),
        (512, 5, u32::MAX),
    ] {
        let mut space = ConfigSpace::new(Shape { vectors, ..SHAPE });
        assert_eq!(space.word(MSI + 2), 0x0180 | capable << 1);
        space.write(MSI + 0x10, &[0xff; 4]);
        assert_eq!(space.control().msi_mask, mask);
    }
}

#[test]
fn the_bars_show_their_sizes() {
    let mut space = space();
    space.write(BAR0, &[0xff; 8]);
    let high = u64::from(space.dword(BAR0 + 4)) << 32;
    let size = !(high | u64::from(space.dword(BAR0) & !0xf)) + 1;
    assert_eq!(size, u64::from(bar::BYTES));
    assert_eq!(space.dword(BAR0) & 0xf, 0x4);
    // The other registers have no size: they are not there.
    space.write(0x18, &[0xff; 16]);
    for at in (0x18..0x28).step_by(4) {
        assert_eq!(space.dword(at), 0);
    }
    for bytes in [4096, 1 << 20, 1 << 30] {
        let cmb_bytes = bytes;
        let mut space = ConfigSpace::new(Shape { cmb_bytes, ..SHAPE });
        space.write(0x20, &[0xff; 8]);
        let high = u64::from(space.dword(0x24)) << 32;
        let size = !(high | u64::from(space.dword(0x20) & !0xf)) + 1;
        assert_eq!((size, space.dword(0x20) & 0xf), (bytes, 0xc));
    }
}

#[test]
fn only_power_states_that_are_there_are_entered() {
    let mut space = space();
    assert!(space.control().powered);
    for (written, state) in [(1, 0), (3, 3), (2, 3), (1, 3), (0, 0), (2, 0)] {
        space.write(POWER, &[written]);
        assert_eq!(space.byte(POWER) & 3, state, "{written}");
        assert_eq!(space.control().powered, state == 0);
        // No reset on the way back, as it says.
        assert_eq!(space.byte(POWER) & 8, 8);
    }
    // The rest of the byte is read-only.
    space.write(POWER, &[0xfc, 0xff, 0xff, 0xff]);
    assert_eq!(space.dword(POWER), 0x08);
}

#[test]
fn the_command_register_says_what_the_function_may_do() {
    let mut space = space();
    let at_first = space.control();
    assert!(!at_first.bus_master && !at_first.masters() && !at_first.pin_disabled);
    // Nobody has said that the registers are at an address.
    assert!(at_first.answers());
    space.write(COMMAND, &[0x04, 0x04]);
    let control = space.control();
    assert!(control.masters() && control.answers() && control.pin_disabled);
    space.write(COMMAND, &[0x06, 0x00]);
    assert!(space.control().answers());
    space.write(COMMAND, &[0x04, 0x00]);
    assert!(!space.control().answers());
    space.write(COMMAND, &[0x06, 0x00]);
    space.write(POWER, &[3]);
    assert!(!space.control().masters() && !space.control().answers());
    space.reset(Reset::Function);
    assert_eq!(space.control(), at_first);
}

#[test]
fn only_the_reset_bit_resets() {
    let mut space = space();
    let control = space.word(DEVICE_CONTROL);
    assert_eq!(space.write(DEVICE_CONTROL, &[0x10, 0x28]), Effect::None);
    let flr = (control | 0x8000).to_le_bytes();
    assert_eq!(space.write(DEVICE_CONTROL, &flr), Effect::FunctionReset);
    assert_eq!(space.word(DEVICE_CONTROL), control);
    // As part of a wider write, and as a lone byte.
    let wide = [0, 0, 0, 0, 0, 0x80, 0, 0];
    let effect = space.write(DEVICE_CONTROL - 4, &wide);
    assert_eq!(effect, Effect::FunctionReset);
    let effect = space.write(DEVICE_CONTROL + 1, &[0x80]);
    assert_eq!(effect, Effect::FunctionReset);
}

#[test]
fn the_first_unsupported_request_is_logged_until_it_is_cleared() {
    let mut space = space();
    space.write(BAR0, &[0, 0, 0xe0, 0xfe]);
    space.note_unsupported(true, 0, 0x1008);
    space.note_unsupported(false, 0, 0x14);
    assert_eq!(space.word(DEVICE_STATUS), 0b1010);
    assert_eq!(space.dword(UNCORRECTABLE_STATUS), 1 << 20);
    assert_eq!(space.dword(ERROR_CONTROL) & 0x1f, 20);
    let log: Vec<_> = (0..4).map(|at| space.dword(HEADER_LOG + at * 4)).collect();
    assert_eq!(log, [0x4000_0001, 0xf, 0xfee0_1008, 0]);
    // Ones clear it, and the next one is logged; it survives a reset.
    space.write(DEVICE_STATUS, &[0x0f, 0]);
    space.write(UNCORRECTABLE_STATUS, &[0xff; 4]);
    assert_eq!(space.dword(UNCORRECTABLE_STATUS), 0);
    space.note_unsupported(false, 0, 0x14);
    space.reset(Reset::Bus);
    assert_eq!(space.dword(HEADER_LOG), 1);
    assert_eq!(space.dword(HEADER_LOG + 8), 0xfee0_0014);
    assert_eq!(space.dword(UNCORRECTABLE_STATUS), 1 << 20);
    assert_eq!(space.word(DEVICE_STATUS), 0);
    // Masked, it is noted and not logged.
    space.write(UNCORRECTABLE_STATUS, &[0xff; 4]);
    space.write(UNCORRECTABLE_MASK, &[0, 0, 0x10, 0]);
    space.note_unsupported(true, 0, 0x28);
    assert_eq!(space.dword(HEADER_LOG), 1);
    assert_eq!(space.dword(UNCORRECTABLE_STATUS), 1 << 20);
}

#[test]
fn interrupts_show_in_status_and_pending() {
    let mut space = space();
    space.note_interrupts(true, 0x8000_0001);
    assert_eq!(space.word(STATUS), 0x0018);
    assert_eq!(space.dword(MSI + 0x14), 0x8000_0001);
    space.note_interrupts(false, 0);
    assert_eq!(space.word(STATUS), 0x0010);
    assert_eq!(space.dword(MSI + 0x14), 0);
}

#[test]
fn the_edges_are_quiet() {
    let mut space = space();
    let mut bytes = [0xaa; 8];
    space.read(BYTES - 4, &mut bytes);
    assert_eq!(bytes, [0; 8]);
    assert_eq!(space.write(BYTES - 2, &[0xff; 8]), Effect::None);
    assert_eq!(space.write(usize::MAX, &[0xff; 8]), Effect::None);
    space.read(0x3c, &mut bytes[..0]);
    // A BAR that is not there, at an offset that cannot be.
    space.note_unsupported(true, u32::MAX, u32::MAX);
}
