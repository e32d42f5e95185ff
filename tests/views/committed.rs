//! The notebooks of this repository as they are committed: small, without plotly.js, which is in a file beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The most that a notebook may have, in bytes; the gallery, which shows every view, may have more.
const LARGEST: u64 = 400_000;
const LARGEST_GALLERY: u64 = 1_100_000;

const GALLERY: &str = "02_views_gallery.ipynb";

/// Words of plotly.js' header, and of what carries it.
const OF_THE_SCRIPT: [&str; 2] = ["plotly.js (cartesian - minified)", "data-carried"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn notebooks() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("notebooks")).expect("the notebooks");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ipynb"));
    paths.sort();
    assert!(paths.len() >= 7, "hardly any notebook was found: {paths:?}");
    paths
}

/// The HTML of a notebook's outputs.
fn outputs(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a notebook is UTF-8");
    let notebook: Value = serde_json::from_str(&text).expect("a notebook is JSON");
    let cells = notebook["cells"].as_array().expect("cells");
    let outputs = cells.iter().filter_map(|cell| cell["outputs"].as_array()).flatten();
    let lines = outputs.filter_map(|output| output["data"]["text/html"].as_array());
    lines.map(|lines| lines.iter().filter_map(Value::as_str).collect()).collect()
}

#[test]
fn a_notebook_is_small_and_does_not_contain_the_script() {
    for path in notebooks() {
        let size = fs::metadata(&path).expect("a notebook").len();
        let largest = if path.ends_with(GALLERY) { LARGEST_GALLERY } else { LARGEST };
        assert!(size < largest, "{} has {size} bytes: {largest} is the most", path.display());
        for html in outputs(&path) {
            let held = OF_THE_SCRIPT.iter().find(|words| html.contains(**words));
            assert_eq!(held, None, "{}: write it with `cargo lab run --in-place`", path.display());
        }
    }
}

#[test]
fn a_notebook_holds_no_null_where_jupyter_expects_none() {
    for path in notebooks() {
        let text = fs::read_to_string(&path).expect("a notebook is UTF-8");
        let notebook: Value = serde_json::from_str(&text).expect("a notebook is JSON");
        for cell in notebook["cells"].as_array().expect("cells") {
            let has_outputs = cell.get("outputs").is_some();
            assert_eq!(has_outputs, cell["cell_type"] == "code", "{}: only code has outputs", path.display());
            for output in cell["outputs"].as_array().into_iter().flatten() {
                assert!(output.get("data").is_none_or(Value::is_object), "{}: data is an object", path.display());
            }
        }
    }
}

#[test]
fn every_output_with_a_figure_says_where_the_script_is() {
    let mut files = BTreeSet::new();
    for path in notebooks() {
        for html in outputs(&path).iter().filter(|html| html.contains("data-figure=")) {
            assert!(html.contains("src=\"data:image/png;base64,") || html.contains("plotly figure"), "a still picture");
            let link = html.split("<a data-plotly=\"").nth(1).and_then(|rest| rest.split('>').next());
            let link = link.unwrap_or_else(|| panic!("{}: an output has no link to plotly.js", path.display()));
            let (name, address) = link.trim_end_matches('"').split_once("\" href=\"").expect("the file's address");
            assert_eq!(address, format!("assets/{name}"));
            let draws = html.find("window[\"candle-lens").expect("the call that draws");
            assert!(
                html.find("<a data-plotly").expect("the link") < draws,
                "a page runs the call before it has read on"
            );
            files.insert(name.to_owned());
        }
    }
    assert_eq!(files.len(), 1, "one script for all: {files:?}");
    let name = files.first().expect("one");
    let read = |folder: &str| fs::read(root().join(folder).join(name)).expect("the script");
    assert!(read("notebooks/assets") == read("src/views/assets"), "both are the same bytes, which git keeps once");
    let kept = fs::read_dir(root().join("notebooks/assets")).expect("the folder").count();
    assert_eq!(kept, 1, "nothing else is beside the notebooks");
}
