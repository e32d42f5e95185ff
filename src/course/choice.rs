//! Questions whose answer is one of a few words: an option counts however it is said.

/// An option, and the words that name it.
pub(super) type Choice = (&'static str, &'static [&'static str]);

/// Words that deny what they stand with; the last one is left of contractions such as "isn't".
const DENIALS: [&str; 7] = ["not", "no", "neither", "nor", "never", "cannot", "t"];

/// What is wrong with a text that should name the right option; nothing if it does. `advice` is for those who named another one.
pub(super) fn choose(text: &str, choices: &[Choice], right: &str, advice: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let named: Vec<&str> = choices
        .iter()
        .filter(|(_, names)| names.iter().any(|name| words.contains(name)))
        .map(|(name, _)| *name)
        .collect();
    // "not the values" names them all the same, and of what an answer denies nobody can say what it claims.
    if words.iter().any(|word| DENIALS.contains(word)) {
        return Some(format!(
            "{text:?} says what it is not: return one of the answers that the task lists, as it stands there."
        ));
    }
    match named[..] {
        [one] if one == right => None,
        [one] => Some(format!("it is not {one:?}. {advice}")),
        // The right one must not be read off the sentence.
        _ => Some(format!(
            "{text:?} names none of the answers that the task lists, or several: return one of them as it stands there."
        )),
    }
}
