//! See `vssd::fuzz::controller`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vssd::fuzz::controller(data));
