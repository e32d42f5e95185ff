//! Well-known releases by the names that SAELens and their authors gave them: where the files are, and what is known beyond them.
//!
//! The table holds facts from SAELens' registry (repositories, paths, measured L0 and explained variance, factors and normalisation of inputs) and from
//! the repositories of papers; `tests/fixtures/dictionary_releases.py` makes it.

use super::files::Files;
use super::format::DictionaryFormat;
use super::options::DictionaryOptions;
use super::unread::{Opened, Unread};
use crate::dictionaries::expects::Card;
use crate::dictionaries::expects::Expects;
use crate::dictionaries::input::InputNorm;
use crate::error::{Error, Result, nearest};
use crate::storage::some_of;

const TABLE: &str = include_str!("releases.txt");

/// One dictionary of a release, or a release that is one set.
pub(super) struct Release {
    pub repo: &'static str,
    /// The folder or file in the repository.
    pub path: String,
    /// What it is called in the release; none of a set.
    pub id: Option<&'static str>,
    pub facts: Facts,
}

/// What the table knows.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    format: DictionaryFormat,
    model: &'static str,
    centred: Option<bool>,
    value_biases_folded: Option<bool>,
    norm_factor: Option<f64>,
    /// The normalisation of the input, where SAELens overrides what the files say of it.
    input_norm: Option<InputNorm>,
    card: Card,
}

/// A line that begins a release.
struct Head {
    name: &'static str,
    repo: &'static str,
    pattern: &'static str,
    facts: Facts,
}

impl Head {
    fn read(line: &'static str) -> Option<Self> {
        let mut cells = line.strip_prefix("@ ")?.split(' ');
        let (name, repo, format, model) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
        let format = match format {
            "saelens" => DictionaryFormat::SaeLens,
            "attention" => DictionaryFormat::AttentionSaes,
            "gemma-scope" => DictionaryFormat::GemmaScope,
            "dunefsky" => DictionaryFormat::Dunefsky,
            "circuit-tracer" => DictionaryFormat::CircuitTracer,
            "sparsify" => DictionaryFormat::Sparsify,
            _ => return None,
        };
        let said: Vec<(&str, &str)> = cells.filter_map(|cell| cell.split_once('=')).collect();
        let value = |key: &str| said.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let facts = Facts {
            format,
            model,
            centred: value("centred").map(|value| value == "yes"),
            value_biases_folded: value("value_biases_folded").map(|value| value == "yes"),
            norm_factor: None,
            input_norm: (value("norm") == Some("constant_norm_rescale")).then_some(InputNorm::ConstantNorm),
            card: Card::default(),
        };
        Some(Self { name, repo, pattern: value("path").unwrap_or("*"), facts })
    }

    /// The dictionary of a line.
    fn row(&self, line: &'static str) -> Release {
        let mut cells = line.split(' ');
        let id = cells.next().unwrap_or_default();
        let path = match cells.next().unwrap_or("-") {
            "-" => self.pattern.replace('*', id),
            path => match (path.strip_prefix('~'), id.rsplit_once('/')) {
                (Some(last), Some((folder, _))) => format!("{folder}/{last}"),
                _ => path.into(),
            },
        };
        let mut number = || cells.next().and_then(|cell| cell.parse::<f64>().ok());
        let card = Card { l0: number(), explained_variance: number() };
        Release { repo: self.repo, path, id: Some(id), facts: Facts { card, norm_factor: number(), ..self.facts } }
    }
}

/// The lines of the table.
fn lines() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#'))
}

/// The names of all releases.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    lines().filter_map(Head::read).map(|head| head.name)
}

/// What a name means: one dictionary of `"release/id"`, or all of `"release"`; nothing if there is no such release.
///
/// # Errors
/// [`Error::Argument`] with the nearest name, if the release has no such dictionary.
pub(super) fn find(name: &str) -> Result<Option<Vec<Release>>> {
    let (release, id) = name.split_once('/').map_or((name, None), |(release, id)| (release, Some(id)));
    let mut rest = lines().skip_while(|line| Head::read(line).is_none_or(|head| head.name != release));
    let Some(head) = rest.next().and_then(Head::read) else { return Ok(None) };
    let rows: Vec<Release> = rest.take_while(|line| !line.starts_with('@')).map(|line| head.row(line)).collect();
    let Some(id) = id else {
        let whole = Release { repo: head.repo, path: String::new(), id: None, facts: head.facts };
        return Ok(Some(if rows.is_empty() { vec![whole] } else { rows }));
    };
    let ids: Vec<&str> = rows.iter().filter_map(|row| row.id).collect();
    if ids.is_empty() {
        return Err(Error::argument(format!(
            "the release {release:?} is the repository {} as a whole: open it with DictionarySet::open({release:?}), which names its \
             dictionaries.",
            head.repo
        )));
    }
    let nearest = nearest(id, ids.iter().copied()).unwrap_or_default();
    let message = format!(
        "the release {release:?} has no dictionary {id:?}; the nearest name is \"{release}/{nearest}\". It has {}.",
        some_of(&ids)
    );
    match rows.into_iter().find(|row| row.id == Some(id)) {
        Some(row) => Ok(Some(vec![row])),
        None => Err(Error::argument(message)),
    }
}

