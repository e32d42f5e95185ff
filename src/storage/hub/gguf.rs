//! Which GGUF file of a repository is meant by what follows the colon of `"org/name-GGUF:Q8_0"`: a file by its name, or
//! the one of a quantisation. A model may be split into `-00001-of-00003.gguf` and so on, which count as one file.

use super::cache::is_safe;
use crate::error::{Error, Result};

/// The extension of these files.
const GGUF: &str = ".gguf";

/// A file of a repository, as a user asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The file of this name; of a split file, any of the parts.
    Name(String),
    /// The only file whose name ends with this quantisation.
    Quantisation(String),
}

impl Wanted {
    /// What the text after the colon of an id asks for.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is neither the name of a file nor a quantisation.
    pub(crate) fn new(id: &str, text: &str) -> Result<Self> {
        if is_gguf(text) && is_safe(text) {
            return Ok(Self::Name(text.into()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            return Ok(Self::Quantisation(text.into()));
        }
        Err(Error::argument(format!(
            "{text:?} is neither a GGUF file of {id} nor a quantisation: give one of them after the colon, such as \
             \"{id}:Q8_0\" or \"{id}:model-q4_0.gguf\"."
        )))
    }

    /// What messages call it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Quantisation(text) => text,
        }
    }

    /// The models among the GGUF files of a repository that are meant; of a split one, its first part.
    pub(super) fn among<'a>(&self, files: &'a [String]) -> Vec<&'a str> {
        let is_meant = |file: &&str| match self {
            Self::Name(name) => Parts::of(file) == Parts::of(name),
            Self::Quantisation(quantisation) => ends_with(file, quantisation),
        };
        models(files).into_iter().filter(is_meant).collect()
    }
}

/// Whether a name is that of a GGUF file.
pub(in crate::storage) fn is_gguf(name: &str) -> bool {
    let end = name.len().checked_sub(GGUF.len()).filter(|end| *end > 0).and_then(|end| name.get(end..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(GGUF))
}

/// The language models among these files, one name each: the first part of those that are split.
pub(in crate::storage) fn models(files: &[String]) -> Vec<&str> {
    let is_first = |file: &str| Parts::of(file).number <= 1;
    files.iter().map(String::as_str).filter(|file| is_first(file) && !is_projector(file)).collect()
}

/// Whether a file is the image encoder that llama.cpp stores beside a multimodal model.
fn is_projector(file: &str) -> bool {
    base(file).to_ascii_lowercase().starts_with("mmproj")
}

/// The last part of a path.
fn base(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Whether the name of a file ends with a quantisation, as a whole word: `F16` is not `BF16`.
fn ends_with(file: &str, quantisation: &str) -> bool {
    let stem = base(Parts::of(file).stem).to_ascii_lowercase();
    let before = stem.strip_suffix(&quantisation.to_ascii_lowercase());
    before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '.', '_']))
}

/// The name of a file without its extension, and of which part of how many it is the name.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Parts<'a> {
    stem: &'a str,
    /// 0 if the file is not split.
    number: u32,
    count: u32,
}

/// Two parts of one model are equal.
impl PartialEq for Parts<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.stem, self.count) == (other.stem, other.count)
    }
}

impl<'a> Parts<'a> {
    pub(super) fn of(file: &'a str) -> Self {
        let stem = if is_gguf(file) { &file[..file.len() - GGUF.len()] } else { file };
        Self::split(stem).unwrap_or(Self { stem, number: 0, count: 0 })
    }

    /// `name-00002-of-00003`.
    fn split(stem: &'a str) -> Option<Self> {
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let parse = |digits: &str| {
            let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<u32>().ok()).flatten()
        };
        let (number, count) = (parse(number)?, parse(count)?);
        (number >= 1 && number <= count).then_some(Self { stem, number, count })
    }

    /// The names of all parts; the file's own if it is not split.
    pub(in crate::storage) fn names(file: &'a str) -> impl Iterator<Item = String> + 'a {
        let Self { stem, number, count } = Self::of(file);
        let whole = (number == 0).then(|| file.to_string());
        // As this file has it, which may be in capitals.
        let end = if is_gguf(file) { &file[file.len() - GGUF.len()..] } else { GGUF };
        whole.into_iter().chain((1..=count).map(move |number| format!("{stem}-{number:05}-of-{count:05}{end}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_quantisation_is_the_end_of_a_name() {
        let files = files(&[
            "m-Q4_0.gguf",
            "m-Q8_0.gguf",
            "m.BF16.gguf",
            "M-F16.GGUF",
            "mmproj-m-f16.gguf",
            "m-IQ4_XS.gguf",
            "big/m-Q2_K-00001-of-00002.gguf",
            "big/m-Q2_K-00002-of-00002.gguf",
        ]);
        for (quantisation, found) in [
            ("Q8_0", &["m-Q8_0.gguf"][..]),
            ("q4_0", &["m-Q4_0.gguf"]),
            ("F16", &["M-F16.GGUF"]),
            ("bf16", &["m.BF16.gguf"]),
            ("Q4_XS", &[]),
            ("Q2_K", &["big/m-Q2_K-00001-of-00002.gguf"]),
            ("Q6_K", &[]),
        ] {
            let wanted = Wanted::new("a/b", quantisation).expect("it is one");
            assert_eq!(wanted.among(&files), found, "{quantisation}");
        }
        let part = Wanted::new("a/b", "big/m-Q2_K-00002-of-00002.gguf").expect("it is a file");
        assert_eq!(part.among(&files), ["big/m-Q2_K-00001-of-00002.gguf"], "a part stands for all of them");
        assert_eq!(Wanted::new("a/b", "m-q8_0.gguf").expect("it is a file").among(&files), [""; 0], "names are exact");
    }

    #[test]
    fn the_parts_of_a_split_file_are_named() {
        let names = |file| Parts::names(file).collect::<Vec<_>>();
        assert_eq!(names("m-00002-of-00002.gguf"), ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        assert_eq!(names("M-00001-of-00002.GGUF"), ["M-00001-of-00002.GGUF", "M-00002-of-00002.GGUF"]);
        for whole in
            ["m.gguf", "m-1-of-2.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf", "m-+0001-of-00002.gguf"]
        {
            assert_eq!(names(whole), [whole]);
        }
    }

    #[test]
    fn what_is_neither_a_file_nor_a_quantisation_is_refused() {
        for wrong in ["", "../x.gguf", "Q8 0", "a/b", "x\n.gguf", "/x.gguf"] {
            assert!(Wanted::new("a/b", wrong).is_err(), "{wrong:?}");
        }
        assert!(!is_gguf(".gguf") && !is_gguf("é.ggu") && is_gguf("a.GGUF"));
    }
}
