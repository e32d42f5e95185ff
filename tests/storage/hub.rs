//! Models of the hub, from a hub of our own that answers as the real one does, faults included.

use std::fs;
use std::path::PathBuf;

use candle_lens::Result;
use candle_lens::model::{HookedTransformer, LoadOptions};
use candle_lens::storage::Hub;

use super::hub_server::{Asked, COMMIT, Faults, Server, etag};
use crate::support::fixture::tiny_gpt2;
use crate::support::scratch;
use crate::support::sentence::sentence;

pub const ID: &str = "someone/tiny";

pub fn file(name: &str) -> Vec<u8> {
    fs::read(tiny_gpt2().join(name)).expect("the fixture is there")
}

fn at(name: &str) -> String {
    format!("{ID}/resolve/main/{name}")
}

/// A hub that has the tiny GPT-2.
pub fn server() -> Server {
    Server::new(["config.json", "model.safetensors", "tokenizer.json"].map(|name| (at(name), file(name))))
}

/// A hub as the environment may describe it, with an empty folder for models.
pub fn hub(server: &Server, name: &str, more: &[(&str, &str)]) -> Hub {
    let folder = scratch(name);
    let vars = |key: &str| match key {
        "HF_HOME" => Some(folder.to_string_lossy().into_owned()),
        "HF_ENDPOINT" => Some(server.address.clone()),
        _ => more.iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_string()),
    };
    Hub::from_vars(vars).expect("these are valid")
}

pub fn load(name: &str, hub: &Hub) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(name, LoadOptions { hub: Some(hub.clone()), ..Default::default() })
}

/// The same folder, but nobody answers.
pub fn unreachable(hub: &Hub, offline: bool) -> Hub {
    let mut alone = hub.clone();
    (alone.offline, alone.endpoint) = (offline, "http://127.0.0.1:9".into());
    alone
}

fn folder(hub: &Hub) -> PathBuf {
    hub.cache.join("models--someone--tiny")
}

pub fn paths(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
}

#[test]
fn a_model_is_fetched_once_and_kept_as_python_keeps_it() {
    let server = server();
    let hub = hub(&server, "hub_once", &[]);
    let model = load(ID, &hub).expect("it is there");
    assert_eq!(model.cfg().model_name, ID);
    assert!(model.to_tokens("the").is_ok());
    let provenance = model.provenance();
    assert_eq!(provenance.revision.as_deref(), Some(format!("main, commit {COMMIT}").as_str()));
    assert!(provenance.source.contains(ID), "{provenance}");
    let folder = folder(&hub);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let blob = folder.join("blobs").join(etag(&file(name)));
        assert_eq!(fs::read(&blob).unwrap(), file(name), "{name}");
        let link = folder.join("snapshots").join(COMMIT).join(name);
        assert_eq!(fs::canonicalize(&link).unwrap(), fs::canonicalize(&blob).unwrap());
        #[cfg(unix)]
        assert!(fs::read_link(&link).unwrap().starts_with("../../blobs"));
    }
    assert_eq!(fs::read_dir(folder.join("blobs")).unwrap().count(), 3, "no parts are left");
    assert!(!server.asked().is_empty());
    // Everything is there, even what is not: nothing is asked a second time.
    load(ID, &hub).expect("it is kept");
    assert_eq!(paths(&server.asked()), Vec::<String>::new());
    let offline = unreachable(&hub, true);
    load(ID, &offline).expect("it needs no network");
}

#[test]
fn without_a_copy_nothing_works_offline() {
    let server = server();
    let hub = hub(&server, "hub_offline", &[("HF_HUB_OFFLINE", "1")]);
    sentence(load(ID, &hub), &[ID, "config.json", "HF_HUB_OFFLINE"]);
    assert!(server.asked().is_empty());
    let nobody = unreachable(&hub, false);
    sentence(load(ID, &nobody), &[ID, "config.json", "network"]);
}

