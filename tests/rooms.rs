//! The map of CONTRIBUTING.md, checked: which room uses which, and how long files and functions may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What any room may use.
const BASE: &[&str] = &[
    "visible",
    "error",
    "interrupt",
    "progress",
    "files",
    "storage",
    "slice",
    "shard",
    "dims",
    "head",
    "labelled",
    "wide",
    "host",
    "random",
    "statistics",
    "variables",
];

/// Each room with the rooms it may use besides the base and itself. A room uses only rooms above its own row.
const ROOMS: &[(&str, &[&str])] = &[
    ("visible", &[]),
    ("error", &[]),
    ("interrupt", &[]),
    ("progress", &[]),
    ("files", &[]),
    ("storage", &[]),
    ("slice", &[]),
    ("shard", &[]),
    ("dims", &[]),
    ("head", &[]),
    ("labelled", &[]),
    ("wide", &[]),
    ("host", &[]),
    ("random", &[]),
    ("statistics", &[]),
    ("variables", &[]),
    ("tensors", &[]),
    ("factored_matrix", &[]),
    ("tokens", &[]),
    ("tasks", &["tokens"]),
    ("hooks", &[]),
    ("model", &["factored_matrix", "tokens", "hooks"]),
    ("generate", &["tokens", "hooks", "model"]),
    ("metrics", &["tokens", "tasks", "hooks", "model"]),
    ("cache", &["tokens", "hooks", "model", "metrics"]),
    ("analysis", &["factored_matrix", "tokens", "tasks", "hooks", "model", "cache"]),
    ("experiment", &["tokens", "hooks", "model", "metrics", "cache"]),
    ("patching", &["tokens", "hooks", "model", "metrics", "experiment"]),
    ("gradients", &["tokens", "hooks", "model", "metrics", "experiment", "patching"]),
    ("circuits", &["tokens", "hooks", "model", "metrics", "experiment"]),
    ("shards", &["tasks", "hooks", "model", "metrics", "experiment", "patching", "circuits"]),
    ("probes", &["tokens", "hooks", "model", "metrics", "cache"]),
    ("dictionaries", &["tokens", "hooks", "model"]),
    (
        "steering",
        &["tokens", "hooks", "model", "generate", "metrics", "cache", "experiment", "patching", "dictionaries"],
    ),
    ("features", &["tokens", "hooks", "model", "metrics", "cache", "dictionaries"]),
    ("feature_graphs", &["tokens", "hooks", "model", "metrics", "cache", "experiment", "circuits", "dictionaries"]),
    ("train", &["tokens", "tasks", "hooks", "model", "dictionaries"]),
    ("lenses", &["factored_matrix", "tokens", "hooks", "model", "metrics", "cache", "analysis", "steering", "train"]),
    ("interchange", &["tokens", "hooks", "model", "metrics", "cache", "probes", "train"]),
    (
        "course",
        &[
            "factored_matrix",
            "tensors",
            "tokens",
            "hooks",
            "model",
            "metrics",
            "cache",
            "analysis",
            "dictionaries",
            "train",
        ],
    ),
    (
        "views",
        &[
            "factored_matrix",
            "tokens",
            "tasks",
            "hooks",
            "model",
            "generate",
            "metrics",
            "cache",
            "analysis",
            "experiment",
            "patching",
            "gradients",
            "circuits",
            "shards",
            "probes",
            "dictionaries",
            "steering",
            "features",
            "feature_graphs",
            "train",
            "lenses",
            "interchange",
            "course",
        ],
    ),
    (
        "prelude",
        &[
            "tensors",
            "factored_matrix",
            "tokens",
            "tasks",
            "hooks",
            "model",
            "generate",
            "metrics",
            "cache",
            "analysis",
            "experiment",
            "patching",
            "gradients",
            "circuits",
            "shards",
            "probes",
            "dictionaries",
            "steering",
            "features",
            "feature_graphs",
            "train",
            "lenses",
            "interchange",
            "views",
        ],
    ),
    ("guide", &[]),
];

/// What lib.rs shows at its root: the error and the crates that come with this one.
const ROOT: &[&str] = &["Error", "Result", "candle", "candle_nn", "candle_transformers", "ndarray", "plotly"];

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 60;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The room of a file below src/, by its first folder or its name; none for lib.rs.
fn room(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).expect("a file below src/");
    let first = inside.components().next().expect("a path").as_os_str().to_string_lossy().into_owned();
    let name = first.trim_end_matches(".rs").to_string();
    (name != "lib").then_some(name)
}

