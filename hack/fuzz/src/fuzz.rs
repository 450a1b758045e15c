//! libFuzzer's side: one binary for all targets, which ORLOP_FUZZ_TARGET chooses between. See `hack/fuzz/run`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use orlop_fuzz::{Target, json, target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn chosen() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var("ORLOP_FUZZ_TARGET").expect("ORLOP_FUZZ_TARGET names the target");
        target(&name).unwrap_or_else(|| panic!("there is no target {name}"))
    })
}

fuzz_target!(|data: &[u8]| (chosen().run)(data));

// Documents are changed as documents half of the time: bytes alone seldom get beyond the parser.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let as_document = chosen().is_json && seed.is_multiple_of(2);
    let changed = as_document.then(|| json::mutate(&data[..size], u64::from(seed))).flatten();
    if let Some(text) = changed.filter(|t| t.len() <= max_size) {
        data[..text.len()].copy_from_slice(&text);
        return text.len();
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
});
