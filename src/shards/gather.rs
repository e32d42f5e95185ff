//! Parts of several processes joined into the whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::EXTENSION;
use super::numbers::Numbers;
use super::result::ShardResult;
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::progress::{self, Progress};
use crate::shard::{Cut, Shard};

/// How many missing shards are named.
const NAMED: usize = 20;

/// Joins the parts in a folder, or of a pattern such as `"results/*"`, whose `*` are in its last part, into the results of the whole data
/// set. They have the same numbers as those of one process that computed all of it, to the last bit
/// ([how](mod@crate::shards#to-the-last-bit)). Other files than `.safetensors` are ignored, so that logs may lie beside parts.
///
/// ```
/// use candle_lens::prelude::*;
/// # let folder = std::env::temp_dir().join(format!("candle-lens-gather-{}", std::process::id()));
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let texts = ["The keys on the cabinet", "Tirana, the capital of", "diamonds, and other"];
/// let tokens = |shard: Shard| shard.texts(texts).save_to(&folder).each_text(&model, |text| Ok(model.to_tokens(text)?.pos() as f32));
/// tokens(Shard::new(1, 2)?)?;
/// assert!(gather(&folder).unwrap_err().to_string().contains("2/2"), "it says which is missing");
/// tokens(Shard::new(2, 2)?)?;
/// let all = gather(folder.join("*"))?.numbers()?;
/// assert_eq!(all.shape(), [3]);
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Errors
/// No part; parts of another model or processing, of other prompts or the same in another order, of other work, or of other numbers
/// of shards; a shard twice; shards that are missing or not finished, which are named; more results than there is memory for; and as
/// [`ShardResult::load`].
pub fn gather(pattern: impl AsRef<Path>) -> Result<ShardResult> {
    let pattern = pattern.as_ref();
    let paths = matching(pattern)?;
    let bytes: u64 = paths.iter().filter_map(|path| path.metadata().ok()).map(|about| about.len()).sum();
    check_free(
        3 * bytes,
        &format!("joining {} parts", paths.len()),
        "join fewer results, such as means of each prompt",
    )?;
    let mut progress = Progress::of("joining parts", paths.len() as u64 + 1, "parts");
    let mut parts: BTreeMap<Shard, (PathBuf, ShardResult)> = BTreeMap::new();
    for path in paths {
        let part = ShardResult::load(&path)?;
        if let Some((first, of_first)) = parts.values().next() {
            check_alike((first, of_first), (&path, &part))?;
        }
        if let Some((other, _)) = parts.get(&part.cut.shard) {
            return Err(Error::file(
                &path,
                format!("is shard {}, as is {}: keep one of them.", part.cut.shard, other.display()),
            ));
        }
        parts.insert(part.cut.shard, (path, part));
        progress.step(1)?;
    }
    check_all(&parts)?;
    joined(parts.into_values().collect())
}

/// The files of a folder, or of a pattern; by name.
///
/// # Errors
/// A folder that cannot be read, or has none.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let (folder, names) = match pattern.is_dir() {
        true => (pattern, format!("*.{EXTENSION}")),
        false => (
            pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            pattern.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned()),
        ),
    };
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Error::file(folder, format!("cannot be read ({error}): name the folder of the parts.")))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        path.extension().is_some_and(|extension| extension == EXTENSION) && fits(&names, &name) && path.is_file()
    });
    paths.sort();
    match paths.is_empty() {
        false => Ok(paths),
        true => Err(Error::file(
            pattern,
            "is not a folder with parts, nor a pattern of some (.safetensors files, as save_to writes them): shards save to the \
             folder that they are given.",
        )),
    }
}

/// Whether a name is of a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

