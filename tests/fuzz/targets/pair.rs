//! See `src/lib.rs`.
#![cfg_attr(fuzzing, no_main)]

dbmirror_fuzz::fuzz_binary!("pair");
