//! How near two numbers must be is a decision, so it has a name and a reason: a comparison in a test says no small number itself.

use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::CharIndices;

/// Numbers from here on are shares, times or scores that a test expects, not how far off it may be.
const SMALL: f64 = 0.1;

/// A piece of code with the line on which it stands. Of text and characters in quotes only the quotes are left.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    line: usize,
    text: String,
    /// rustfmt puts spaces around operators and none around the brackets of types.
    spaced: bool,
}

fn take_while(chars: &mut Peekable<CharIndices>, text: &mut String, wanted: impl Fn(char) -> bool) {
    while let Some((_, c)) = chars.next_if(|&(_, c)| wanted(c)) {
        text.push(c);
    }
}

/// The rest of a number that begins with a digit; after a point that names a field, its digits only.
fn number(chars: &mut Peekable<CharIndices>, code: &str, text: &mut String, is_field: bool) {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let at = |place: usize| code[place..].chars().nth(1).unwrap_or(' ');
    take_while(chars, text, |c| c.is_ascii_digit() || c == '_');
    if is_field {
        return;
    }
    if let Some(&(place, '.')) = chars.peek()
        && at(place) != '.'
        && !at(place).is_alphabetic()
    {
        text.extend(chars.next().map(|(_, c)| c));
        take_while(chars, text, |c| c.is_ascii_digit() || c == '_');
    }
    if let Some(&(place, 'e')) = chars.peek()
        && (at(place) == '-' || at(place).is_ascii_digit())
    {
        text.extend([chars.next(), chars.next()].into_iter().flatten().map(|(_, c)| c));
    }
    take_while(chars, text, word);
}

/// What stands behind the quote that opens a text.
fn skip_text(chars: &mut Peekable<CharIndices>, hashes: Option<usize>) {
    let end = format!("\"{}", "#".repeat(hashes.unwrap_or(0)));
    let mut seen = String::new();
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' if hashes.is_none() => drop(chars.next()),
            c => seen.push(c),
        }
        if seen.ends_with(&end) {
            return;
        }
    }
}

/// The pieces of Rust code, without comments.
fn pieces(code: &str) -> Vec<Piece> {
    let mut chars = code.char_indices().peekable();
    let mut found: Vec<Piece> = Vec::new();
    let (mut line, mut counted) = (1, 0);
    while let Some((place, c)) = chars.next() {
        let rest = &code[place..];
        let before = code[..place].chars().next_back().unwrap_or(' ');
        let mut text = c.to_string();
        match c {
            c if c.is_whitespace() => continue,
            '/' if rest.starts_with("//") => {
                while chars.next_if(|&(_, c)| c != '\n').is_some() {}
                continue;
            }
            '"' => skip_text(&mut chars, None),
            // A character; a lifetime has no second quote.
            '\'' if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') => {
                chars.next();
                while chars.next_if(|&(_, c)| c != '\'').is_some() {}
                chars.next();
            }
            c if c.is_ascii_digit() => {
                let is_field = found.last().is_some_and(|piece| piece.text == ".");
                number(&mut chars, code, &mut text, is_field);
            }
            c if c.is_alphabetic() || c == '_' => {
                take_while(&mut chars, &mut text, |c| c.is_alphanumeric() || c == '_');
                if ["r", "br"].contains(&text.as_str()) && chars.peek().is_some_and(|&(_, c)| c == '"' || c == '#') {
                    let mut hashes = String::new();
                    take_while(&mut chars, &mut hashes, |c| c == '#');
                    chars.next();
                    skip_text(&mut chars, Some(hashes.len()));
                }
            }
            '&' | '|' | '<' | '>' | '=' | '-' => take_while(&mut chars, &mut text, |c| "&|<>=".contains(c)),
            _ => {}
        }
        let after = chars.peek().map_or(' ', |&(_, c)| c);
        let spaced = before.is_whitespace() && after.is_whitespace();
        line += code[counted..place].matches('\n').count();
        counted = place;
        found.push(Piece { line, text, spaced });
    }
    found
}

/// Whether this is a number that says how far off something may be.
fn is_small(piece: &Piece) -> bool {
    let text = piece.text.replace('_', "");
    let digits = text.trim_end_matches("f32").trim_end_matches("f64");
    let is_number = text.starts_with(|c: char| c.is_ascii_digit()) && digits.contains(['.', 'e']);
    is_number && digits.parse::<f64>().is_ok_and(|value| value > 0. && value < SMALL)
}

