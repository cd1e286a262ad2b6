//! Command dwords 10 to 15, from what Linux prints of them.

use nvme::{AdminOpcode, NvmOpcode};

use crate::import::fields::Fields;

/// Dwords 10 to 15 of the command with `opcode`, of which the kernel prints
/// `text`; none where nothing of it can be made out.
///
/// The kernel does not print all: Identify has no CDW11 there, reads and
/// writes have no CDW15. What is not printed is 0.
pub(super) fn dwords(admin: bool, opcode: u8, text: &str) -> Option<[u32; 6]> {
    for bytes in ["cdw10=", "specific=", "spcecific="] {
        if let Some((_, rest)) = text.split_once(bytes) {
            return raw(rest);
        }
    }
    let fields = Fields { text, equals: '=' };
    if opcode == AdminOpcode::FABRICS.0 {
        return None;
    }
    if admin {
        of_admin(AdminOpcode(opcode), fields)
    } else {
        of_nvm(NvmOpcode(opcode), fields)
    }
}

/// 24 bytes in hexadecimal: "00 01 ..." of the kernel, "ARRAY[00, 01, ..." of
/// libtraceevent, which cannot call the kernel's functions.
fn raw(text: &str) -> Option<[u32; 6]> {
    let text = text.strip_prefix("ARRAY[").unwrap_or(text);
    let mut bytes = text
        .split([' ', ',', ']', ')'])
        .filter(|word| !word.is_empty());
    let mut dwords = [0; 6];
    for dword in &mut dwords {
        let mut four = [0; 4];
        for byte in &mut four {
            *byte = u8::from_str_radix(bytes.next()?, 16).ok()?;
        }
        *dword = u32::from_le_bytes(four);
    }
    Some(dwords)
}

/// Low and high dword.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

fn of_nvm(opcode: NvmOpcode, fields: Fields<'_>) -> Option<[u32; 6]> {
    let of = |name| fields.or_zero(name);
    let word = |name| fields.get::<u16>(name).ok().map(u32::from);
    match opcode {
        NvmOpcode::DATASET_MANAGEMENT => {
            let ranges = fields.get("nr").ok()?;
            Some([ranges, fields.get("attributes").ok()?, 0, 0, 0, 0])
        }
        NvmOpcode::ZONE_MANAGEMENT_SEND => {
            let [low, high] = halves(fields.get("slba").ok()?);
            Some([
                low,
                high,
                0,
                byte(fields, "zsa") | byte(fields, "all") << 8,
                0,
                0,
            ])
        }
        NvmOpcode::ZONE_MANAGEMENT_RECEIVE => {
            let [low, high] = halves(fields.get("slba").ok()?);
            let action =
                byte(fields, "zra") | byte(fields, "zrasf") << 8 | byte(fields, "pr") << 16;
            Some([low, high, of("numd"), action, 0, 0])
        }
        NvmOpcode::RESERVATION_REGISTER => {
            let action = byte(fields, "rrega") | byte(fields, "iekey") << 3;
            Some([action | (byte(fields, "ptpl") & 3) << 30, 0, 0, 0, 0, 0])
        }
        NvmOpcode::RESERVATION_ACQUIRE | NvmOpcode::RESERVATION_RELEASE => {
            let action = byte(fields, "racqa") | byte(fields, "rrela");
            let action = action | byte(fields, "iekey") << 3 | byte(fields, "rtype") << 8;
            Some([action, 0, 0, 0, 0, 0])
        }
        NvmOpcode::RESERVATION_REPORT => Some([of("numd"), of("eds"), 0, 0, 0, 0]),
        // Whatever is printed as a read or a write is.
        _ => {
            let [low, high] = halves(fields.get("slba").ok()?);
            let control = word("ctrl").unwrap_or(0);
            let cdw12 = word("len")? | control << 16;
            Some([low, high, cdw12, of("dsmgmt"), of("reftag"), 0])
        }
    }
}

fn of_admin(opcode: AdminOpcode, fields: Fields<'_>) -> Option<[u32; 6]> {
    let of = |name| fields.or_zero(name);
    let words = |low: &str, high: &str| -> Option<u32> {
        let low = u32::from(fields.get::<u16>(low).ok()?);
        Some(low | u32::from(fields.get::<u16>(high).ok()?) << 16)
    };
    let (cdw10, cdw11) = match opcode {
        AdminOpcode::DELETE_SQ => (fields.get("sqid").ok()?, 0),
        AdminOpcode::DELETE_CQ => (fields.get("cqid").ok()?, 0),
        AdminOpcode::CREATE_SQ => (words("sqid", "qsize")?, words("sq_flags", "cqid")?),
        AdminOpcode::CREATE_CQ => (words("cqid", "qsize")?, words("cq_flags", "irq_vector")?),
        AdminOpcode::IDENTIFY => (words("cns", "ctrlid")?, 0),
        // What it prints as `sv` is another bit than SV.
        AdminOpcode::SET_FEATURES => (fields.get("fid").ok()?, of("cdw11")),
        AdminOpcode::GET_FEATURES => {
            let fid: u32 = fields.get("fid").ok()?;
            (fid | byte(fields, "sel") << 8, of("cdw11"))
        }
        AdminOpcode::FORMAT_NVM => {
            let lbaf: u32 = fields.get("lbaf").ok()?;
            let low =
                (lbaf & 0xf) | (byte(fields, "mset") & 1) << 4 | (byte(fields, "pi") & 7) << 5;
            let high = (byte(fields, "pil") & 1) << 8 | (byte(fields, "ses") & 7) << 9;
            (low | high, 0)
        }
        AdminOpcode::GET_LBA_STATUS => {
            let [low, high] = halves(fields.get("slba").ok()?);
            let cdw13 = of("rl") & 0xffff | byte(fields, "atype") << 24;
            return Some([low, high, of("mndw"), cdw13, 0, 0]);
        }
        _ => return None,
    };
    Some([cdw10, cdw11, 0, 0, 0, 0])
}

/// The byte `name`; 0 where it is not there.
fn byte(fields: Fields<'_>, name: &str) -> u32 {
    fields.get::<u8>(name).map_or(0, u32::from)
}
