//! The committed data sets against a new run of what makes them.

use std::path::Path;

use crate::data_files::csv_files;

#[test]
fn the_committed_data_sets_are_what_the_generators_make() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    for file in csv_files().unwrap() {
        let committed = std::fs::read_to_string(folder.join(&file.name)).unwrap();
        let advice = "run `cargo run --example make_datasets` if the change is wanted";
        assert!(committed == file.text, "{} is not what the generators make: {advice}.", file.name);
    }
}

#[test]
fn every_line_has_as_many_fields_as_the_header() {
    for file in csv_files().unwrap() {
        let columns = file.text.lines().next().unwrap().split(',').count();
        for line in file.text.lines() {
            assert_eq!(fields(line).len(), columns, "{}: {line}", file.name);
        }
    }
    assert_eq!(fields("\"a, \"\"b\"\"\",c"), ["a, \"b\"", "c"]);
}

/// The fields of a CSV line (RFC 4180), one character after the other.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().unwrap();
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}
