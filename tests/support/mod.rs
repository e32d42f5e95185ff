//! What several test files share: small tokenizers, folders for files that a test writes.

use std::path::PathBuf;

use candle_lens::candle::{DType, Tensor};

pub mod allocations;
pub mod damage;
pub mod evcxr;
pub mod fixture;
pub mod gguf;
pub mod gguf_tokenizer;
pub mod half;
pub mod models;
pub mod sealed;
pub mod sentence;
pub mod splice;
pub mod tokenizer;
pub mod tolerance;
pub mod torch;

/// An empty folder of this name for the files of one test: tests run side by side, and a thread is called as its test.
pub fn scratch(name: &str) -> PathBuf {
    let thread = std::thread::current();
    let test = thread.name().map_or_else(|| format!("{:?}", thread.id()), |name| name.replace("::", "."));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the scratch folder can be made");
    folder
}

/// The value of a variable on which a test depends. Such a test is `#[ignore = "needs VARIABLE: .."]`, so that it is never
/// counted as passed where it did not run; `cargo lab test` runs it where the variable is set.
pub fn given(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("this test needs {variable}: its #[ignore] says what to set it to"))
}

/// A folder of foreign data files, which are not ours to commit: ioi.csv, greater_than.csv and hypernymy.csv of
/// github.com/hannamw/eap-ig-faithfulness, ioi_ABBA_template_0_prompts.json of github.com/dtch1997/circuit-finder.
pub fn foreign_files() -> PathBuf {
    PathBuf::from(given("CANDLE_LENS_DATA"))
}

/// Fails where two tensors differ by more than `tolerance` anywhere, and says where the most.
#[track_caller]
pub fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shapes");
    let flat = |x: &Tensor| x.to_dtype(DType::F32).and_then(|x| x.flatten_all()?.to_vec1::<f32>()).expect("numbers");
    for (i, (a, b)) in flat(got).into_iter().zip(flat(expected)).enumerate() {
        // Masked scores are -inf on both sides.
        let close = a == b || (a - b).abs() <= tolerance;
        assert!(close, "{what}: number {i} is {a}, expected {b} within {tolerance}");
    }
}
