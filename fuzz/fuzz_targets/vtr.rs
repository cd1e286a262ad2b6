//! See `traces::fuzz::vtr`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| traces::fuzz::vtr(data));