/// The names that stand directly after `crate::` in code, groups in braces taken apart.
fn used(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let after = &code[at + "crate::".len()..];
        let Some(group) = after.strip_prefix('{') else {
            names.push(word(after));
            continue;
        };
        let mut depth = 1;
        let mut starts = true;
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => starts = true,
                c if starts && !c.is_whitespace() => {
                    names.push(word(&group[place..]));
                    starts = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// The file without comments, whose examples speak as users do.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file is UTF-8");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn rooms_use_the_rooms_they_may_and_no_others() {
    let mut wrong = Vec::new();
    let mut used_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut arrows = 0;
    for file in files(&root().join("src")) {
        let Some(room) = room(&file) else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            panic!("{} is in no room of this test's list", file.display());
        };
        for name in used(&code(&file)) {
            arrows += 1;
            let name = name.as_str();
            if name != room && !BASE.contains(&name) && !ROOT.contains(&name) && !allowed.contains(&name) {
                wrong.push(format!("{} uses {name}", file.display()));
            }
            used_by.entry(room.clone()).or_default().insert(name.to_string());
        }
    }
    for (room, allowed) in ROOMS {
        let unused = allowed.iter().filter(|name| !used_by.get(*room).is_some_and(|used| used.contains(**name)));
        wrong.extend(unused.map(|name| format!("{room} may use {name}, but does not: take it out of its row")));
    }
    assert!(arrows > 100, "the search for arrows finds hardly any: {arrows}");
    assert!(wrong.is_empty(), "arrows against the map of CONTRIBUTING.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_list_of_rooms_only_points_upwards_and_is_the_map() {
    let map = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md is there");
    for (row, (room, allowed)) in ROOMS.iter().enumerate() {
        for name in *allowed {
            assert!(ROOMS[..row].iter().any(|(above, _)| above == name), "{room} may use {name}, which is below it");
        }
        assert!(map.contains(&format!("`{room}`")) || map.contains(&format!("`{room}/`")), "{room} is not on the map");
        let path = root().join("src").join(room);
        assert!(path.is_dir() || path.with_extension("rs").is_file(), "the room {room} is gone");
    }
}

#[test]
fn arrows_are_found_in_groups_and_paths() {
    let found = used(
        "use crate::{error::{Error, Result}, hooks, model::HookedTransformer};\nlet x = crate::slice::absolute(1);",
    );
    assert_eq!(found, ["error", "hooks", "model", "slice"]);
}

/// In a cell, evcxr reads standard output: what is written there must be a whole block, or harmless. In the course's sections it is the
/// cells themselves that print.
#[test]
fn two_functions_write_to_standard_output() {
    let mut writers = Vec::new();
    let cells = root().join("src/course/sections");
    for file in files(&root().join("src")).into_iter().filter(|file| !file.starts_with(&cells)) {
        let code = code(&file).replace("eprint", "");
        // How wide the terminal is.
        let code = code.replace("Term::stdout()", "");
        for _ in 0..["print!(", "println!(", "stdout()"].iter().map(|word| code.matches(word).count()).sum::<usize>() {
            writers.push(file.strip_prefix(root()).expect("a file below the root").display().to_string());
        }
    }
    writers.sort();
    assert_eq!(writers, ["src/views/envelope.rs", "src/visible.rs"]);
}

/// Functions longer than the budget, by the line they begin at: rustfmt puts their closing brace under their beginning.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let before = line.trim_start().split("fn ").next().unwrap_or("");
        let begins = line.contains("fn ")
            && before.split_whitespace().all(|word| {
                word.starts_with("pub") || ["const", "in", "unsafe"].contains(&word) || word.ends_with(')')
            });
        if !begins || line.trim_end().ends_with([';', '}']) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| *line == closing).map_or(0, |end| end + 1);
        if length > LONGEST_FUNCTION {
            long.push(format!("line {}: {} ({length} lines)", start + 1, line.trim()));
        }
    }
    long
}

#[test]
fn files_and_functions_keep_to_their_budget() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for folder in ["src", "tests", "examples", "lab/src"] {
        for file in files(&root().join(folder)) {
            seen += 1;
            let text = fs::read_to_string(&file).expect("a source file is UTF-8");
            let count = text.lines().count();
            if count > LONGEST_FILE {
                wrong.push(format!("{}: {count} lines", file.display()));
            }
            wrong.extend(long_functions(&text).into_iter().map(|long| format!("{} {long}", file.display())));
        }
    }
    assert!(seen > 30, "hardly any file was found: {seen}");
    assert!(
        wrong.is_empty(),
        "longer than {LONGEST_FILE} lines a file, {LONGEST_FUNCTION} a function:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn long_functions_are_found() {
    let function =
        |lines: usize| format!("impl X {{\n    pub fn f(&self) {{\n{}    }}\n}}\n", "        x();\n".repeat(lines));
    assert_eq!(long_functions(&function(58)), Vec::<String>::new());
    assert_eq!(long_functions(&function(59)).len(), 1);
}
