//! Get Features for every identifier that means something, with each Select.

use crate::cases::INVALID_FIELD;
use crate::verdict::{Drive, Reply, Verdict};

/// Below these ends of ranges, identifiers are of the specification.
pub(crate) fn identifiers() -> impl Iterator<Item = u8> {
    (0x01..=0x1f).chain(0x78..=0x86).chain([0xc0])
}

/// Without these there is no drive.
const MANDATORY: [u8; 6] = [0x01, 0x02, 0x04, 0x07, 0x0a, 0x0b];

/// Prints `select exit-status (status)` for each of the four.
pub(crate) fn command(identifier: u8) -> String {
    let arguments = match identifier {
        // Of a namespace.
        0x03 | 0x05 | 0x82..=0x85 => "-n 1",
        // Of an NVM set or an endurance group, which is the first.
        0x12 | 0x13 | 0x18 | 0x1d | 0x1e => "-c 1",
        _ => "",
    };
    format!(
        "for s in 0 1 2 3; do nvme get-feature /dev/nvme0 -f {identifier:#x} -s $s {arguments} \
         >/tmp/f 2>&1; echo \"$s $? $(grep -o '(0x[0-9a-f]*)' /tmp/f | tail -n1)\"; done"
    )
}

/// The status of each of the four Gets: 0 for success.
fn statuses(reply: &Reply) -> Option<[u16; 4]> {
    let mut found = [u16::MAX; 4];
    let mut lines = reply.text.lines().filter(|line| !line.trim().is_empty());
    for status in &mut found {
        let mut words = lines.next()?.split_whitespace().skip(1);
        *status = match (words.next()?, words.next()) {
            ("0", _) => 0,
            (_, Some(code)) => {
                let digits = code.trim_start_matches("(0x").trim_end_matches(')');
                u16::from_str_radix(digits, 16).ok()? & 0x7ff
            }
            (_, None) => u16::MAX,
        };
    }
    Some(found)
}

/// All of the Gets agree, and so does the log of features where the drive has it
/// (`effects`, a word for each feature).
pub(crate) fn judge(identifier: u8, reply: &Reply, drive: &Drive, effects: &[u32]) -> Verdict {
    let found = statuses(reply).ok_or_else(|| "no four answers".to_owned())?;
    let selects = drive.bit("oncs", 4);
    let offered = if selects {
        found[3] == 0
    } else {
        found[0] == 0
    };
    let due = match (offered, selects) {
        (true, true) => [0; 4],
        (true, false) => [0, INVALID_FIELD, INVALID_FIELD, INVALID_FIELD],
        (false, _) => [INVALID_FIELD; 4],
    };
    if found != due {
        return Err(format!("expected {due:x?}, found {found:x?}"));
    }
    let mandatory = MANDATORY.contains(&identifier) || (identifier == 6 && drive.bit("vwc", 0));
    if mandatory && !offered {
        return Err("the drive must have this feature".to_owned());
    }
    let logged = effects.get(usize::from(identifier));
    if logged.is_some_and(|word| (word & 1 == 1) != offered) {
        return Err(format!("log 12h says otherwise: {logged:x?}"));
    }
    Ok(if offered {
        "current, default, saved and capabilities".to_owned()
    } else {
        "not offered, refused as it is to be".to_owned()
    })
}
