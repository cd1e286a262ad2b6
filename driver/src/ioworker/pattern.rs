//! The data that is written.

use fastrand::Rng;

/// The pattern type of random data.
pub(super) const RANDOM: u32 = 0xbeef;
/// Random and zero bytes take turns in units of this size.
const UNIT_BYTES: usize = 512;

/// Fills `data` with the pattern.
///
/// # Errors
///
/// What is wrong with the pattern, and the field that is.
pub(super) fn fill(
    data: &mut [u8],
    ptype: u32,
    pvalue: u32,
    rng: &mut Rng,
) -> Result<(), (&'static str, String)> {
    let bytes = pvalue.to_le_bytes();
    let too_large = |what: &str| ("pvalue", format!("{pvalue:#x} is no {what}"));
    match ptype {
        0 if pvalue <= 1 => data.fill(if pvalue == 0 { 0 } else { 0xff }),
        0 => return Err(too_large("bit: choose 0 or 1")),
        8 => data.fill(u8::try_from(pvalue).map_err(|_| too_large("byte"))?),
        16 if pvalue > 0xffff => return Err(too_large("16-bit word")),
        16 => repeat(data, bytes.get(..2).unwrap_or_default()),
        32 => repeat(data, &bytes),
        RANDOM => {
            let share = usize::try_from(pvalue).unwrap_or(usize::MAX);
            if share > 100 {
                return Err(("pvalue", format!("{pvalue} % of random data: 100 is all")));
            }
            fill_random(data, share, rng);
        }
        _ => {
            return Err((
                "ptype",
                format!("{ptype:#x} is no pattern: choose 0, 8, 16, 32 or {RANDOM:#x}"),
            ));
        }
    }
    Ok(())
}

/// Fills `data` with random bytes, but for `100 - share` in 100 bytes of every
/// sector, which are zeroes: so much of it can be compressed away.
pub fn fill_random(data: &mut [u8], share: usize, rng: &mut Rng) {
    for unit in data.chunks_mut(UNIT_BYTES) {
        let (random, zero) = unit.split_at_mut(unit.len() * share.min(100) / 100);
        rng.fill(random);
        zero.fill(0);
    }
}

fn repeat(data: &mut [u8], word: &[u8]) {
    for place in data.chunks_mut(word.len()) {
        for (to, from) in place.iter_mut().zip(word) {
            *to = *from;
        }
    }
}
