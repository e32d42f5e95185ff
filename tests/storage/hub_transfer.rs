//! What a transfer owes to the hub that its file comes from, whichever client does it (the feature `hf-hub`).

use std::process::Command;

use super::hub::{ID, hub, load, server};
use super::hub_server::Faults;
use crate::support::sentence::sentence;

/// Says to this program that it is the child of the test below.
const CHILD: &str = "CANDLE_LENS_HUB_CHILD";

#[test]
fn the_token_of_the_environment_is_not_sent_to_a_hub_that_has_none() {
    if std::env::var_os(CHILD).is_some() {
        let server = server();
        load(ID, &hub(&server, "hub_no_token", &[])).expect("it needs no token");
        let asked = server.asked();
        assert!(asked.iter().any(|asked| asked.method == "GET"), "{asked:?}");
        assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
        return;
    }
    let own = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "storage::hub_transfer::the_token_of_the_environment_is_not_sent_to_a_hub_that_has_none"])
        .env(CHILD, "1")
        .env("HF_TOKEN", "hf_of_another_hub")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&own.stdout);
    assert!(own.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_file_that_vanishes_is_not_one_that_the_model_does_not_have() {
    let server = server();
    let gone =
        Faults { status: Some((404, None)), code: Some("EntryNotFound"), method: Some("GET"), ..Default::default() };
    server.fault("tokenizer.json", gone);
    sentence(load(ID, &hub(&server, "hub_vanished", &[])), &["tokenizer.json", "then says that it does not exist"]);
}

#[test]
fn a_host_that_refuses_in_the_middle_is_named() {
    let server = server();
    for (status, part) in [(401, "HF_TOKEN"), (403, "denies"), (429, "3600 seconds"), (500, "status 500")] {
        let faults = Faults { status: Some((status, Some(3600))), method: Some("GET"), ..Default::default() };
        server.fault("config.json", faults);
        sentence(load(ID, &hub(&server, "hub_middle", &[])), &["config.json", part]);
    }
}

/// hf-hub asks for the right to read from Xet, and what comes of it is said; Xet itself is not tried here.
#[cfg(feature = "hf-hub")]
#[test]
fn a_file_in_xet_storage_is_asked_for_there() {
    let server = server();
    let hash = "a".repeat(64).leak();
    server.fault("config.json", Faults { xet: Some(hash), ..Default::default() });
    let hub = hub(&server, "hub_xet", &[("HF_TOKEN", "hf_secret")]);
    sentence(load(ID, &hub), &["config.json"]);
    let asked = server.asked();
    let asked =
        asked.iter().find(|asked| asked.path.contains("/xet-read-token/")).expect("it asks for the right to read");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer hf_secret"));
}
