//! Reading a pack's manifest: nothing panics on any bytes, and what is read is written and read as the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use liquid_sidecar::pack::Manifest;

fuzz_target!(|input: &[u8]| {
    let Ok(manifest) = Manifest::parse(input) else {
        return;
    };
    let text = serde_json::to_vec(&manifest).expect("a manifest that was read can be written");
    assert_eq!(Manifest::parse(&text).expect("and read again"), manifest);
});
