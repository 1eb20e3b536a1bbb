#![no_main]

#[path = "../../tests/hostile/entries.rs"]
#[expect(dead_code, reason = "the other targets use the rest")]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::changed_value(bytes));
