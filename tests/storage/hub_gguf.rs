//! GGUF files of the hub: which one a name means, what is fetched of it, and what is kept.

use std::fs;

use candle_lens::model::{HookedTransformer, LoadOptions};
use candle_lens::storage::Hub;

use super::hub::{hub, load, paths, unreachable};
use super::hub_server::{COMMIT, Faults, Server};
use crate::support::fixture::path;
use crate::support::sentence::sentence;

const ID: &str = "someone/tiny-GGUF";
const LIST: &str = "GET /api/models/someone/tiny-GGUF/revision/main";

/// Several quantisations, one of them split, and what else such repositories have.
const FILES: [&str; 8] = [
    "README.md",
    "tiny-BF16.gguf",
    "tiny-F16.gguf",
    "tiny-Q8_0.gguf",
    "mmproj-tiny-f16.gguf",
    "Q4_0/tiny-Q4_0-00001-of-00003.gguf",
    "Q4_0/tiny-Q4_0-00002-of-00003.gguf",
    "Q4_0/tiny-Q4_0-00003-of-00003.gguf",
];

/// The description of a repository, as `GET /api/models/ID/revision/main` gives it.
fn description(files: &[&str]) -> Vec<u8> {
    let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
    serde_json::json!({ "id": ID, "sha": COMMIT, "siblings": siblings }).to_string().into_bytes()
}

fn content(file: &str) -> Vec<u8> {
    format!("GGUF, or what looks like it: {file}").into_bytes()
}

/// A hub whose repository has these files.
fn server(files: &[&str]) -> Server {
    let server = Server::new(files.iter().map(|file| (format!("{ID}/resolve/main/{file}"), content(file))));
    server.add(&format!("api/models/{ID}/revision/main"), description(files));
    server
}

/// The GGUF files that are cached after an attempt to load this. They are not models, so that all that is tried here is
/// what comes before they are read.
fn fetched(name: &str, hub: &Hub) -> Vec<String> {
    let message = sentence(load(name, hub), &[".gguf"]);
    assert!(!message.contains("from the hub"), "it was not fetched: {message}");
    cached(hub)
}

/// Records the commit of the revision, as is done once a model is loaded.
fn remember(hub: &Hub) {
    let refs = hub.cache.join("models--someone--tiny-GGUF/refs");
    fs::create_dir_all(&refs).unwrap();
    fs::write(refs.join("main"), COMMIT).unwrap();
}

/// The GGUF files that are cached, each with what it must hold.
fn cached(hub: &Hub) -> Vec<String> {
    let top = hub.cache.join("models--someone--tiny-GGUF/snapshots").join(COMMIT);
    let mut found: Vec<String> =
        FILES.iter().map(|file| file.to_string()).filter(|file| top.join(file).exists()).collect();
    for file in &found {
        assert_eq!(fs::read(top.join(file)).unwrap(), content(file), "{file}");
    }
    found.sort();
    found
}

#[test]
fn a_quantisation_is_the_file_whose_name_ends_with_it() {
    for (quantisation, file) in [("Q8_0", "tiny-Q8_0.gguf"), ("q8_0", "tiny-Q8_0.gguf"), ("f16", "tiny-F16.gguf")] {
        let server = server(&FILES);
        let hub = hub(&server, "hub_gguf_one", &[]);
        assert_eq!(fetched(&format!("{ID}:{quantisation}"), &hub), [file], "{quantisation}");
        let asked = paths(&server.asked());
        assert_eq!(asked.iter().filter(|asked| *asked == LIST).count(), 1, "{asked:?}");
    }
}

