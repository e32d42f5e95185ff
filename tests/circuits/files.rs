//! Circuits in files: written, read back, and files that are not circuits.

use candle_lens::Result;
use candle_lens::circuits::Circuit;
use candle_lens::model::HookedTransformer;
use serde_json::{Value, json};

use super::by_hand::architectures;
use crate::support::fixture::path;
use crate::support::scratch;
use crate::support::sentence::sentence;

#[test]
fn files_bring_back_what_was_written() -> Result<()> {
    let folder = scratch("circuit_files");
    for (what, cfg) in architectures() {
        let circuit = Circuit::of(&HookedTransformer::trainable(cfg, 0, &candle_lens::candle::Device::Cpu)?.0);
        let circuit = circuit.without("a0.h1->logits")?.without("input->a1.h0<k>")?;
        let path = folder.join("circuit.json");
        circuit.to_json(&path)?;
        assert_eq!(Circuit::from_json(&path)?, circuit, "{what}");
    }
    Ok(())
}

/// What Python's json would make of a file: the same keys as in one of Python's.
#[test]
fn files_have_the_form_of_pythons() -> Result<()> {
    let text = std::fs::read_to_string(path("circuit.json")).expect("the fixture is there");
    let circuit = Circuit::from_json(path("circuit.json"))?;
    let ours = scratch("circuit_form").join("circuit.json");
    circuit.to_json(&ours)?;
    let ours = std::fs::read_to_string(ours).expect("it was written");
    let parsed =
        |text: &str| -> Value { serde_json::from_str(&text.replace("NaN", "null")).expect("JSON but for NaN") };
    let (mut ours, theirs) = (parsed(&ours), parsed(&text));
    assert_eq!(ours.as_object_mut().expect("an object").remove("method"), Some(json!("read from a file")));
    assert_eq!((&ours["cfg"], &ours["nodes"]), (&theirs["cfg"], &theirs["nodes"]));
    let (ours, theirs) = (ours["edges"].as_object().expect("edges"), theirs["edges"].as_object().expect("edges"));
    assert_eq!(ours.len(), theirs.len());
    for (name, theirs) in theirs {
        let ours = &ours[name];
        assert_eq!(ours["in_graph"], theirs["in_graph"], "{name}");
        let score = |value: &Value| value["score"].as_f64().map(|score| score as f32);
        assert_eq!(score(ours), score(theirs), "{name}");
        assert_eq!(ours.as_object().map(|edge| edge.len()), Some(2), "{name}: no more than score and in_graph");
    }
    Ok(())
}

#[test]
fn files_that_are_not_circuits_are_refused() -> Result<()> {
    let folder = scratch("circuit_mistakes");
    let good = std::fs::read_to_string(path("circuit.json")).expect("the fixture is there").replace("NaN", "0.5");
    let good: Value = serde_json::from_str(&good).expect("JSON");
    let refused = |change: &dyn Fn(&mut Value), parts: &[&str]| {
        let mut changed = good.clone();
        change(&mut changed);
        let file = folder.join("circuit.json");
        std::fs::write(&file, changed.to_string()).expect("the scratch folder can be written");
        sentence(Circuit::from_json(&file), &[&["circuit.json"], parts].concat());
    };
    refused(&|json| drop(json.as_object_mut().expect("an object").remove("edges")), &["edges", "EAP-IG"]);
    refused(&|json| json["cfg"]["n_layers"] = json!(1), &["a1.h0", "layers 0 to 0"]);
    refused(&|json| json["cfg"]["n_layers"] = json!(3), &["a2.h0"]);
    refused(&|json| json["cfg"]["n_heads"] = json!(1_000_000_000_000_u64), &["not of a model"]);
    refused(&|json| json["cfg"]["n_heads"] = json!(40_000), &["a0.h4"]);
    refused(&|json| json["cfg"]["n_heads"] = json!(0), &["not of a model"]);
    refused(&|json| json["nodes"]["q7"] = json!({"in_graph": true}), &["q7", "does not name a part"]);
    refused(&|json| json["nodes"]["m0"]["neurons"] = json!([true]), &["single neurons of m0"]);
    refused(&|json| drop(json["nodes"].as_object_mut().expect("nodes").remove("m1")), &["m1"]);
    refused(&|json| json["edges"]["m1->m0"] = json!({"score": 1, "in_graph": true}), &["m1->m0", "later"]);
    refused(
        &|json| json["edges"]["m0=>m1"] = json!({"score": 1, "in_graph": true}),
        &["m0=>m1", "does not name an edge"],
    );
    refused(&|json| json["edges"]["m0->m1"] = json!({"score": "much", "in_graph": true}), &["m0->m1", "not a number"]);
    refused(&|json| json["edges"]["m0->m1"] = json!({"score": 1}), &["m0->m1", "in_graph"]);
    refused(&|json| drop(json["edges"].as_object_mut().expect("edges").remove("m0->m1")), &["109 edges", "m0->m1"]);
    sentence(Circuit::from_json(folder.join("none.json")), &["none.json", "cannot be read"]);
    std::fs::write(folder.join("cut.json"), "{\"cfg\": {\"n_la").expect("the scratch folder can be written");
    sentence(Circuit::from_json(folder.join("cut.json")), &["cut.json", "not a circuit"]);
    Ok(())
}

#[test]
fn an_edge_that_comes_twice_is_refused() {
    let text = std::fs::read_to_string(path("circuit.json")).expect("the fixture is there");
    let file = scratch("circuit_twice").join("circuit.json");
    for (key, again) in
        [("\"input->a0.h0<q>\"", "{\"score\": 9.0, \"in_graph\": true}"), ("\"n_layers\"", "1"), ("\"score\"", "NaN")]
    {
        let at = text.find(key).expect("the key is there");
        std::fs::write(&file, format!("{}{key}: {again}, {}", &text[..at], &text[at..])).expect("it can be written");
        sentence(Circuit::from_json(&file), &["circuit.json", key, "twice"]);
    }
}

/// In a file a node has one name, which counts from 0.
#[test]
fn names_that_count_from_the_end_are_refused() {
    let text = std::fs::read_to_string(path("circuit.json")).expect("the fixture is there");
    let file = scratch("circuit_from_the_end").join("circuit.json");
    for (key, from_end, node) in
        [("\"input->a0.h0<q>\"", "\"input->a0.h-1<q>\"", "a0.h-1"), ("\"m0\"", "\"m-1\"", "m-1")]
    {
        let at = text.find(key).expect("the key is there");
        let again = format!("{}{from_end}{}", &text[..at], &text[at + key.len()..]);
        std::fs::write(&file, again).expect("it can be written");
        sentence(Circuit::from_json(&file), &["circuit.json", node, "count from 0"]);
    }
}
