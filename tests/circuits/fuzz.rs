//! Damaged circuits, and names of edges: a sentence, or a circuit that is written and read back the same.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_lens::Error;
use candle_lens::circuits::{Circuit, Edge, Node};
use candle_lens::dims::Dims;
use candle_lens::hooks::{HookPlan, HookPoint, HookQuery};
use candle_lens::model::HookedTransformer;

use crate::support::damage::{Damage, cases, torture, torture_keys};
use crate::support::fixture::path;
use crate::support::scratch;
use crate::support::sentence::sentence;

#[test]
fn damaged_circuits() {
    let folder = scratch("fuzz_circuits");
    let (file, copy) = (folder.join("circuit.json"), folder.join("copy.json"));
    let whole = fs::read(path("circuit.json")).expect("the fixture is there");
    let read = || {
        let circuit = Circuit::from_json(&file)?;
        circuit.to_json(&copy)?;
        assert_eq!(format!("{:?}", Circuit::from_json(&copy)?), format!("{circuit:?}"));
        Ok(())
    };
    torture(110, 300, &file, &whole, read);
    let numbers = String::from_utf8(whole).expect("text").replace("NaN", "0.5");
    torture_keys(111, 200, &file, numbers.as_bytes(), read);
    let file = folder.join("circuit.pt");
    let whole = fs::read(path("eap_ig.pt")).expect("the fixture is there");
    torture(112, 400, &file, &whole, || Circuit::from_pt(&file).map(drop));
}

/// Names of hook points, nodes and edges, pieces of right ones put together wrongly.
#[test]
fn names_of_points_and_edges() {
    const PIECES: [&str; 24] = [
        "blocks.",
        "hook_",
        "attn.",
        "mlp.",
        "q",
        "z",
        "resid_pre",
        "scale",
        "ln1",
        "a0.h",
        "m",
        "->",
        "<k>",
        "0",
        "3",
        "-1",
        "18446744073709551615",
        "9223372036854775808",
        ".",
        " ",
        "🙂",
        "\u{0}",
        "logits",
        "input",
    ];
    let model = HookedTransformer::from_pretrained("tiny").expect("it is embedded");
    let (dims, circuit): (Dims, _) = (model.dims(), Circuit::of(&model));
    let mut damage = Damage::new(120);
    let mut valid = 0;
    for case in 0..cases(3000) {
        let name: String = (0..=damage.below(6)).map(|_| damage.one_of(&PIECES)).collect();
        let layers = [isize::MIN, -1, 0, 1, 9, isize::MAX];
        let layer = layers[damage.below(layers.len())];
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let plan = HookPlan::new().capture(name.as_str()).pos(layer);
            [
                name.parse::<HookPoint>().map(drop),
                HookQuery::from(name.as_str()).resolve_all(&dims).map(drop),
                HookQuery::from((name.as_str(), layer)).resolve(&dims).map(drop),
                plan.memory(&dims, 2, 5, candle_lens::candle::DType::F32).map(drop),
                name.parse::<Node>().map(drop),
                name.parse::<Edge>().map(drop),
                circuit.without(&name).map(drop),
            ]
        }));
        for result in tried.unwrap_or_else(|_| panic!("a panic: case {case}, {name:?}, layer {layer}")) {
            match result {
                Ok(()) => valid += 1,
                Err(error) => drop(sentence(Err::<(), Error>(error), &[])),
            }
        }
    }
    assert!(valid > 0, "no name was right, so nothing was tested");
}
