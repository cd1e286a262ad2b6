//! Where numbers change their kind: counters to coordinates, and back.
//!
//! A picture has no more than some thousand pixels a side, so what is lost
//! here cannot be seen.

/// `value` as a pixel coordinate; out-of-range values saturate, NaN is 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates, and no picture is that wide"
)]
pub(super) fn pixel(value: f64) -> i32 {
    value.round() as i32
}

/// The cell of `cells` that `fraction` (0 to 1) of their length falls into;
/// the nearest one where it falls into none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates at both ends, which is what is wanted"
)]
pub(super) fn cell(fraction: f64, cells: usize) -> usize {
    let cell = (fraction * float(cells as u64)).floor() as usize;
    cell.min(cells.saturating_sub(1))
}

/// `value` as a coordinate.
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

/// A colour channel of `value`, 0 to 255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates at both ends, which is what is wanted"
)]
pub(super) fn channel(value: f64) -> u8 {
    value.round() as u8
}

/// `value` as an index; 0 where it is negative.
pub(super) fn index(value: i32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// `value` as a pixel coordinate; saturates.
pub(super) fn coordinate(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