impl Facts {
    /// The dictionaries among the files, read as the table says; what the user says counts more. Like SAELens, the table's factor is
    /// folded only into a dictionary whose file says that inputs were multiplied by one.
    ///
    /// # Errors
    /// Those of the files.
    pub(super) fn entries(mut self, files: &Files, id: Option<&str>, given: &DictionaryOptions) -> Result<Vec<Unread>> {
        let options = |norm_factor: Option<f64>| DictionaryOptions {
            format: given.format.or(Some(self.format)),
            norm_factor,
            ..given.clone()
        };
        let found = match (given.norm_factor, self.norm_factor) {
            (None, Some(factor)) => super::entries(files, &options(Some(factor))).or_else(|error| {
                let plain = super::entries(files, &options(None)).map_err(|_| error)?;
                self.norm_factor = None;
                Ok(plain)
            }),
            (given, _) => super::entries(files, &options(given)),
        };
        Ok(found?.into_iter().map(|entry| self.add_to(entry, id, given.norm_factor)).collect())
    }

    /// The dictionary with what the table knows and the files do not say.
    fn add_to(self, unread: Unread, id: Option<&str>, given: Option<f64>) -> Unread {
        let factor = if given.is_some() { None } else { self.norm_factor };
        let Unread { name, mut expects, remote, open } = unread;
        self.fill(&mut expects);
        let open = move || {
            let Opened { read, architecture, d_in, d_sae, d_out, dtype, bytes } = open()?;
            let read = Box::new(move || {
                let mut parts = read()?;
                self.fill(&mut parts.expects);
                parts.input_norm = self.input_norm.unwrap_or(parts.input_norm);
                factor.map_or(Ok(()), |factor| parts.fold_factor(factor))?;
                Ok(parts)
            });
            Ok(Opened { read, architecture, d_in, d_sae, d_out, dtype, bytes })
        };
        Unread { name: id.map_or(name, String::from), expects, remote, open: Box::new(open) }
    }

    fn fill(&self, expects: &mut Expects) {
        expects.model.get_or_insert_with(|| self.model.into());
        expects.centred = expects.centred.or(self.centred);
        expects.value_biases_folded = expects.value_biases_folded.or(self.value_biases_folded);
        expects.card.l0 = expects.card.l0.or(self.card.l0);
        expects.card.explained_variance = expects.card.explained_variance.or(self.card.explained_variance);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_is_understood_and_no_name_is_there_twice() {
        let releases: Vec<&str> = names().collect();
        assert_eq!(releases.len(), lines().filter(|line| line.starts_with('@')).count());
        assert_eq!(releases.iter().collect::<BTreeSet<_>>().len(), releases.len());
        for release in releases {
            let rows = find(release).expect("a name of the table").expect("it is there");
            let ids: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
            assert_eq!(ids.len(), rows.len(), "{release}");
            for row in rows {
                assert!(!row.path.contains(['~', '*', ' ']) && row.repo.split('/').count() == 2, "{}", row.path);
                assert!(row.facts.norm_factor.is_none_or(|factor| factor > 0.0));
            }
        }
    }

    #[test]
    fn rows_are_those_of_the_registry() {
        let one = |name: &str| find(name).expect("valid").expect("known").pop().expect("one");
        let row = one("gpt2-small-res-jb/blocks.8.hook_resid_pre");
        assert_eq!((row.repo, row.path.as_str()), ("jbloom/GPT2-Small-SAEs-Reformatted", "blocks.8.hook_resid_pre"));
        assert_eq!((row.facts.card.l0, row.facts.card.explained_variance), (Some(60.0), Some(0.9)));
        assert_eq!((row.facts.centred, row.facts.norm_factor), (Some(true), None));
        let row = one("gpt2-small-mlp-tm/blocks.0.hook_mlp_out");
        assert_eq!(row.facts.norm_factor, Some(1.049317316132615));
        let row = one("gemma-scope-2b-pt-res-canonical/layer_0/width_16k/canonical");
        assert_eq!(row.path, "layer_0/width_16k/average_l0_105");
        let row = one("gemma-scope-2-270m-pt-res-all/layer_0_width_16k_l0_big");
        assert_eq!(row.path, "resid_post_all/layer_0_width_16k_l0_big");
        let row = one("mistral-7b-res-wg/blocks.8.hook_resid_pre");
        assert_eq!(row.facts.input_norm, Some(InputNorm::ConstantNorm));
        assert!(find("openai-community/gpt2").expect("not an error").is_none());
        let message = find("gpt2-small-res-jb/blocks.8.resid_pre").err().expect("unknown").to_string();
        assert!(message.contains("\"gpt2-small-res-jb/blocks.8.hook_resid_pre\""), "{message}");
    }
}
