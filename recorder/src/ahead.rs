//! The part of a ring that is written soon.
//!
//! A row is one line of the cache, which the data has pushed out of it since the
//! ring was here last, and stores reach memory one after the other: what the data
//! path writes next would wait for it. So lines are asked for some rows early.

use std::mem::MaybeUninit;

use rtrb::Producer;

/// How many rows ahead.
const ROWS_AHEAD: usize = 8;
/// How many at a time.
pub(crate) const ROWS_A_TIME: u8 = 16;

/// Asks for the next rows of `ring`, from [`ROWS_AHEAD`] on, where there is room
/// for them.
#[inline(never)]
pub(crate) fn ask_for_next<T>(ring: &mut Producer<T>) {
    let Ok(mut chunk) = ring.write_chunk_uninit(ROWS_AHEAD + usize::from(ROWS_A_TIME)) else {
        return;
    };
    let (front, back) = chunk.as_mut_slices();
    for row in front.iter_mut().chain(back).skip(ROWS_AHEAD) {
        ask_for(row);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
#[expect(unsafe_code, reason = "the cache is asked by an instruction")]
fn ask_for<T>(place: &mut MaybeUninit<T>) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};

    let place = place.as_mut_ptr().cast::<i8>();
    // SAFETY: this is a hint, which touches nothing that a program can see; the
    // place is one that may be written besides.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(place) };
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn ask_for<T>(_place: &mut MaybeUninit<T>) {}
