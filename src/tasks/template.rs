/// `template` with each `{key}` replaced by its word.
pub(super) fn fill(template: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(template.to_owned(), |text, (key, word)| text.replace(&format!("{{{key}}}"), word))
}

/// The words and punctuation marks of a plain English text, each with its space, as GPT-2 splits before it merges:
/// `"Then, Tom"` is `"Then"`, `","`, `" Tom"`.
///
/// A tokenizer that has all words of a prompt as single tokens gives one token for each piece,
/// so the index of a piece is the position of a token (without BOS).
pub fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for (i, word) in text.split(' ').enumerate() {
        let space = if i > 0 { " " } else { "" };
        if word.is_empty() && i > 0 {
            pieces.push(" ".into()); // two spaces in a row: the first is a piece by itself
            continue;
        }
        let body = word.trim_end_matches(['.', ',']);
        let marks = word[body.len()..].chars().map(String::from);
        if body.is_empty() {
            pieces.extend(marks.enumerate().map(|(k, mark)| if k == 0 { format!("{space}{mark}") } else { mark }));
        } else {
            pieces.push(format!("{space}{body}"));
            pieces.extend(marks);
        }
    }
    pieces
}
