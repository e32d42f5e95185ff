//! Lists in a field, as Python or JSON writes them: `['gem', 'gems']`, `["gem","gems"]`, `[16840, 23685]`.

/// The texts of a list of texts.
pub(super) fn texts(field: &str) -> Result<Vec<String>, String> {
    let mut rest = inside(field)?;
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let (text, behind) = text(rest)?;
        texts.push(text);
        rest = after_comma(behind)?;
    }
    Ok(texts)
}

/// The numbers of a list of numbers.
pub(super) fn numbers(field: &str) -> Result<Vec<u32>, String> {
    let rest = inside(field)?;
    let rest = rest.strip_suffix(',').unwrap_or(rest);
    if rest.trim().is_empty() {
        return Ok(Vec::new());
    }
    rest.split(',')
        .map(|part| part.trim().parse().map_err(|_| format!("has {part:?} where a token id is needed")))
        .collect()
}

fn inside(field: &str) -> Result<&str, String> {
    let inner = field.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.map(str::trim).ok_or_else(|| format!("is {field:?}, but a list in brackets is needed"))
}

/// The text at the start of a list, and what follows it.
fn text(list: &str) -> Result<(String, &str), String> {
    let quote = list.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
    let quote = quote.ok_or_else(|| format!("has {list:?} where a text in quotation marks is needed"))?;
    let mut text = String::new();
    let mut characters = list.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '\'' | '"' | '/'))) => text.push(escaped),
                other => {
                    let other = other.map(|(_, c)| c.to_string()).unwrap_or_default();
                    return Err(format!("has the escape \\{other}, of which only \\\\, \\' and \\\" are known"));
                }
            },
            _ if character == quote => return Ok((text, list[place + 1..].trim_start())),
            _ => text.push(character),
        }
    }
    Err(format!("has a text {list:?} that is not closed"))
}

fn after_comma(rest: &str) -> Result<&str, String> {
    match rest.strip_prefix(',') {
        Some(rest) => Ok(rest.trim_start()),
        None if rest.is_empty() => Ok(rest),
        None => Err(format!("has {rest:?} where a comma is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::{numbers, texts};

    #[test]
    fn lists_of_python_and_json() {
        assert_eq!(texts("['gem', 'gems']").unwrap(), ["gem", "gems"]);
        assert_eq!(texts(r#"["gem","it's"]"#).unwrap(), ["gem", "it's"]);
        assert_eq!(texts(r#"['it\'s', "a, b"]"#).unwrap(), ["it's", "a, b"]);
        assert_eq!(texts("[]").unwrap(), Vec::<String>::new());
        assert_eq!(numbers("[16840, 23685]").unwrap(), [16840, 23685]);
        assert_eq!(numbers("[]").unwrap(), Vec::<u32>::new());
        for broken in ["'a'", "['a' 'b']", "['a", "[a]", r"['\n']", "['a'; 'b']"] {
            assert!(texts(broken).is_err(), "{broken}");
        }
        for broken in ["[1, a]", "[-1]", "1", "[1,,2]"] {
            assert!(numbers(broken).is_err(), "{broken}");
        }
    }
}
