//! The metadata of a GGUF file: keys with values that have types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::reader::Reader;
use crate::error::{Error, Result};
use crate::storage::stored::Outcome;

/// The types of single values, by their numbers in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    Bool,
}

impl NumberKind {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    fn width(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bool => "bool",
        }
    }
}

/// One number of a [`NumberKind`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

impl Number {
    /// The number in `bytes`, of which there are as many as its type has.
    fn of(kind: NumberKind, bytes: &[u8]) -> Self {
        let mut all = [0; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(all);
        match kind {
            NumberKind::U8 | NumberKind::U16 | NumberKind::U32 | NumberKind::U64 => Self::Unsigned(unsigned),
            NumberKind::I8 => Self::Signed((unsigned as u8 as i8).into()),
            NumberKind::I16 => Self::Signed((unsigned as u16 as i16).into()),
            NumberKind::I32 => Self::Signed((unsigned as u32 as i32).into()),
            NumberKind::I64 => Self::Signed(unsigned as i64),
            NumberKind::F32 => Self::Float(decimal(f32::from_bits(unsigned as u32))),
            NumberKind::F64 => Self::Float(f64::from_bits(unsigned)),
            NumberKind::Bool => Self::Bool(unsigned != 0),
        }
    }

    fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(number),
            Self::Signed(number) => number.try_into().ok(),
            Self::Float(_) | Self::Bool(_) => None,
        }
    }

    fn signed(self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => number.try_into().ok(),
            Self::Signed(number) => Some(number),
            Self::Float(_) | Self::Bool(_) => None,
        }
    }

    fn float(self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Bool(_) => None,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Unsigned(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Bool(flag) => flag.to_string(),
        }
    }
}

/// The shortest decimal number that rounds to this f32, which is what was written: 1e-5, not 9.99999974e-6.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// A value of the metadata.
#[derive(Clone, Debug)]
pub(crate) struct GgufValue(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Number(NumberKind, Number),
    Text(String),
    /// Numbers in the bytes of the file, so that a list takes no more memory than there.
    Numbers(NumberKind, Vec<u8>),
    /// Texts in a row, and where each ends.
    Texts(String, Vec<u32>),
}

impl GgufValue {
    const TEXT: u32 = 8;
    const LIST: u32 = 9;

    /// The next type and value.
    pub(super) fn read(reader: &mut Reader) -> Outcome<Self> {
        let inner = match reader.u32()? {
            Self::TEXT => Inner::Text(reader.text()?),
            Self::LIST => Self::list(reader)?,
            other => {
                let kind = NumberKind::of(other).ok_or_else(|| unknown(other))?;
                let bytes = reader.bytes(kind.width() as u64)?;
                check_flags(kind, &bytes)?;
                Inner::Number(kind, Number::of(kind, &bytes))
            }
        };
        Ok(Self(inner))
    }

    fn list(reader: &mut Reader) -> Outcome<Inner> {
        let (of, count) = (reader.u32()?, reader.u64()?);
        match of {
            Self::TEXT => {
                reader.check("texts in a list", count, 8)?;
                let (mut all, mut ends) = (String::new(), Vec::new());
                for _ in 0..count {
                    reader.text_into(&mut all)?;
                    // A header is shorter than 4 GiB.
                    ends.push(all.len() as u32);
                }
                Ok(Inner::Texts(all, ends))
            }
            Self::LIST => Err("it is a list of lists, which no model needs".into()),
            other => {
                let kind = NumberKind::of(other).ok_or_else(|| unknown(other))?;
                reader.check("numbers in a list", count, kind.width() as u64)?;
                let bytes = reader.bytes(count * kind.width() as u64)?;
                check_flags(kind, &bytes)?;
                Ok(Inner::Numbers(kind, bytes))
            }
        }
    }

    /// A whole number that is not negative.
    pub(super) fn unsigned(&self) -> Option<u64> {
        match &self.0 {
            Inner::Number(_, number) => number.unsigned(),
            _ => None,
        }
    }

    /// Whether it says that something is off.
    pub(crate) fn is_false(&self) -> bool {
        matches!(self.0, Inner::Number(_, Number::Bool(false)))
    }

