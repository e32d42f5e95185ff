//! The named tensors of a file, whatever its format.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use super::place::open;
use super::stored::{Named, Stored};
use crate::error::{Error, Result, nearest};
use crate::visible::visible;

/// The named tensors in a safetensors, PyTorch (`torch.save`), NumPy (`.npz`, `.npy`) or GGUF file. Names, dtypes and shapes
/// are known once it is open; numbers are read on demand. Nothing in the file is run, and its header is checked against
/// its length before anything is read.
///
/// ```
/// use candle_lens::prelude::*;
/// let file = Tensors::open("tests/fixtures/arrays.npz")?;
/// assert_eq!(file.shape("f32")?, [2, 3]);
/// assert_eq!(file.tensor("f32")?.to_vec2::<f32>()?[1], [3.5, 4.5, 5.5]);
/// assert!(file.tensor("f33").unwrap_err().to_string().contains("nearest"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub struct Tensors {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
}

impl Tensors {
    /// Opens a file. Its format is recognised by its first bytes.
    ///
    /// # Errors
    /// [`Error::File`]: a file that cannot be read, is cut off, damaged or in another format, or has a name twice.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(path.as_ref(), None)
    }

    /// Opens a `torch.save` file whose tensors are in the dictionary under `key`, such as `"model_state_dict"`, or
    /// under keys joined by dots. A tensor under a number is called by its digits.
    ///
    /// # Errors
    /// As [`Tensors::open`], and for a file without this key.
    pub fn open_under(path: impl AsRef<Path>, key: &str) -> Result<Self> {
        Self::of(path.as_ref(), Some(key))
    }

    fn of(path: &Path, key: Option<&str>) -> Result<Self> {
        Self::named(path, open(path, key)?)
    }

    /// # Errors
    /// [`Error::File`] if a name is there twice.
    pub(super) fn named(path: &Path, named: Vec<Named>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, stored) in named {
            if tensors.contains_key(&name) {
                return Err(Error::file(path, format!("contains the tensor {name:?} twice: write it again.")));
            }
            tensors.insert(name, stored);
        }
        Ok(Self { path: path.into(), tensors })
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// How many bytes all tensors take in the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.tensors.values().map(|stored| stored.bytes_of(stored.shape.iter().product())).sum()
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The sizes of a tensor's axes.
    ///
    /// # Errors
    /// [`Error::File`], which gives the nearest name, if there is no tensor of this name.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.stored(name)?.shape.clone())
    }

    /// The dtype of a tensor. Booleans are `U8`, quantised numbers of GGUF `F32`.
    ///
    /// # Errors
    /// As [`Tensors::shape`], and for a dtype that cannot be read.
    pub fn dtype(&self, name: &str) -> Result<DType> {
        self.stored(name)?.dtype.clone().map_err(|kind| {
            Error::file(&self.path, format!("the tensor {name} has the dtype {kind}, which cannot be read."))
        })
    }

    /// Reads a tensor onto the CPU, in the dtype that it has in the file; quantised numbers become `F32`.
    ///
    /// # Shapes
    /// That of [`Tensors::shape`].
    ///
    /// # Errors
    /// As [`Tensors::dtype`], and if the file has become shorter or its numbers do not unpack.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let unread = |why: String| Error::file(&self.path, format!("its tensor {name} {why}: write it again."));
        self.stored(name)?.tensor().map_err(unread)
    }

    fn stored(&self, name: &str) -> Result<&Stored> {
        self.tensors.get(name).ok_or_else(|| {
            let advice = match nearest(name, self.tensors.keys().map(String::as_str)) {
                Some(nearest) => format!("the nearest name is {nearest:?}"),
                None => "it has no tensors at all".into(),
            };
            Error::file(&self.path, format!("has no tensor {name:?}; {advice}."))
        })
    }
}

impl fmt::Display for Tensors {
    /// One line per tensor: name, dtype (or type of its blocks), shape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} tensors", visible(&self.path.to_string_lossy()), self.len())?;
        for (name, stored) in &self.tensors {
            write!(f, "\n  {}: {} {:?}", visible(name), visible(&stored.kind()), stored.shape)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Tensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