#[test]
fn a_model_of_the_hub_is_that_of_its_file() {
    let server = server(&FILES);
    let file = path("gguf/llama.gguf");
    server.add(&format!("{ID}/resolve/main/tiny-Q8_0.gguf"), fs::read(&file).expect("the fixture is there"));
    let hub = hub(&server, "hub_gguf_model", &[]);
    let name = format!("{ID}:Q8_0");
    let own = HookedTransformer::from_pretrained(file.to_str().expect("UTF-8"))
        .expect("the fixture loads")
        .provenance()
        .crc32;
    let model = load(&name, &hub).expect("it is there");
    let provenance = model.provenance();
    assert_eq!(provenance.crc32, own);
    assert!(provenance.source.contains(&name), "{provenance}");
    assert_eq!(provenance.revision.as_deref(), Some(format!("main, commit {COMMIT}").as_str()));
    assert!(!server.asked().is_empty());
    // Everything is kept: the file, the list, and that there is no tokenizer.json.
    for again in [&hub, &unreachable(&hub, true), &unreachable(&hub, false)] {
        assert_eq!(load(&name, again).expect("it is kept").provenance().crc32, own);
    }
    assert_eq!(paths(&server.asked()), Vec::<String>::new());
}

#[test]
fn nothing_is_asked_twice_and_what_is_kept_needs_no_network() {
    let server = server(&FILES);
    let hub = hub(&server, "hub_gguf_kept", &[]);
    let name = format!("{ID}:Q8_0");
    let first = fetched(&name, &hub);
    remember(&hub);
    server.asked();
    assert_eq!(fetched(&name, &hub), first);
    let again: Vec<_> = paths(&server.asked()).into_iter().filter(|asked| asked.contains(".gguf")).collect();
    assert_eq!(again, Vec::<String>::new());
    assert_eq!(fetched(&name, &unreachable(&hub, true)), first);
    assert_eq!(fetched(&name, &unreachable(&hub, false)), first);
    sentence(load(&format!("{ID}:F16"), &unreachable(&hub, true)), &["tiny-F16.gguf", "HF_HUB_OFFLINE"]);
    // The list is kept as well, so that a wrong name is as clear as with a network.
    sentence(load(&format!("{ID}:Q2_K"), &unreachable(&hub, true)), &["Q2_K", "tiny-Q8_0.gguf", "tiny-BF16.gguf"]);
}

#[test]
fn without_a_list_what_is_cached_is_what_there_is() {
    // As Python leaves a cache: the file and the revision, and no list.
    let server = server(&FILES);
    let hub = hub(&server, "hub_gguf_python", &[]);
    fetched(&format!("{ID}:Q4_0"), &hub);
    remember(&hub);
    fs::remove_dir_all(hub.cache.join("models--someone--tiny-GGUF/.candle-lens")).unwrap();
    let offline = unreachable(&hub, true);
    assert_eq!(fetched(&format!("{ID}:Q4_0"), &offline).len(), 3);
    sentence(load(&format!("{ID}:Q8_0"), &offline), &["Q8_0", "tiny-Q4_0-00001-of-00003.gguf"]);
    // Where the hub can be asked, it is, and two files are not taken for one.
    sentence(load(&format!("{ID}:Q8"), &hub), &["tiny-F16.gguf", "tiny-Q8_0.gguf"]);
}

#[test]
fn a_split_file_is_fetched_whole() {
    let parts = &FILES[5..];
    for name in ["Q4_0", "Q4_0/tiny-Q4_0-00001-of-00003.gguf", "Q4_0/tiny-Q4_0-00003-of-00003.gguf"] {
        let server = server(&FILES);
        assert_eq!(fetched(&format!("{ID}:{name}"), &hub(&server, "hub_gguf_split", &[])), parts, "{name}");
    }
    let server = server(&FILES[..7]);
    let hub = hub(&server, "hub_gguf_missing", &[]);
    sentence(load(&format!("{ID}:Q4_0"), &hub), &["tiny-Q4_0-00003-of-00003.gguf", "does not exist"]);
}

#[test]
fn a_file_is_fetched_by_its_name_without_a_list() {
    let server = server(&FILES);
    let hub = hub(&server, "hub_gguf_name", &[]);
    assert_eq!(fetched(&format!("{ID}:tiny-BF16.gguf"), &hub), ["tiny-BF16.gguf"]);
    let asked = paths(&server.asked());
    assert!(!asked.contains(&LIST.to_string()), "{asked:?}");
}