#[test]
fn a_cut_transfer_goes_on_where_it_was_cut() {
    let server = server();
    server.fault("model.safetensors", Faults { cut: Some(20_000), ..Default::default() });
    let model = load(ID, &hub(&server, "hub_cut", &[])).expect("it comes in pieces");
    assert_eq!(model.provenance().crc32, load_folder().provenance().crc32);
    let asked = server.asked();
    let ranges: Vec<_> = asked.iter().filter_map(|asked| asked.range.as_deref()).collect();
    for start in ["bytes=20000-", "bytes=40000-"] {
        assert!(ranges.iter().any(|range| range.starts_with(start)), "{ranges:?}");
    }
}

fn load_folder() -> HookedTransformer {
    HookedTransformer::from_pretrained(tiny_gpt2().to_str().unwrap()).expect("the fixture loads")
}

#[test]
fn a_transfer_that_brings_nothing_is_given_up_and_leaves_nothing_that_looks_whole() {
    let server = server();
    let hub = hub(&server, "hub_dead", &[]);
    server.fault("model.safetensors", Faults { cut: Some(0), ..Default::default() });
    sentence(load(ID, &hub), &[ID, "model.safetensors", "interrupted"]);
    assert!(!folder(&hub).join("refs/main").exists(), "the revision is named when all of it is there");
    sentence(load(ID, &unreachable(&hub, true)), &["HF_HUB_OFFLINE"]);
    // What another run left is taken up, a hub that cannot go on starts again, and nonsense is thrown away.
    let part = folder(&hub).join("blobs").join(format!("{}.incomplete", etag(&file("model.safetensors"))));
    let whole = file("model.safetensors");
    fs::write(&part, &whole[..1000]).unwrap();
    server.fault("model.safetensors", Faults { no_range: true, ..Default::default() });
    load(ID, &hub).expect("it begins anew");
    assert!(!part.exists());
    fs::remove_dir_all(folder(&hub)).unwrap();
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, vec![7; whole.len() + 9]).unwrap();
    load(ID, &hub).expect("it begins anew");
}

#[test]
fn a_file_of_the_wrong_size_is_not_kept() {
    let server = server();
    let hub = hub(&server, "hub_size", &[]);
    let whole = file("model.safetensors").len();
    for size in [whole + 5, whole - 5] {
        server.fault("model.safetensors", Faults { size: Some(size), ..Default::default() });
        sentence(load(ID, &hub), &[ID, "model.safetensors", &size.to_string(), "nothing was kept"]);
        assert_eq!(fs::read_dir(folder(&hub).join("blobs")).unwrap().count(), 2, "config and tokenizer");
    }
}

/// The files that are kept for good.
fn blobs(hub: &Hub) -> usize {
    fs::read_dir(folder(hub).join("blobs")).map_or(0, Iterator::count)
}

#[test]
fn what_came_is_compared_with_its_hash() {
    let sound = load_folder().provenance().crc32;
    for name in ["model.safetensors", "config.json"] {
        let server = server();
        let hub = hub(&server, "hub_hash", &[]);
        server.fault(name, Faults { flips: usize::MAX, ..Default::default() });
        let before = if name == "config.json" { 0 } else { 2 };
        sentence(load(ID, &hub), &[ID, name, "hash differs", "nothing was kept"]);
        assert_eq!(blobs(&hub), before, "{name}: neither the file nor a part of it is kept");
        // Once is the network's fault.
        server.fault(name, Faults { flips: 1, ..Default::default() });
        assert_eq!(load(ID, &hub).expect("the second try is right").provenance().crc32, sound, "{name}");
    }
}

