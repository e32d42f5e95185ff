//! The committed notebooks are those that the sections make.

use std::fs;
use std::path::Path;

use candle_lens::course::{For, Part, sections};

/// `UPDATE_COURSE=1 cargo test --test suite course` writes them anew.
#[test]
fn committed_notebooks_are_those_of_the_sections() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("notebooks/course");
    let mut expected = Vec::new();
    for section in sections() {
        let path = folder.join(format!("{}.ipynb", section.file));
        let text = serde_json::to_string_pretty(&section.notebook(For::Students)).expect("a notebook is JSON") + "\n";
        if std::env::var_os("UPDATE_COURSE").is_some() {
            fs::create_dir_all(&folder).expect("a folder that can be made");
            fs::write(&path, &text).expect("a notebook that can be written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, text, "{}: UPDATE_COURSE=1 writes it anew", path.display());
        expected.push(path);
    }
    let there = fs::read_dir(&folder).expect("the course's folder").map(|entry| entry.expect("readable").path());
    // Whoever works in this folder has a file of progress there.
    let notebooks = there.filter(|path| path.extension().is_some_and(|ending| ending == "ipynb"));
    let unknown: Vec<_> = notebooks.filter(|path| !expected.contains(path)).collect();
    assert!(unknown.is_empty(), "{unknown:?} belong to no section");
}

/// A kernel gives a variable its type when its own cell has run: `let s2 = 10;` is an i32 for good, and no function takes it as a position.
#[test]
fn whole_numbers_that_later_cells_use_have_types() {
    for section in sections() {
        let cells = section.parts.iter().filter_map(|part| if let Part::Code(cell) = part { Some(cell) } else { None });
        for line in cells.flat_map(|cell| cell.lines()).filter(|line| line.starts_with("let ")) {
            let value = line.split_once(" = ").map_or("", |(_, value)| value);
            let is_bare = value.chars().all(|c| c.is_ascii_digit() || " ,();".contains(c));
            assert!(value.is_empty() || !is_bare, "{}: {line}", section.file);
        }
    }
}

#[test]
fn students_get_no_solutions_and_tests_do() {
    for section in sections() {
        let (empty, full) = (section.notebook(For::Students).to_string(), section.notebook(For::Tests).to_string());
        for about in section.exercises() {
            let body = serde_json::to_string(
                about.solution().split_once(" {\n").and_then(|(_, body)| body.lines().next()).expect("a body"),
            )
            .expect("a text");
            let body = body.trim_matches('"');
            assert!(!empty.contains(body) && full.contains(body), "{}", about.id);
        }
        assert!(empty.matches("todo!()").count() >= section.exercises().len());
    }
}
