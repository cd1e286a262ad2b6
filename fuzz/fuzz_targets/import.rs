//! See `formats::fuzz::import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| formats::fuzz::import(data));
