//! The glossary of `docs/words.md`: phrases that readers of the field stumble over must not come back.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases, in lower case, that have a better word.
const BETTER: &[(&str, &str)] = &[
    ("number type", "dtype"),
    ("turned by their position", "after rotary embedding"),
    ("hang in the air", "dangling"),
    ("the so many", "the `n`"),
    ("as many as each other", "the same number of"),
    ("tells them not apart", "cannot tell them apart"),
    ("tells the prompts not apart", "cannot tell the prompts apart"),
    ("held against", "compared with, or checked against"),
    ("hold against", "compare with, or check against"),
    ("unless told otherwise", "by default"),
    ("what attention gives", "attention output"),
    ("none in practice", "return the value"),
    ("no end in sight", "say what is known"),
];

/// What may follow "is no" in a native sentence.
const NEGATIONS: &[&str] =
    &["longer", "such", "different", "more", "less", "better", "larger", "smaller", "worse", "one"];

/// Files whose words are ours: sources, tests of the launcher, and pages.
fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            texts(&path, found);
        } else if path.extension().is_some_and(|extension| ["rs", "md"].iter().any(|wanted| extension == *wanted)) {
            found.push(path);
        }
    }
}

fn ours() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "docs", "lab/src", "examples", "benches", "datasets", "tests"] {
        texts(&root.join(folder), &mut paths);
    }
    let pages = ["README.md", "HOOKS.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    paths.extend(pages.iter().map(|page| root.join(page)));
    let about_words = [root.join("docs/words.md"), root.join("tests/words.rs")];
    paths.retain(|path| !about_words.contains(path));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a page is UTF-8");
        (path.strip_prefix(&root).expect("a path below the root").display().to_string(), text)
    };
    paths.into_iter().map(read).collect()
}

/// What is wrong with the words of a text, line by line.
fn complaints(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        let better = BETTER.iter().filter(|(phrase, _)| line.contains(phrase));
        wrong.extend(better.map(|(phrase, better)| format!("line {}: {phrase:?}, write {better}", number + 1)));
        for (at, phrase) in line.match_indices(" is no ") {
            let next: String = line[at + phrase.len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
            let before = line[..at].rsplit([' ', '(', '"']).next().unwrap_or("");
            // "there is no path", "is no longer".
            if before != "there" && !next.is_empty() && !NEGATIONS.contains(&next.as_str()) {
                wrong.push(format!("line {}: \"is no {next}\", write \"is not a {next}\"", number + 1));
            }
        }
    }
    wrong
}

#[test]
fn the_words_are_the_fields() {
    let texts = ours();
    assert!(texts.len() > 300, "hardly any text was found: {}", texts.len());
    let wrong: Vec<String> = texts
        .iter()
        .flat_map(|(path, text)| complaints(text).into_iter().map(move |complaint| format!("{path}, {complaint}")))
        .collect();
    assert!(wrong.is_empty(), "see docs/words.md:\n{}", wrong.join("\n"));
}

#[test]
fn complaints_are_found_and_native_sentences_are_not() {
    for wrong in ["A number type of its own.", "this is no token", "It is, unless told otherwise, 3."] {
        assert_eq!(complaints(wrong).len(), 1, "{wrong}");
    }
    for right in ["there is no token", "it is no longer there", "a dtype", "this is not a token"] {
        assert_eq!(complaints(right), Vec::<String>::new(), "{right}");
    }
}
