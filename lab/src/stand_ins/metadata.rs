//! What evcxr's rust-analyzer learns about the dependencies: only those that a cell can name.
//!
//! evcxr asks its built-in rust-analyzer for the type of each variable. Left alone, that reads all 300 crates below the
//! library (`cargo metadata` lists even those that are never compiled): 20 seconds and 2 GB per kernel. The types of most of
//! them cannot occur in a cell. So the kernel's cargo (see `tools.rs`) leaves out of `cargo metadata` what is below the
//! library and not in [`SHOWN`]. What a user adds with `:dep` is left whole, and what cargo compiles does not depend on it.

use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The library.
const LIBRARY: &str = "candle-lens";

/// The crates below the library whose types or traits occur in its public interface.
const SHOWN: [&str; 7] = ["candle-core", "candle-nn", "candle-transformers", "half", "ndarray", "num-traits", "plotly"];

/// The standard library, and of the crates below it those whose types its own are made of. Others (libc, the compiler's
/// arithmetic, the test harness) have no part in the types of cells.
const STANDARD: [&str; 11] = [
    "alloc",
    "cfg-if",
    "core",
    "foldhash",
    "hashbrown",
    "proc_macro",
    "rustc-std-workspace-alloc",
    "rustc-std-workspace-core",
    "rustc-std-workspace-std",
    "std",
    "sysroot",
];

/// The package that evcxr puts cells in.
const CELLS: &str = "ctx";

/// The metadata of a workspace of cells, or of the standard library, without the packages that cells cannot name; none if it
/// is something else.
///
/// evcxr's first cell of all, which is its own, is compiled and read before the library is loaded: `manifest`, that of the
/// cells, has no dependency then. All that is read for it is read again afterwards, so it gets no standard library.
pub fn narrowed(text: &[u8], manifest: &str) -> Option<Value> {
    let mut metadata: Value = serde_json::from_slice(text).ok()?;
    let mut kept = named_by_cells(&metadata)?;
    if is_standard(&metadata) && dependencies(manifest).is_empty() {
        kept.clear();
    }
    let keep = |id: &Value| id.as_str().is_some_and(|id| kept.contains(id));
    metadata["packages"].as_array_mut()?.retain(|package| keep(&package["id"]));
    let nodes = metadata["resolve"]["nodes"].as_array_mut()?;
    nodes.retain(|node| keep(&node["id"]));
    for node in nodes {
        node["deps"].as_array_mut()?.retain(|dep| keep(&dep["pkg"]));
        node["dependencies"].as_array_mut()?.retain(keep);
    }
    Some(metadata)
}

/// The ids of the packages to keep. Of a workspace of cells: its own, the library with what it shows, and all that other
/// dependencies of the cells need. Of the standard library: [`STANDARD`]. None for any other workspace.
fn named_by_cells(metadata: &Value) -> Option<HashSet<String>> {
    let names: HashMap<&str, &str> = metadata["packages"]
        .as_array()?
        .iter()
        .filter_map(|p| Some((p["id"].as_str()?, p["name"].as_str()?)))
        .collect();
    let nodes: HashMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()?
        .iter()
        .filter_map(|n| Some((n["id"].as_str()?, ids(&n["dependencies"]))))
        .collect();
    let edges = |id: &str| nodes.get(id).cloned().unwrap_or_default();
    let members = ids(&metadata["workspace_members"]);
    let named = |package: &str| members.iter().find(|id| names.get(*id) == Some(&package));
    if is_standard(metadata) {
        let standard = names.iter().filter(|(_, name)| STANDARD.contains(name));
        return Some(standard.map(|(id, _)| id.to_string()).collect());
    }
    let cells = named(CELLS)?;

    let mut kept: HashSet<&str> = members.iter().copied().collect();
    let (mut narrow, mut whole): (Vec<_>, Vec<_>) =
        edges(cells).into_iter().partition(|id| names.get(id) == Some(&LIBRARY));
    let mut walked = HashSet::new();
    while let Some(id) = whole.pop() {
        if walked.insert(id) {
            whole.extend(edges(id));
        }
    }
    while let Some(id) = narrow.pop() {
        if kept.insert(id) {
            narrow.extend(edges(id).into_iter().filter(|id| names.get(id).is_some_and(|name| SHOWN.contains(name))));
        }
    }
    Some(kept.union(&walked).map(|id| id.to_string()).collect())
}

/// Whether this is the workspace of the standard library.
fn is_standard(metadata: &Value) -> bool {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let members = ids(&metadata["workspace_members"]);
    let names: HashSet<&str> = packages
        .filter(|package| package["id"].as_str().is_some_and(|id| members.contains(&id)))
        .filter_map(|package| package["name"].as_str())
        .collect();
    ["std", "core"].iter().all(|name| names.contains(name))
}