#[test]
fn a_part_that_is_as_long_as_the_whole_is_not_taken_for_it() {
    let server = server();
    let whole = file("model.safetensors");
    // A program that writes pieces out of order and was ended leaves the length of the file, and holes in it.
    let mut holes = whole.clone();
    holes[1000..50_000].fill(0);
    for part in [holes, whole[..30_000].iter().map(|byte| byte ^ 1).collect()] {
        let hub = hub(&server, "hub_part", &[]);
        let blobs = folder(&hub).join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{}.incomplete", etag(&whole))), &part).unwrap();
        let model = load(ID, &hub).expect("it is fetched anew");
        assert_eq!(model.provenance().crc32, load_folder().provenance().crc32);
        // Without a hash nobody could tell, so such a part is not used at all.
        server.fault("model.safetensors", Faults { etag: Some("a-mirrors-name"), ..Default::default() });
        fs::remove_dir_all(folder(&hub)).unwrap();
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join("a-mirrors-name.incomplete"), &part).unwrap();
        let model = load(ID, &hub).expect("it is fetched anew");
        assert_eq!(model.provenance().crc32, load_folder().provenance().crc32);
        server.fault("model.safetensors", Faults::default());
    }
}

#[test]
fn a_transfer_that_always_begins_anew_ends() {
    let server = server();
    let hub = hub(&server, "hub_anew", &[]);
    server.fault("model.safetensors", Faults { no_range: true, cut: Some(20_000), ..Default::default() });
    sentence(load(ID, &hub), &[ID, "model.safetensors", "interrupted or stalled 5 times"]);
    let transfers =
        server.asked().iter().filter(|asked| asked.method == "GET" && asked.path.starts_with("/cdn")).count();
    assert_eq!(transfers, 6, "the first brings 20 kB, five more no more than that");
}

#[test]
fn a_file_of_unknown_length_is_known_by_its_hash() {
    let server = server();
    let hub = hub(&server, "hub_no_size", &[]);
    for name in ["config.json", "model.safetensors"] {
        server.fault(name, Faults { no_size: true, ..Default::default() });
    }
    load(ID, &hub).expect("what comes has the right hash");
    fs::remove_dir_all(folder(&hub)).unwrap();
    server.fault("model.safetensors", Faults { no_size: true, cut: Some(80_000), ..Default::default() });
    sentence(load(ID, &hub), &["model.safetensors", "hash differs", "nothing was kept"]);
    server.fault("model.safetensors", Faults { no_size: true, etag: Some("x"), ..Default::default() });
    sentence(load(ID, &hub), &["model.safetensors", "neither", "length", "hash"]);
    server.fault("model.safetensors", Faults::default());
    load(ID, &hub).expect("nothing of the faults is left");
}

