//! The name `"smollm2"`: the launcher's file, otherwise the hub.

use std::process::Command;

use candle_lens::Result;
use candle_lens::model::{HookedTransformer, LoadOptions};

use crate::support::sentence::sentence;
use crate::support::{given, scratch};

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn the_name_finds_what_the_launcher_fetched() -> Result<()> {
    let options = LoadOptions { first_n_layers: Some(1), ..Default::default() };
    let source = HookedTransformer::from_pretrained_with("smollm2", options)?.provenance().source;
    assert!(source.contains(&given("CANDLE_LENS_SMOLLM2")), "{source}");
    Ok(())
}

/// The environment of this one has neither the file nor a hub.
#[test]
#[ignore = "started by the test below"]
fn neither_of_them_is_there() {
    let parts = ["smollm2", "cargo lab fetch smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct", "HF_HUB_OFFLINE"];
    sentence(HookedTransformer::from_pretrained("smollm2"), &parts);
}

#[test]
fn without_the_file_and_the_hub_the_error_says_both_ways() {
    let empty = scratch("smollm2_nowhere");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "real_models::name::neither_of_them_is_there", "--ignored"])
        .envs(["HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "HF_HOME", "HF_HUB_CACHE"].map(|name| (name, &empty)))
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}
