//! The part of YAML that configurations of circuit-tracer use: keys with a text, a number, `true`, `false`, `null`, or a list of such, one a
//! line. Everything else of YAML (objects in objects, references, tags, texts over several lines) is refused, so that nothing is
//! read as something that it does not say.

use serde_json::{Map, Value};

/// The keys of a configuration.
///
/// # Errors
/// The line that is not of this kind, as the end of a sentence.
pub(super) fn read(text: &str) -> Result<Map<String, Value>, String> {
    let mut keys = Map::new();
    // The key whose list the next lines may be.
    let mut open: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: &str| Err(format!("line {} {why}", number + 1));
        let content = without_comment(line.trim_end_matches('\r'));
        let trimmed = content.trim();
        if trimmed.is_empty() || (number == 0 && trimmed == "---") {
            continue;
        }
        if content.contains('\t') {
            return wrong("has a tab, which YAML does not indent with");
        }
        if let Some(item) = trimmed.strip_prefix("- ") {
            let list = open.as_ref().and_then(|key| keys.get_mut(key));
            let item = match scalar(item.trim()) {
                Ok(item) => item,
                Err(why) => return wrong(&why),
            };
            match list {
                Some(Value::Array(items)) => items.push(item),
                Some(empty @ Value::Null) => *empty = Value::Array(vec![item]),
                _ => return wrong("is an item of no list"),
            }
            continue;
        }
        if content.starts_with(' ') {
            return wrong("is indented: objects in objects and texts of several lines are not read");
        }
        let Some((key, value)) =
            trimmed.split_once(':').filter(|(_, value)| value.is_empty() || value.starts_with(' '))
        else {
            return wrong("is not `key: value`");
        };
        let is_plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if key.is_empty() || !key.chars().all(is_plain) {
            return wrong("has no plain name as its key");
        }
        if keys.contains_key(key) {
            return wrong(&format!("has the key {key:?} a second time"));
        }
        let value = match list_or_scalar(value.trim()) {
            Ok(value) => value,
            Err(why) => return wrong(&why),
        };
        // A list may follow a key without a value.
        open = trimmed.ends_with(':').then(|| key.to_string());
        keys.insert(key.into(), value);
    }
    Ok(keys)
}

/// The line up to a `#` that begins a comment: at its start, or behind a space and outside quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before == ' ' => return &line[..at],
            (None, '"' | '\'') if before == ' ' || before == '[' || before == ',' => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => (),
        }
        before = c;
    }
    line
}

fn list_or_scalar(text: &str) -> Result<Value, String> {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else { return scalar(text) };
    match inner.trim() {
        "" => Ok(Value::Array(Vec::new())),
        inner => inner.split(',').map(|item| scalar(item.trim())).collect::<Result<_, _>>().map(Value::Array),
    }
}

fn scalar(text: &str) -> Result<Value, String> {
    let first = text.chars().next();
    if let Some(quote @ ('"' | '\'')) = first {
        let inner =
            text.get(1..).and_then(|rest| rest.strip_suffix(quote)).filter(|inner| !inner.contains([quote, '\\']));
        return inner.map(Value::from).ok_or_else(|| "has a quoted text with an escape or without an end".into());
    }
    if text.contains(": ")
        || text.ends_with(':')
        || first.is_some_and(|c| "&*!|>{}[]%@`?,".contains(c))
        || text.starts_with("- ")
    {
        return Err("has a value that is more than one text or number".into());
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => match text.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => text.into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_people_and_yaml_dump_write() {
        let text = "# by hand\nmodel_name: \"google/gemma-2-2b\"   # quoted\nkind: set\nscan: 'a#b'\nrevision: null\nn: 3\nlazy: true\n\
                    empty:\ntranscoders:\n- hf://a/b/layer_0?revision=x#y\n- \"c\"\nmore:\n  - d  # indented\nflow: [e, \"f\"]\nlast: -x\n";
        let expected = json!({
            "model_name": "google/gemma-2-2b", "kind": "set", "scan": "a#b", "revision": null, "n": 3, "lazy": true, "empty": null,
            "transcoders": ["hf://a/b/layer_0?revision=x#y", "c"], "more": ["d"], "flow": ["e", "f"], "last": "-x",
        });
        assert_eq!(Value::Object(read(text).expect("plain")), expected);
    }

    #[test]
    fn the_rest_of_yaml_is_refused() {
        for text in [
            "a:\n  b: c",
            "a: &x b",
            "a: *x",
            "a: !!python/object b",
            "a: |\n  b",
            "a: >\n  b",
            "a: {b: c}",
            "a: b\na: c",
            "- a",
            "a: b\n- c",
            "a: \"b",
            "a: \"\\x41\"",
            "? a",
            "a",
            "a: b: c",
            "\ta: b",
            "a:\n- - b",
            "%YAML 1.1",
            "a: [[b]]",
            "a: 'it''s'",
            "a:b",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
