//! The tensors of one file of a dictionary, taken by name and shape.

use std::collections::BTreeSet;
use std::path::PathBuf;

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use crate::storage::Tensors;

/// The tensors of a file. Shapes are checked against each other before numbers are read, and tensors that nobody asked for are
/// found.
pub(super) struct Weights {
    path: PathBuf,
    tensors: Tensors,
}

impl Weights {
    pub(super) fn new(path: PathBuf, tensors: Tensors) -> Self {
        Self { path, tensors }
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> Vec<String> {
        self.tensors.names()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    /// How many bytes all of them take in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.tensors.bytes()
    }

    /// The sizes of a tensor of `N` axes, called by their `axes` in messages.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or has another number of axes.
    pub(super) fn dims<const N: usize>(&self, name: &str, axes: &str) -> Result<[usize; N]> {
        let shape = self.shape(name)?;
        <[usize; N]>::try_from(shape.as_slice())
            .map_err(|_| self.wrong(format!("its {name} has the shape {shape:?}, but {axes} is needed")))
    }

    /// That a tensor has this shape.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or has another shape.
    pub(super) fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        let got = self.shape(name)?;
        match got == shape {
            true => Ok(()),
            false => Err(self.wrong(format!("its {name} has the shape {got:?}, but the others make it {shape:?}"))),
        }
    }

    /// The dtype in which a tensor's numbers are kept: that of the file; `F64` becomes `F32`.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or its numbers are not floating point.
    pub(super) fn dtype(&self, name: &str) -> Result<DType> {
        match self.tensors.dtype(name).map_err(|error| error.in_file(&self.path))? {
            kept @ (DType::F32 | DType::F16 | DType::BF16) => Ok(kept),
            DType::F64 => Ok(DType::F32),
            other => Err(self.wrong(format!("its {name} has the dtype {other:?}, which is not floating point"))),
        }
    }

    /// That all tensors are among these.
    ///
    /// # Errors
    /// [`Error::File`] that names the others.
    pub(super) fn only(&self, known: &[&str]) -> Result<()> {
        let known: BTreeSet<&str> = known.iter().copied().collect();
        let other: Vec<String> = self.names().into_iter().filter(|name| !known.contains(name.as_str())).collect();
        match other.is_empty() {
            true => Ok(()),
            false => Err(self.wrong(format!(
                "it has tensors that a dictionary of its architecture does not have ({})",
                crate::storage::some_of(&other)
            ))),
        }
    }

    /// Reads a tensor onto the CPU, in its [`Weights::dtype`].
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or cut off.
    pub(super) fn take(&self, name: &str) -> Result<Tensor> {
        let dtype = self.dtype(name)?;
        Ok(self.tensors.tensor(name)?.to_dtype(dtype)?)
    }

    /// A whole number from 0, stored as a tensor without axes.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or something else.
    pub(super) fn whole(&self, name: &str) -> Result<usize> {
        self.expect(name, &[])?;
        let number = self.tensors.tensor(name)?;
        let number = match number.dtype() {
            DType::I64 | DType::I32 | DType::I16 | DType::U8 => number.to_dtype(DType::I64)?.to_scalar::<i64>()?,
            other => {
                return Err(self.wrong(format!("its {name} has the dtype {other:?}, which is not of whole numbers")));
            }
        };
        usize::try_from(number).map_err(|_| self.wrong(format!("its {name} is {number}")))
    }

    /// The error for a file that is not what it should be; `why` is a clause about it.
    pub(super) fn wrong(&self, why: impl Into<String>) -> Error {
        Error::file(&self.path, format!("is not a dictionary that can be read: {}.", why.into()))
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>> {
        match self.has(name) {
            true => self.tensors.shape(name),
            false => {
                let names = self.names();
                Err(self.wrong(format!("it has no {name}, only {}", crate::storage::some_of(&names))))
            }
        }
    }
}