#[test]
fn a_tokenizer_of_two_files_is_fetched_and_kept() {
    let tokenizer: serde_json::Value = serde_json::from_slice(&file("tokenizer.json")).unwrap();
    let merge = |merge: &serde_json::Value| match merge {
        serde_json::Value::String(pair) => format!("{pair}\n"),
        pair => format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    };
    let merges: String = tokenizer["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
    let mut vocabulary = tokenizer["model"]["vocab"].clone();
    for added in tokenizer["added_tokens"].as_array().unwrap() {
        vocabulary[added["content"].as_str().unwrap()] = added["id"].clone();
    }
    let server = Server::new(["config.json", "model.safetensors"].map(|name| (at(name), file(name))));
    server.add(&at("vocab.json"), vocabulary.to_string().into_bytes());
    server.add(&at("merges.txt"), format!("#version: 0.2\n{merges}").into_bytes());
    let hub = hub(&server, "hub_two_files", &[]);
    let expected = load_folder().to_tokens("the shops").unwrap();
    let tokens = load(ID, &hub).expect("it is fetched").to_tokens("the shops").expect("it has a tokenizer");
    assert_eq!(tokens.row(0), expected.row(0));
    let offline =
        load(ID, &unreachable(&hub, true)).expect("it is kept").to_tokens("the shops").expect("the tokenizer too");
    assert_eq!(offline.row(0), expected.row(0));
}

#[test]
fn only_the_hub_itself_says_that_a_model_has_no_such_file() {
    let server = server();
    let hub = hub(&server, "hub_404", &[]);
    for name in ["tokenizer.json", "model.safetensors"] {
        server.fault(name, Faults { status: Some((404, None)), ..Default::default() });
        sentence(load(ID, &hub), &[ID, name, "404", "not the hub itself"]);
        let absent = folder(&hub).join(".no_exist").join(COMMIT);
        assert!(!absent.join(name).exists(), "a passing fault is not remembered, as Python would trust it");
        server.fault(name, Faults::default());
    }
    assert!(load(ID, &hub).expect("it is there").to_tokens("the").is_ok());
}

#[test]
fn each_refusal_says_what_to_do() {
    let server = server();
    for (status, code, parts) in [
        (401, None, ["no such model", "HF_TOKEN"]),
        (401, Some("GatedRepo"), ["gated", "terms"]),
        (403, Some("GatedRepo"), ["gated", "terms"]),
        (403, None, ["denies", "HF_TOKEN"]),
        (404, Some("RepoNotFound"), ["no such model", "check the name"]),
        (404, Some("RevisionNotFound"), ["no such revision", "branches"]),
        (404, Some("EntryNotFound"), ["does not exist", "config.json"]),
        (404, None, ["404", "not the hub itself"]),
        (418, None, ["status 418", "config.json"]),
    ] {
        server.fault("config.json", Faults { status: Some((status, None)), code, ..Default::default() });
        let hub = hub(&server, "hub_refused", &[("HF_TOKEN", "hf_secret")]);
        let message = sentence(load(ID, &hub), &[&[ID][..], &parts].concat());
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn a_busy_hub_is_asked_again_when_it_says() {
    let server = server();
    for status in [429, 503] {
        server.fault("config.json", Faults { status: Some((status, Some(1))), times: 1, ..Default::default() });
        let started = std::time::Instant::now();
        load(ID, &hub(&server, "hub_busy", &[])).expect("it was busy once only");
        assert!(started.elapsed().as_secs_f64() >= 1.0);
    }
    server.fault("config.json", Faults { status: Some((429, Some(3600))), ..Default::default() });
    let started = std::time::Instant::now();
    sentence(load(ID, &hub(&server, "hub_busy", &[])), &["429", "3600 seconds"]);
    assert!(started.elapsed().as_secs() < 60, "an hour is not waited");
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let elsewhere = server();
    let server = server();
    let away = Faults { elsewhere: Some(elsewhere.address.clone()), ..Default::default() };
    server.fault("model.safetensors", away);
    let hub = hub(&server, "hub_token", &[("HF_TOKEN", "hf_secret")]);
    load(ID, &hub).expect("the other host has it");
    let (asked, asked_elsewhere) = (server.asked(), elsewhere.asked());
    assert!(!asked_elsewhere.is_empty());
    assert!(asked.iter().all(|asked| asked.authorization.as_deref() == Some("Bearer hf_secret")), "{asked:?}");
    assert!(asked_elsewhere.iter().all(|asked| asked.authorization.is_none()), "{asked_elsewhere:?}");
    assert!(!format!("{hub:?}").contains("secret"));
}

#[test]
fn revisions_are_named_behind_an_at_or_by_an_option() {
    let server = server();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        for revision in ["step1000", "refs%2Fpr%2F1"] {
            server.add(&format!("{ID}/resolve/{revision}/{name}"), file(name));
        }
    }
    let hub = hub(&server, "hub_revision", &[]);
    let revision = |model: HookedTransformer| model.provenance().revision.expect("hub models have one");
    assert!(revision(load("someone/tiny@refs/pr/1", &hub).unwrap()).starts_with("refs/pr/1, commit"));
    assert_eq!(fs::read_to_string(folder(&hub).join("refs/refs/pr/1")).unwrap(), COMMIT);
    let with = |name: &str, revision: Option<&str>, step: Option<u64>| {
        let revision = revision.map(String::from);
        let options = LoadOptions { hub: Some(hub.clone()), revision, step, ..Default::default() };
        HookedTransformer::from_pretrained_with(name, options)
    };
    assert!(revision(with(ID, None, Some(1000)).unwrap()).starts_with("step1000, commit"));
    assert!(revision(with(ID, Some("step1000"), Some(1000)).unwrap()).starts_with("step1000"));
    assert_eq!(revision(with(ID, Some(COMMIT), None).unwrap()), COMMIT);
    sentence(with("someone/tiny@main", Some("step1000"), None), &["\"main\" and \"step1000\"", "one of them"]);
    sentence(with(ID, Some("../../x"), None), &["../../x", "branch"]);
    sentence(with("tiny", Some("main"), None), &["tiny", "no revisions"]);
    sentence(with(tiny_gpt2().to_str().unwrap(), None, Some(1)), &["no revisions"]);
    sentence(with(ID, Some("other"), None), &[ID, "other", "config.json"]);
}

#[test]
fn architectures_that_are_not_supported_are_named() {
    let server = server();
    server.add("EleutherAI/pythia-70m/resolve/main/config.json", br#"{"model_type": "mamba"}"#.to_vec());
    let hub = hub(&server, "hub_pythia", &[]);
    sentence(load("pythia", &hub), &["EleutherAI/pythia-70m", "mamba", "gpt2"]);
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let server =
        Server::new([(at("config.json"), file("config.json")), (at("tokenizer.json"), file("tokenizer.json"))]);
    let index = |part: &str| format!(r#"{{"weight_map": {{"wte.weight": {part:?}}}}}"#).into_bytes();
    for part in ["../../../../evil", "/etc/passwd", "", "a\\b"] {
        server.add(&at("model.safetensors.index.json"), index(part));
        let hub = hub(&server, "hub_hostile", &[]);
        sentence(load(ID, &hub), &["model.safetensors.index.json", "not a file in the same folder"]);
    }
    let around = scratch("around").parent().expect("a test's own folder").to_path_buf();
    for place in [&around, &around.join("hub_hostile"), &around.join("hub_hostile/hub")] {
        assert!(place.is_dir() && !place.join("evil").exists(), "{}", place.display());
    }
}

#[test]
fn two_that_fetch_at_once_do_not_spoil_each_other() {
    let server = server();
    server.fault("model.safetensors", Faults { cut: Some(30_000), ..Default::default() });
    let hub = hub(&server, "hub_two", &[]);
    let sums: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..3).map(|_| scope.spawn(|| load(ID, &hub).map(|model| model.provenance().crc32))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().expect("each has a whole model")).collect()
    });
    assert!(sums.iter().all(|sum| *sum == load_folder().provenance().crc32));
}

#[test]
fn pytorchs_weights_are_the_last_resort() {
    let bin = crate::support::fixture::path("checkpoints/trained.pth");
    let server =
        Server::new([(at("config.json"), file("config.json")), (at("pytorch_model.bin"), fs::read(bin).unwrap())]);
    // This one has its tensors under a key, which a model's own file never has.
    sentence(load(ID, &hub(&server, "hub_bin", &[])), &["model_state_dict", "key"]);
    let names: Vec<_> =
        server.asked().into_iter().map(|asked| asked.path.rsplit('/').next().unwrap().to_string()).collect();
    let place = |name: &str| names.iter().position(|asked| asked == name);
    assert!(place("model.safetensors") < place("pytorch_model.bin"), "{names:?}");
    let none = Server::new([(at("config.json"), file("config.json"))]);
    sentence(load(ID, &hub(&none, "hub_no_weights", &[])), &["model.safetensors", "does not exist"]);
}

#[test]
fn a_renamed_model_is_found_and_a_host_that_refuses_is_named() {
    let server = server();
    let renamed = load("old/tiny", &hub(&server, "hub_renamed", &[])).expect("the hub says where it is");
    assert_eq!(renamed.provenance().crc32, load_folder().provenance().crc32);
    let elsewhere = Server::new([]);
    let away = Faults { elsewhere: Some(elsewhere.address.clone()), ..Default::default() };
    server.fault("model.safetensors", away);
    sentence(load(ID, &hub(&server, "hub_elsewhere", &[])), &["model.safetensors", "large files", "404"]);
}
