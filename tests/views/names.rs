//! Labels that every JavaScript object has as properties: each is drawn, in every kind of figure and widget.
//!
//! `constructor` is a token of GPT-2, `toString` one of Llama 3. What a browser really drew is counted by
//! `tests/views/names.py`, which needs what `tests/views/browser.rs` needs.

use std::path::Path;
use std::process::Command;

use candle_lens::prelude::*;
use candle_lens::views::Show;
use ndarray::{Array2, Array3};
use serde_json::Value;

use super::browser::{chromium, python};

/// Properties of every object and array, equal labels, and labels that are numbers, empty or spaces.
const NAMES: [&str; 16] = [
    "constructor",
    "toString",
    "valueOf",
    "__proto__",
    "hasOwnProperty",
    "isPrototypeOf",
    "__defineGetter__",
    "__lookupSetter__",
    "length",
    "push",
    " class",
    "constructor",
    "3",
    "",
    " ",
    "$a$",
];

const COUNT: usize = NAMES.len();

fn ramp() -> Vec<f32> {
    (0..COUNT).map(|i| i as f32 + 1.0).collect()
}

/// Every kind of figure that has labels.
fn figures() -> candle_lens::Result<Page> {
    let down = Array2::from_shape_fn((COUNT, COUNT), |(row, _)| row as f32 + 1.0);
    let frames = Array3::from_shape_fn((COUNT, 2, COUNT), |(f, r, c)| (f + r * c) as f32 + 1.0);
    let two = vec![ramp(), ramp()];
    Page::new()
        .with(&bar(ramp()).x_ticks(NAMES).title("bar").width(1000))?
        .with(&bar(vec![ramp(); COUNT]).names(NAMES).title("bar, names").width(1000))?
        .with(&line(ramp()).x_ticks(NAMES).title("line").width(1000))?
        .with(&line(vec![ramp(); COUNT]).names(NAMES).title("line, names").width(1000).height(600))?
        .with(&hist(vec![ramp(); COUNT]).names(NAMES).title("hist, names").width(1000).height(600))?
        .with(&scatter(ramp(), ramp()).point_labels(NAMES).title("scatter").width(1000))?
        .with(&imshow(&down).x_ticks(NAMES).y_ticks(NAMES).title("rows").width(1000))?
        .with(&imshow(down.t()).x_ticks(NAMES).y_ticks(NAMES).title("columns").width(1000))?
        .with(&imshow_animation(&frames).names(NAMES).x_ticks(NAMES).title("animation").width(1000))?
        .with(&imshow_facets(&frames).names(NAMES).x_ticks(NAMES).title("facets").width(500))?
        .with(&imshow_patching_result(two, NAMES).title("patching").width(1000))?
        .with(&plot_loss_difference(ramp(), NAMES, COUNT / 2).title("loss").width(1000))
}

/// Every kind of widget that has labels.
fn widgets() -> candle_lens::Result<Page> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let uniform = Array2::from_shape_fn((COUNT, COUNT), |(d, s)| if s > d { 0.0 } else { 1.0 / (d + 1) as f32 });
    let heads = Array3::from_shape_fn((COUNT, COUNT, COUNT), |(_, d, s)| uniform[(d, s)]);
    let numbers = Array2::from_shape_fn((COUNT, COUNT), |(p, n)| (p + n) as f32);
    let mut circuit = CircuitGraph::new(NAMES);
    let nodes: Vec<usize> = (0..COUNT).map(|i| circuit.node(NAMES[i], i, i, 1.0)).collect();
    nodes.windows(2).for_each(|two| circuit.edge(two[0], two[1], EdgeKind::V, 1.0));
    let samples = || vec![(NAMES, numbers.clone()); 3];
    let prompt = "constructor toString valueOf __proto__ hasOwnProperty";
    Page::new()
        .with(&attention_heads(NAMES, &heads).names(NAMES).title("attention_heads"))?
        .with(&attention_patterns(NAMES, &heads).names(NAMES).title("attention_patterns"))?
        .with(&attention_explorer(NAMES, &heads).names(NAMES).scores(NAMES[0], ramp()).title("attention_explorer"))?
        .with(&attention_pattern(NAMES, &uniform).title("attention_pattern"))?
        .with(&colored_tokens(NAMES, ramp()).title("colored_tokens"))?
        .with(&colored_tokens_multi(NAMES, &numbers).names(NAMES).title("colored_tokens_multi"))?
        .with(&text_neuron_activations(samples()).names(NAMES).title("text_neuron_activations"))?
        .with(&topk_tokens(samples()).names(NAMES).top_k(COUNT).title("topk_tokens"))?
        .with(&topk_samples(samples()).names(NAMES).title("topk_samples"))?
        .with(&token_log_probs(&model, prompt, &model.forward(prompt)?).title("token_log_probs"))?
        .with(&circuit_graph(&circuit).title("circuit_graph"))
}

#[test]
fn no_category_of_plotly_is_a_property_of_an_object() {
    for figure in [Figure::from(bar(ramp()).x_ticks(NAMES)), line(ramp()).x_ticks(NAMES).into()] {
        let spec: Value = serde_json::from_str(&figure.to_json().expect("drawn")).expect("JSON");
        let x: Vec<&str> = spec["data"][0]["x"].as_array().expect("x").iter().filter_map(Value::as_str).collect();
        assert_eq!(x.len(), COUNT);
        let distinct: std::collections::HashSet<&&str> = x.iter().collect();
        assert_eq!(distinct.len(), COUNT, "equal labels are still two positions");
        assert!(x.iter().all(|category| category.starts_with('\u{200b}')), "{x:?}");
    }
}

#[test]
#[ignore = "needs Chromium, and CANDLE_LENS_BROWSER_PYTHON: a Python with playwright (`cargo lab test` sets one up)"]
fn every_label_is_drawn() -> candle_lens::Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("views");
    std::fs::create_dir_all(&folder).expect("a folder below target/");
    let html = folder.join("names.html");
    Page::new().with(&figures()?)?.with(&widgets()?)?.save_html(&html)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/views/names.py");
    let names = serde_json::to_string(&NAMES.map(candle_lens::views::visible)).expect("texts");
    let run = Command::new(python())
        .arg(script)
        .args([chromium().as_path(), &html, &folder.join("names.png")])
        .arg(names)
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.lines().filter(|line| line.starts_with("ok")).count() > 30, "hardly anything was checked: {said}");
    Ok(())
}