/// The pieces from here to the end of the expression, those in brackets left out.
fn expression(pieces: &[Piece]) -> Vec<&Piece> {
    let (mut depth, mut outside) = (0, Vec::new());
    for piece in pieces {
        match piece.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" if depth == 0 => break,
            ")" | "]" => depth -= 1,
            "," | ";" | "{" | "}" | "&&" | "||" if depth == 0 => break,
            _ if depth == 0 => outside.push(piece),
            _ => {}
        }
    }
    outside
}

/// The lines on which a comparison, or a function that is named after one, is given a small number.
fn unnamed(code: &str) -> Vec<usize> {
    let pieces = pieces(code);
    let mut lines = Vec::new();
    for (place, piece) in pieces.iter().enumerate() {
        if piece.spaced && ["<", "<=", ">", ">="].contains(&piece.text.as_str()) {
            let left = pieces[..place].last().into_iter();
            lines.extend(left.chain(expression(&pieces[place + 1..])).filter(|p| is_small(p)).map(|p| p.line));
        }
        let is_call = pieces.get(place + 1).is_some_and(|next| next.text == "(");
        if is_call && piece.text.starts_with("assert_") {
            let mut rest = &pieces[place + 2..];
            loop {
                lines.extend(expression(rest).into_iter().filter(|p| is_small(p)).map(|p| p.line));
                let Some(comma) = next_argument(rest) else { break };
                rest = &rest[comma..];
            }
        }
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// Where the next argument of a call begins.
fn next_argument(pieces: &[Piece]) -> Option<usize> {
    let mut depth = 0;
    for (place, piece) in pieces.iter().enumerate() {
        match piece.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return None,
            ")" | "]" | "}" => depth -= 1,
            "," if depth == 0 => return Some(place + 1),
            _ => {}
        }
    }
    None
}

fn tests(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of tests");
    let entries = entries.map(|entry| entry.expect("a readable folder").path());
    entries.flat_map(|path| if path.is_dir() { tests(&path) } else { vec![path] }).collect()
}

#[test]
fn tolerances_have_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut comparisons, mut wrong) = (0, Vec::new());
    for file in tests(&root.join("tests")).iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let code = fs::read_to_string(file).expect("a source file is UTF-8");
        comparisons += pieces(&code).iter().filter(|piece| piece.spaced && piece.text.starts_with(['<', '>'])).count();
        let name = file.strip_prefix(root).expect("a file below the root").display().to_string();
        wrong.extend(unnamed(&code).into_iter().map(|line| format!("{name}:{line}")));
    }
    assert!(comparisons > 200, "the search finds hardly any comparisons: {comparisons}");
    assert!(
        wrong.is_empty(),
        "these comparisons say a small number: give it a name and its reason, as in tests/support/tolerance.rs:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unnamed_tolerances_are_found() {
    for wrong in [
        "assert!((a - b).abs() < 1e-5);",
        "assert!(x.abs() > -1e-4f32 && y);",
        "assert!((a - b).abs() <= 1e-5 * size.max(1.), \"{a}\");",
        "assert!(error < 2e-3 + 0.02 * slope.abs());",
        "if 0.000_1 > worst {}",
        "assert_close(&got, &expected(1, 2)?, 1e-6, \"sums\");",
    ] {
        assert_eq!(unnamed(wrong), [1], "{wrong}");
    }
    assert_eq!(unnamed("// 'tis a < 1e-5\nassert!(\n    'a' < b\n        && a <\n 0.05\n);"), [5]);
}

#[test]
fn what_is_not_a_tolerance_is_left_alone() {
    for right in [
        "const ROUNDING: f32 = 1e-5;",
        "assert!((a - b).abs() < ROUNDING, \"below 1e-5 < {a}\");",
        "assert!(valid > 0.0 && valid < 0.9);",
        "assert!(value(0.01) > x.0.1, 1e-5);",
        "let y: Vec<f32> = vec![1e-40, 0.05];",
        "assert_eq!(text(1e-6), r#\"a < \"1e-5\"#);",
        "assert_close(&model(1e-5)?, &other, ROUNDING, \"logits\");",
        "fn f<'a>(x: &'a f32) -> f32 { if *x > 5.0 { 1e-5 } else { *x } }",
    ] {
        assert_eq!(unnamed(right), Vec::<usize>::new(), "{right}");
    }
}