#[test]
fn no_file_and_several_are_errors_that_name_those_there_are() {
    let server = server(&FILES);
    let hub = hub(&server, "hub_gguf_wrong", &[]);
    for wrong in ["Q6_K", "tiny-q8_0.gguf", "IQ8_0"] {
        let message =
            sentence(load(&format!("{ID}:{wrong}"), &hub), &[wrong, "tiny-Q8_0.gguf", "-00001-of-00003.gguf"]);
        assert!(!message.contains("-00002-of-") && !message.contains("README"), "a part is not a model: {message}");
        assert!(!message.contains("mmproj"), "an image encoder is not a language model: {message}");
    }
    server.add(&format!("api/models/{ID}/revision/main"), description(&["a/x.Q8_0.gguf", "b-Q8_0.gguf", "c-F16.gguf"]));
    let hub = self::hub(&server, "hub_gguf_several", &[]);
    let message = sentence(load(&format!("{ID}:Q8_0"), &hub), &["2 names", "a/x.Q8_0.gguf", "b-Q8_0.gguf"]);
    assert!(!message.contains("c-F16"), "{message}");
    server.add(&format!("api/models/{ID}/revision/main"), description(&["README.md"]));
    sentence(load(&format!("{ID}:Q8_0"), &self::hub(&server, "hub_gguf_none", &[])), &["Q8_0", "no GGUF file"]);
    for wrong in ["", "Q8 0", "../x.gguf", "a/b"] {
        sentence(load(&format!("{ID}:{wrong}"), &hub), &[ID, "quantisation", "colon"]);
    }
    sentence(load("nobody:Q8_0", &hub), &["nobody:Q8_0", "no model"]);
}

#[test]
fn an_id_with_gguf_files_alone_says_which_there_are() {
    let server = server(&FILES);
    let hub = hub(&server, "hub_gguf_alone", &[]);
    sentence(load(ID, &hub), &[ID, "config.json", "tiny-Q8_0.gguf", "tiny-BF16.gguf", "colon"]);
    let none = Server::new([]);
    none.add(&format!("api/models/{ID}/revision/main"), description(&["README.md"]));
    sentence(load(ID, &self::hub(&none, "hub_gguf_not", &[])), &[ID, "config.json", "does not exist"]);
}

#[test]
fn revisions_stand_behind_the_file() {
    let server = server(&FILES);
    server.add(&format!("api/models/{ID}/revision/refs%2Fpr%2F1"), description(&FILES));
    let hub = hub(&server, "hub_gguf_revision", &[]);
    assert_eq!(fetched(&format!("{ID}:Q8_0@refs/pr/1"), &hub), ["tiny-Q8_0.gguf"]);
    assert!(paths(&server.asked())[0].ends_with("/revision/refs%2Fpr%2F1"));
    let revision = Some("main".to_string());
    let options = LoadOptions { hub: Some(hub.clone()), revision, ..Default::default() };
    sentence(
        HookedTransformer::from_pretrained_with(format!("{ID}:Q8_0@refs/pr/1"), options),
        &["\"main\" and \"refs/pr/1\""],
    );
    sentence(load(&format!("{ID}@main:Q8_0"), &hub), &["main:Q8_0", "before it"]);
}

#[test]
fn a_list_that_cannot_be_used_is_named_and_not_kept() {
    let server = server(&FILES);
    let hub = hub(&server, "hub_gguf_list", &[]);
    let path = format!("api/models/{ID}/revision/main");
    let name = format!("{ID}:Q8_0");
    let other = description(&FILES).iter().map(|byte| if *byte == b'0' { b'z' } else { *byte }).collect();
    for wrong in [b"<html>".to_vec(), b"{}".to_vec(), other] {
        server.add(&path, wrong);
        sentence(load(&name, &hub), &["Q8_0", "list of its files"]);
    }
    server.add(&path, description(&["../../Q8_0.gguf", "/etc/Q8_0.gguf", "tiny-Q8_0.gguf"]));
    assert_eq!(fetched(&name, &hub), ["tiny-Q8_0.gguf"], "names that lead out of the folder are not files of it");
    for (status, part) in [(401, "no such model"), (404, "not the hub itself"), (429, "limits")] {
        let hub = self::hub(&server, "hub_gguf_status", &[]);
        server.fault("main", Faults { status: Some((status, Some(3600))), ..Default::default() });
        sentence(load(&name, &hub), &["Q8_0", part]);
    }
}
