//! Documentation examples show what comes out: each asserts something, so that it fails when it is no longer true.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("a readable folder").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The examples that run, with the line at which each begins.
fn examples(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(words) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            open = None;
            continue;
        };
        match (words.trim_start().strip_prefix("```"), open.as_mut()) {
            (Some(kind), None) => open = Some((number + 1, kind.is_empty(), String::new())),
            (Some(_), Some(_)) => {
                let (start, runs, code) = open.take().expect("it is open");
                found.extend(runs.then_some((start, code)));
            }
            (None, Some((_, _, code))) => *code += &format!("{words}\n"),
            (None, None) => {}
        }
    }
    found
}

#[test]
fn every_example_asserts_something() {
    let (mut count, mut silent) = (0, Vec::new());
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        for (line, code) in examples(&fs::read_to_string(&file).expect("a source file is UTF-8")) {
            count += 1;
            if !code.contains("assert") {
                silent.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert!(count > 100, "the search finds hardly any examples: {count}");
    assert!(silent.is_empty(), "these examples assert nothing:\n{}", silent.join("\n"));
}

#[test]
fn examples_are_found_by_their_fences() {
    let text = "/// Words.\n///\n/// ```\n/// f();\n/// ```\nfn f() {}\n//! ```no_run\n//! g();\n//! ```\n    /// ```\n    /// assert!(true);\n    /// ```\n";
    assert_eq!(examples(text), [(3, " f();\n".to_string()), (10, " assert!(true);\n".to_string())]);
}