/// Refuses parts that are not of the same work.
fn check_alike(first: (&Path, &ShardResult), other: (&Path, &ShardResult)) -> Result<()> {
    let ((first_path, first), (path, part)) = (first, other);
    let mut differences = part.made.differences(&first.made);
    if part.cut.shard.of() != first.cut.shard.of() {
        differences.push(format!("it is shard {}, and that {}", part.cut.shard, first.cut.shard));
    }
    let (own, others) = (&part.cut, &first.cut);
    if (own.count, &own.fingerprint) != (others.count, &others.fingerprint) {
        differences.push(format!(
            "it is of a data set of {} prompts, and that of one of {}, which are not the same prompts in the same order",
            own.count, others.count
        ));
    }
    match &differences[..] {
        [] => Ok(()),
        [..] => Err(Error::file(
            path,
            format!(
                "cannot be joined with {}: {}. Compute all shards by one program with one model and data set, and keep other work \
                 in another folder.",
                first_path.display(),
                differences.join("; ")
            ),
        )),
    }
}

/// Refuses a whole of which something is missing.
fn check_all(parts: &BTreeMap<Shard, (PathBuf, ShardResult)>) -> Result<()> {
    let Some((_, first)) = parts.values().next() else { return Ok(()) };
    let of = first.cut.shard.of();
    let there = |number: &usize| parts.keys().any(|shard| shard.number() == *number);
    let missing: Vec<String> =
        (1..=of).filter(|number| !there(number)).map(|number| format!("{number}/{of}")).collect();
    let begun = parts.values().filter(|(_, part)| !part.is_complete());
    let begun: Vec<String> = begun
        .map(|(_, part)| format!("{} ({} of {} prompts are done)", part.cut.shard, part.len(), part.cut.places.len()))
        .collect();
    let named = |what: &str, list: &[String]| match list {
        [] => String::new(),
        _ if list.len() > NAMED => format!("{what} {} and {} more. ", list[..NAMED].join(", "), list.len() - NAMED),
        _ => format!("{what} {}. ", list.join(", ")),
    };
    match missing.is_empty() && begun.is_empty() {
        true => Ok(()),
        false => Err(Error::argument(format!(
            "{} of {of} shards are there and finished, and the result of some is not that of the whole. {}{}Run these again with the \
             same folder, where each goes on from what it has (CANDLE_LENS_SHARD, or `cargo lab submit` once more).",
            parts.len() - begun.len(),
            named("Missing:", &missing),
            named("Not finished:", &begun)
        ))),
    }
}

/// The whole, of all parts.
fn joined(parts: Vec<(PathBuf, ShardResult)>) -> Result<ShardResult> {
    let places: Vec<usize> = parts.iter().flat_map(|(_, part)| part.cut.places.iter().copied()).collect();
    let (first_path, first) = &parts[0];
    let count = first.cut.count;
    let mut sorted = places.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..count) {
        return Err(Error::file(
            first_path,
            "and the other parts do not have each prompt once, so one of them is not what it says: compute the shards again.",
        ));
    }
    let machines =
        parts.iter().map(|(_, part)| part.made.machine.as_str()).filter(|machine| *machine != first.made.machine);
    if let Some(other) = machines.into_iter().next() {
        progress::say(&format!(
            "these parts were computed by {} and by {other}, which may add up in another order: the joined numbers can differ from \
             those of one run in their last bits.",
            first.made.machine
        ));
    }
    let mut about = None;
    for (path, part) in &parts {
        let Some(own) = &part.about else { continue };
        about.get_or_insert_with(|| own.clone()).join(own).map_err(|why| {
            Error::file(
                path,
                format!("cannot be joined with the parts before it, because {why}: compute all shards by one program."),
            )
        })?;
    }
    let cut =
        Cut { shard: Shard::whole(), places: (0..count).collect(), count, fingerprint: first.cut.fingerprint.clone() };
    let made = first.made.clone();
    let numbers = Numbers::placed(parts.into_iter().map(|(_, part)| part.numbers).collect(), &places)?;
    Ok(ShardResult { cut, made, about, numbers })
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name) in [("*", "a.b"), ("a*", "a"), ("*.b", "a.b"), ("a*c*e", "abcde"), ("a", "a"), ("**", "")] {
            assert!(fits(pattern, name), "{pattern} and {name}");
        }
        for (pattern, name) in [("a*", "b"), ("*.b", "a.c"), ("a*c*e", "abde"), ("a", "ab"), ("a*a", "a"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} and {name}");
        }
    }
}
