//! What hf-hub does by itself with the faults of our hub, on which docs/hub.md bases its decision. A test that fails here
//! says that hf-hub does more by now, and that this page and `src/storage/hub/hf_hub.rs` may do less.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use hf_hub::{HFClient, HFError};

use super::hub::{ID, file, server};
use super::hub_server::{COMMIT, Faults, Server, etag};
use crate::support::scratch;

const NAME: &str = "model.safetensors";

/// A cache and its client.
struct Alone {
    client: HFClient,
    folder: PathBuf,
}

impl Alone {
    fn new(server: &Server, name: &str) -> Self {
        let cache = scratch(name);
        let client = HFClient::builder().endpoint(&server.address).token("hf_secret").cache_dir(&cache).build();
        Self { client: client.expect("these are valid"), folder: cache.join("models--someone--tiny") }
    }

    fn download(&self, name: &str) -> Result<Vec<u8>, HFError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (owner, model) = hf_hub::split_id(ID);
        let path = runtime.block_on(self.client.model(owner, model).download_file().filename(name).send())?;
        Ok(fs::read(path).expect("it is there"))
    }
}

#[test]
fn a_cut_transfer_begins_anew() {
    let server = server();
    let alone = Alone::new(&server, "alone_cut");
    server.fault(NAME, Faults { cut: Some(20_000), ..Default::default() });
    alone.download(NAME).expect_err("the transfer was cut");
    let part = alone.folder.join("blobs").join(format!("{}.incomplete", etag(&file(NAME))));
    assert_eq!(fs::metadata(part).expect("a part is kept").len(), 20_000);
    alone.download(NAME).expect_err("and is cut again");
    assert!(server.asked().iter().all(|asked| asked.range.is_none()), "what is there is not used");
}

#[test]
fn what_arrives_is_not_compared_with_anything() {
    let server = server();
    server.fault(NAME, Faults { flips: usize::MAX, ..Default::default() });
    let flipped = Alone::new(&server, "alone_flip").download(NAME).expect("it takes anything");
    assert_ne!(flipped, file(NAME), "a flipped bit is kept");
    server.fault(NAME, Faults { size: Some(file(NAME).len() + 5), ..Default::default() });
    assert_eq!(Alone::new(&server, "alone_size").download(NAME).expect("it takes any size"), file(NAME));
}

#[test]
fn the_answer_of_a_host_that_refuses_is_kept_as_the_file() {
    let server = server();
    server.fault(NAME, Faults { status: Some((403, None)), method: Some("GET"), ..Default::default() });
    let alone = Alone::new(&server, "alone_refused");
    assert_eq!(alone.download(NAME).expect("the refusal goes unnoticed"), b"", "the empty answer is the file");
    server.fault(NAME, Faults::default());
    assert_eq!(alone.download(NAME).expect("it is cached"), b"", "and stays it");
}

#[test]
fn a_busy_hub_is_not_waited_for_as_it_says() {
    let server = server();
    server.fault(NAME, Faults { status: Some((429, Some(30))), times: 1, ..Default::default() });
    let started = Instant::now();
    assert_eq!(Alone::new(&server, "alone_busy").download(NAME).expect("it asks again"), file(NAME));
    assert!(started.elapsed().as_secs() < 15, "half of what it was asked to wait");
}

#[test]
fn a_404_of_any_server_is_taken_for_the_hubs() {
    let server = server();
    server.fault(NAME, Faults { status: Some((404, None)), ..Default::default() });
    let error = Alone::new(&server, "alone_404").download(NAME).expect_err("it is not there");
    assert!(matches!(error, HFError::EntryNotFound { .. }), "{error}");
}

#[test]
fn a_revision_is_named_before_its_files_are_there() {
    let server = server();
    let alone = Alone::new(&server, "alone_ref");
    alone.download("config.json").expect("it is there");
    assert_eq!(fs::read_to_string(alone.folder.join("refs/main")).expect("it is named"), COMMIT);
}

#[test]
fn the_token_stays_with_the_hub() {
    let (elsewhere, server) = (server(), server());
    server.fault(NAME, Faults { elsewhere: Some(elsewhere.address.clone()), ..Default::default() });
    assert_eq!(Alone::new(&server, "alone_token").download(NAME).expect("the other host has it"), file(NAME));
    let asked = elsewhere.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
}