    /// The value for a message, in brief.
    pub(crate) fn shown(&self) -> String {
        match &self.0 {
            Inner::Number(_, number) => number.shown(),
            Inner::Text(text) => format!("{:?}", text.chars().take(100).collect::<String>()),
            Inner::Numbers(kind, bytes) => {
                format!("a list of {} numbers ({})", bytes.len() / kind.width(), kind.name())
            }
            Inner::Texts(_, ends) => format!("a list of {} texts", ends.len()),
        }
    }

    fn kind(&self) -> String {
        match &self.0 {
            Inner::Number(kind, _) => kind.name().into(),
            Inner::Text(_) => "text".into(),
            Inner::Numbers(kind, _) => format!("list of {}", kind.name()),
            Inner::Texts(..) => "list of texts".into(),
        }
    }

    /// The numbers of a list.
    fn numbers(&self) -> Option<impl Iterator<Item = Number> + '_> {
        match &self.0 {
            Inner::Numbers(kind, bytes) => Some(bytes.chunks_exact(kind.width()).map(|bytes| Number::of(*kind, bytes))),
            _ => None,
        }
    }
}

fn unknown(kind: u32) -> String {
    format!("it has the type number {kind}, which GGUF does not have")
}

fn check_flags(kind: NumberKind, bytes: &[u8]) -> Outcome<()> {
    match bytes.iter().find(|byte| kind == NumberKind::Bool && **byte > 1) {
        Some(byte) => Err(format!("it is true or false, but stored as {byte}")),
        None => Ok(()),
    }
}

/// The metadata of a GGUF file. Each getter gives `None` for a key that is absent, and an error that names the file and
/// the key for a value of another type.
pub(crate) struct GgufMetadata {
    path: PathBuf,
    values: BTreeMap<String, GgufValue>,
}

impl GgufMetadata {
    pub(super) fn new(path: &Path, values: BTreeMap<String, GgufValue>) -> Self {
        Self { path: path.into(), values }
    }

    /// The file, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All keys, in alphabetical order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&GgufValue> {
        self.values.get(key)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        needed: &str,
        read: impl FnOnce(&'a Inner, &'a GgufValue) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        read(&value.0, value).map(Some).ok_or_else(|| {
            Error::file(
                &self.path,
                format!(
                    "its metadata key {key:?} is {} ({}), but {needed} is needed: download or convert the file again.",
                    value.shown(),
                    value.kind()
                ),
            )
        })
    }

    /// # Errors
    /// [`Error::File`] for a value that is not a text.
    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", |inner, _| match inner {
            Inner::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// # Errors
    /// [`Error::File`] for a value that is not a whole number from 0 to 4,294,967,295.
    pub(crate) fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "a whole number from 0 to 4294967295", |_, value| value.unsigned()?.try_into().ok())
    }

    /// # Errors
    /// [`Error::File`] for a value that is not a whole number, or negative.
    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number that is not negative", |_, value| value.unsigned()?.try_into().ok())
    }

    /// A number; one that is stored as f32 is the shortest decimal number that rounds to it.
    ///
    /// # Errors
    /// [`Error::File`] for a value that is not a number.
    pub(crate) fn f64(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", |inner, _| match inner {
            Inner::Number(_, number) => number.float(),
            _ => None,
        })
    }

    /// # Errors
    /// [`Error::File`] for a value that is not true or false.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |inner, _| match inner {
            Inner::Number(_, Number::Bool(flag)) => Some(*flag),
            _ => None,
        })
    }

    /// # Errors
    /// [`Error::File`] for a value that is not a list of texts.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        self.typed(key, "a list of texts", |inner, _| match inner {
            Inner::Texts(all, ends) => {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                Some(starts.zip(ends).map(|(start, end)| &all[start as usize..*end as usize]).collect())
            }
            Inner::Numbers(_, bytes) if bytes.is_empty() => Some(Vec::new()),
            _ => None,
        })
    }

    /// # Errors
    /// [`Error::File`] for a value that is not a list of whole numbers.
    pub(crate) fn ints(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.typed(key, "a list of whole numbers", |_, value| value.numbers()?.map(Number::signed).collect())
    }

    /// # Errors
    /// [`Error::File`] for a value that is not a list of numbers.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f64>>> {
        self.typed(key, "a list of numbers", |_, value| value.numbers()?.map(Number::float).collect())
    }
}
