//! See `vssd::fuzz::transfer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vssd::fuzz::transfer(data));
