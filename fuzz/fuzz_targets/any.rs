//! One binary for every target, so that the house is built and linked once: `FUZZ_TARGET=sse cargo fuzz run any`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let wanted = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let found = farebox_fuzz::TARGETS.iter().find(|target| target.name == wanted);
        found.unwrap_or_else(|| panic!("there is no target `{wanted}`")).run
    });
    run(input);
});