/// Whether a manifest is the one by which evcxr tries a `:dep`, and this is on the library as the template has it (`anchor` is
/// the manifest that says how).
pub fn is_known(manifest: &str, anchor: &str) -> bool {
    manifest.contains("\"evcxr_dummy_validate_dep\"") && dependencies(manifest) == dependencies(anchor)
}

/// The lines of a manifest below its heading of dependencies.
fn dependencies(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.skip_while(|line| !line.ends_with("dependencies]")).skip(1).collect()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A workspace of these members, with packages that need others; a package's id is `#` and its name.
    fn metadata(members: &[&str], needs: &[(&str, &[&str])]) -> Vec<u8> {
        let id = |name: &&str| format!("#{name}");
        let nodes: Vec<Value> = needs
            .iter()
            .map(|(name, needed)| {
                let deps: Vec<Value> = needed.iter().map(|name| json!({ "name": name, "pkg": id(name) })).collect();
                json!({ "id": id(name), "dependencies": needed.iter().map(id).collect::<Vec<_>>(), "deps": deps })
            })
            .collect();
        let packages: Vec<Value> = needs.iter().map(|(name, _)| json!({ "id": id(name), "name": name })).collect();
        let members: Vec<String> = members.iter().map(id).collect();
        json!({ "packages": packages, "workspace_members": members, "resolve": { "nodes": nodes } }).to_string().into()
    }

    const LOADED: &str = "[package]\nname = \"ctx\"\n\n[dependencies]\ncandle-lens = { path = \"/a\" }\n";

    fn kept(metadata: &Value) -> Vec<String> {
        let mut names: Vec<String> =
            metadata["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_the_library_shows_is_listed() {
        let needs: &[(&str, &[&str])] = &[
            ("ctx", &["candle-lens"]),
            ("anchor", &[]),
            ("candle-lens", &["candle-core", "hf-hub"]),
            ("candle-core", &["half", "zip"]),
            ("half", &["zip"]),
            ("hf-hub", &["tokio"]),
            ("tokio", &[]),
            ("zip", &[]),
        ];
        let narrow = narrowed(&metadata(&["ctx", "anchor"], needs), LOADED).unwrap();
        assert_eq!(kept(&narrow), ["anchor", "candle-core", "candle-lens", "ctx", "half"]);
        let nodes = narrow["resolve"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 5);
        let library = nodes.iter().find(|node| node["id"] == "#candle-lens").unwrap();
        assert_eq!(library["dependencies"], json!(["#candle-core"]));
        assert_eq!(library["deps"], json!([{ "name": "candle-core", "pkg": "#candle-core" }]));
    }

    #[test]
    fn what_the_user_adds_is_left_whole() {
        let needs: &[(&str, &[&str])] = &[
            ("ctx", &["candle-lens", "image"]),
            ("candle-lens", &["zip"]),
            ("image", &["png"]),
            ("png", &["zip"]),
            ("zip", &["crc"]),
            ("crc", &[]),
        ];
        let narrow = narrowed(&metadata(&["ctx"], needs), LOADED).unwrap();
        assert_eq!(kept(&narrow), ["candle-lens", "crc", "ctx", "image", "png", "zip"]);
    }

    #[test]
    fn the_standard_library_is_listed_without_what_it_is_built_on() {
        let needs: &[(&str, &[&str])] =
            &[("std", &["core", "libc", "hashbrown"]), ("core", &[]), ("libc", &[]), ("hashbrown", &["core"])];
        let narrow = narrowed(&metadata(&["std", "core"], needs), LOADED).unwrap();
        assert_eq!(kept(&narrow), ["core", "hashbrown", "std"]);
        let narrow = narrowed(&metadata(&["std", "core"], needs), "[package]\n\n[dependencies]\n\n").unwrap();
        assert!(kept(&narrow).is_empty(), "before the library is loaded");
    }

    #[test]
    fn the_library_is_not_tried_again() {
        let anchor =
            "[package]\nname = \"anchor\"\n\n[target.'cfg(x)'.dependencies]\ncandle-lens = { path = \"/a\" }\n";
        let tried = |line: &str| {
            format!("\n  [package]\n  name = \"evcxr_dummy_validate_dep\"\n\n  [dependencies]\n  {line}\n  ")
        };
        assert!(is_known(&tried("candle-lens = { path = \"/a\" }"), anchor));
        assert!(!is_known(&tried("candle-lens = { path = \"/b\" }"), anchor));
        assert!(!is_known(&tried("image = \"1\""), anchor));
        assert!(!is_known(LOADED, anchor), "the cells' own manifest");
    }

    #[test]
    fn another_workspace_is_not_touched() {
        assert!(
            narrowed(&metadata(&["mine"], &[("mine", &["candle-lens"]), ("candle-lens", &["zip"])]), LOADED).is_none()
        );
        assert!(narrowed(b"error: no such file", LOADED).is_none());
        assert!(narrowed(b"{}", LOADED).is_none());
    }
}
