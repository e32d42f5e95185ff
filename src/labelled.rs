//! A result: numbers with the names of their axes and the labels along them.
//!
//! Every analysis returns one, so that tables, plots, `top(k)` and files all work from the same labels.

mod top;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ndarray::{ArcArray, ArrayD, Axis as NdAxis, IxDyn};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::slice::absolute;
use crate::storage;
use crate::variables::holds;
use crate::visible::visible;

pub use top::Entry;

/// One axis of a [`Labelled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What the axis counts: "component", "layer", "head", "prompt", ..
    pub name: String,
    /// One label for each index.
    pub labels: Vec<String>,
}

impl Axis {
    /// An axis with these labels.
    pub fn new<L: Into<String>>(name: impl Into<String>, labels: impl IntoIterator<Item = L>) -> Self {
        Self { name: name.into(), labels: labels.into_iter().map(Into::into).collect() }
    }

    /// An axis labelled 0, 1, 2, ..
    ///
    /// # Panics
    /// If the labels do not fit in memory.
    pub fn numbered(name: impl Into<String>, size: usize) -> Self {
        let mut labels: Vec<String> = Vec::new();
        assert!(
            labels.try_reserve_exact(size).is_ok(),
            "candle-lens: an axis of {size} labels does not fit in memory."
        );
        labels.extend((0..size).map(|i| i.to_string()));
        Self { name: name.into(), labels }
    }
}

/// Numbers with named, labelled axes.
///
/// ```
/// use candle_lens::labelled::{Axis, Labelled};
/// let scores = Labelled::new("scores", vec![Axis::numbered("layer", 2), Axis::numbered("head", 2)], vec![0.1, -0.9, 0.3, 0.2])?;
/// assert_eq!(scores.top(1)[0].labels, ["1", "0"]);
/// assert_eq!(scores.mean_over("layer")?.values().len(), 2);
/// assert_eq!((scores.values()[[1, 0]], scores.axes()[0].name.as_str()), (0.3, "layer"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Labelled {
    /// What the numbers are, for titles and tables.
    pub title: String,
    /// In the order of the array's axes.
    axes: Arc<[Axis]>,
    values: ArcArray<f32, IxDyn>,
}

holds! {
    Axis { name, labels }
}

holds! {
    Labelled { title, axes, values } = |labelled| {
        let axes: Vec<String> =
            labelled.axes.iter().map(|axis| format!("{} {}", axis.labels.len(), axis.name)).collect();
        axes.join(" x ")
    };
}

impl Labelled {
    /// A result of these numbers (row-major) along these axes.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of values is not the product of the axes' sizes.
    pub fn new(title: impl Into<String>, axes: impl Into<Arc<[Axis]>>, values: Vec<f32>) -> Result<Self> {
        let (title, axes) = (title.into(), axes.into());
        let shape: Vec<usize> = axes.iter().map(|axis| axis.labels.len()).collect();
        let count = values.len();
        let values = ArcArray::from_shape_vec(IxDyn(&shape), values).map_err(|_| {
            Error::shape(format!("the values of {title:?}"), format!("{shape:?}, one for each label"), &[count])
        })?;
        Ok(Self { title, axes, values })
    }

    /// As [`Labelled::new`], from a tensor of any dtype and device.
    ///
    /// # Errors
    /// [`Error::Shape`] if the tensor's shape does not match the labels.
    pub fn from_tensor(title: impl Into<String>, axes: impl Into<Arc<[Axis]>>, tensor: &Tensor) -> Result<Self> {
        let (title, axes) = (title.into(), axes.into());
        let shape: Vec<usize> = axes.iter().map(|axis| axis.labels.len()).collect();
        if shape != tensor.dims() {
            return Err(Error::shape(
                format!("the tensor of {title:?}"),
                format!("{shape:?}, one for each label"),
                tensor.dims(),
            ));
        }
        let values = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        Self::new(title, axes, values)
    }

    /// The numbers as an f32 tensor on the CPU.
    ///
    /// # Errors
    /// candle's, if it does not fit in memory.
    ///
    /// ```
    /// use candle_lens::labelled::{Axis, Labelled};
    /// let scores = Labelled::new("scores", vec![Axis::numbered("head", 2)], vec![0.1, -0.9])?;
    /// assert_eq!(scores.to_tensor()?.to_vec1::<f32>()?, [0.1, -0.9]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn to_tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_iter(self.values.iter().copied(), &Device::Cpu)?.reshape(self.shape())?)
    }

    /// Saves the result with its axes and labels in one file, which is written completely or not at all; the numbers are
    /// preserved bit for bit.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    ///
    /// ```
    /// use candle_lens::labelled::{Axis, Labelled};
    /// let scores = Labelled::new("scores", vec![Axis::numbered("head", 2)], vec![0.1, -0.9])?;
    /// let path = std::env::temp_dir().join("scores.safetensors");
    /// scores.save(&path)?;
    /// assert_eq!(Labelled::load(&path)?, scores);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let values = self.to_tensor()?;
        storage::store(
            path.as_ref(),
            Self::KIND,
            &(&self.title, &self.axes[..]),
            &BTreeMap::from([("values".into(), values)]),
        )
    }

    /// Loads a result that [`Labelled::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, truncated, damaged, or not of this kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let ((title, axes), mut tensors): ((String, Vec<Axis>), _) = storage::restore(path, Self::KIND)?;
        let values = storage::take(path, &mut tensors, "values")?;
        Self::from_tensor(title, axes, &values).map_err(|error| error.in_file(path))
    }

    const KIND: &str = "labelled result";

    /// The same result under another title.
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The axes, in the order of the array's axes. A copy shares their memory.
    pub fn axes(&self) -> Arc<[Axis]> {
        self.axes.clone()
    }

    /// The numbers, as an array of ndarray's. A copy shares their memory.
    pub fn values(&self) -> ArcArray<f32, IxDyn> {
        self.values.clone()
    }

    /// The numbers, to be changed where they are.
    pub(crate) fn values_mut(&mut self) -> &mut ArcArray<f32, IxDyn> {
        &mut self.values
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> Vec<usize> {
        self.values.shape().to_vec()
    }

    /// The labels of an axis.
    ///
    /// # Errors
    /// [`Error::Argument`], which names the axes that exist.
    pub fn labels(&self, axis: &str) -> Result<Vec<String>> {
        Ok(self.axes[self.axis(axis)?].labels.clone())
    }

    fn axis(&self, name: &str) -> Result<usize> {
        self.axes.iter().position(|axis| axis.name == name).ok_or_else(|| {
            let names: Vec<_> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
            Error::argument(format!("{:?} has no axis {name:?}: its axes are {names:?}.", self.title))
        })
    }

    /// The number at these indices, one for each axis; negative indices count from the end.
    ///
    /// # Errors
    /// Too many or too few indices, or one outside its axis.
    pub fn at(&self, indices: &[isize]) -> Result<f32> {
        if indices.len() != self.axes.len() {
            return Err(Error::argument(format!(
                "{} indices were given for {:?}, which has {} axes: give one for each.",
                indices.len(),
                self.title,
                self.axes.len()
            )));
        }
        let place = indices.iter().zip(self.values.shape()).map(|(&i, &size)| absolute(i, size, "index"));
        Ok(self.values[IxDyn(&place.collect::<Result<Vec<_>>>()?)])
    }

    /// The number with these labels, one for each axis.
    ///
    /// # Errors
    /// Too many or too few labels; a label that the axis does not have (the error lists those it has) or has several times, as a
    /// text can have a token: use [`Labelled::at`] then.
    pub fn get(&self, labels: &[&str]) -> Result<f32> {
        if labels.len() != self.axes.len() {
            let names: Vec<_> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
            return Err(Error::argument(format!(
                "{} labels were given for {:?}, whose axes are {names:?}: give one for each.",
                labels.len(),
                self.title
            )));
        }
        let place = labels.iter().zip(self.axes.iter()).map(|(label, axis)| {
            let mut found = axis.labels.iter().enumerate().filter(|(_, l)| l == label).map(|(i, _)| i as isize);
            let Some(first) = found.next() else {
                let shown = axis.labels.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
                return Err(Error::argument(format!(
                    "the axis {:?} of {:?} has no label {label:?}: it has {shown}, ..",
                    axis.name, self.title
                )));
            };
            match found.next() {
                None => Ok(first),
                Some(second) => Err(Error::argument(format!(
                    "the axis {:?} of {:?} has the label {label:?} at {first} and at {second}: choose one by its \
                     index, with `at` or `select`.",
                    axis.name, self.title
                ))),
            }
        });
        self.at(&place.collect::<Result<Vec<_>>>()?)
    }

    /// The only number of a result without axes, or with axes of one index.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are several.
    pub fn scalar(&self) -> Result<f32> {
        match self.values.len() {
            1 => Ok(self.values.iter().copied().next().unwrap_or(f32::NAN)),
            _ => Err(Error::shape(format!("{:?}", self.title), "one number", &self.shape())),
        }
    }

    /// The mean of all numbers, summed in f64.
    pub fn mean(&self) -> f64 {
        self.values.iter().map(|&v| f64::from(v)).sum::<f64>() / self.values.len().max(1) as f64
    }

    /// The mean over one axis, which is removed.
    ///
    /// # Errors
    /// An axis that does not exist or is empty.
    pub fn mean_over(&self, axis: &str) -> Result<Self> {
        let at = self.axis(axis)?;
        let values = self.values.mean_axis(NdAxis(at)).ok_or_else(|| {
            Error::argument(format!("the axis {axis:?} of {:?} is empty, so there is no mean over it.", self.title))
        })?;
        Ok(self.without(at, values))
    }

    /// The standard error of the mean over one axis, which is removed: the standard deviation of its entries (by `n - 1`)
    /// divided by the root of their number. It takes the entries for independent draws, as prompts of a generator are.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let of_prompts = Labelled::new("logit difference", vec![Axis::numbered("prompt", 4)], vec![1.0, 2.0, 3.0, 4.0])?;
    /// assert_eq!(of_prompts.mean_over("prompt")?.scalar()?, 2.5);
    /// // The deviations are 1.5, 0.5, 0.5, 1.5, so their squares sum to 5.
    /// let expected = (5.0_f32 / 3.0).sqrt() / 2.0;
    /// assert!((of_prompts.standard_error_over("prompt")?.scalar()? - expected).abs() < 1e-6);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist or has fewer than two entries.
    pub fn standard_error_over(&self, axis: &str) -> Result<Self> {
        let at = self.axis(axis)?;
        let count = self.shape()[at];
        if count < 2 {
            return Err(Error::argument(format!(
                "the axis {axis:?} of {:?} has {count} entries, but a standard error needs two or more.",
                self.title
            )));
        }
        let deviations = self.values.mapv(f64::from).std_axis(NdAxis(at), 1.);
        let errors = self.without(at, deviations.mapv(|deviation| (deviation / (count as f64).sqrt()) as f32));
        Ok(errors.titled(format!("standard error of the {}", self.title)))
    }

    /// The sum over one axis, which is removed.
    ///
    /// # Errors
    /// An axis that does not exist.
    pub fn sum_over(&self, axis: &str) -> Result<Self> {
        let at = self.axis(axis)?;
        Ok(self.without(at, self.values.sum_axis(NdAxis(at))))
    }

    /// One index of one axis, which is removed; negative indices count from the end.
    ///
    /// # Errors
    /// An axis or index that does not exist.
    pub fn select(&self, axis: &str, index: isize) -> Result<Self> {
        let at = self.axis(axis)?;
        let index = absolute(index, self.shape()[at], "index")?;
        Ok(self.without(at, self.values.index_axis(NdAxis(at), index).to_owned()))
    }

    /// Concatenates results along one axis. The other axes and the title are those of the first.
    ///
    /// # Errors
    /// No results, an axis that does not exist, or results that differ in their other axes.
    pub fn concat(axis: &str, parts: &[Self]) -> Result<Self> {
        let first =
            parts.first().ok_or_else(|| Error::argument("no results were given to concatenate: give at least one."))?;
        let at = first.axis(axis)?;
        let others = |part: &Self| -> Vec<Axis> {
            part.axes.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, axis)| axis.clone()).collect()
        };
        if let Some(odd) = parts.iter().find(|part| part.axis(axis).ok() != Some(at) || others(part) != others(first)) {
            return Err(Error::argument(format!(
                "{odd:?} cannot follow {first:?} along {axis:?}: their other axes must have the same names and labels."
            )));
        }
        let mut axes = first.axes.to_vec();
        axes[at].labels = parts.iter().flat_map(|part| part.axes[at].labels.clone()).collect();
        let views: Vec<_> = parts.iter().map(|part| part.values.view()).collect();
        let values = ndarray::concatenate(NdAxis(at), &views)
            .map_err(|error| Error::argument(format!("the results do not fit together: {error}.")))?;
        Ok(Self { title: first.title.clone(), axes: axes.into(), values: values.into_shared() })
    }

    fn without(&self, at: usize, values: ArrayD<f32>) -> Self {
        let axes = self.axes.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, axis)| axis.clone()).collect();
        Self { title: self.title.clone(), axes, values: values.into_shared() }
    }

    /// Splits one axis into several whose sizes multiply to its size, as einops' `"(layer head) -> layer head"`.
    ///
    /// # Errors
    /// Sizes that do not multiply to that of the axis.
    pub fn split(&self, axis: &str, into: Vec<Axis>) -> Result<Self> {
        let at = self.axis(axis)?;
        let sizes: Vec<usize> = into.iter().map(|axis| axis.labels.len()).collect();
        if sizes.iter().product::<usize>() != self.shape()[at] {
            return Err(Error::shape(
                format!("the axis {axis:?}"),
                format!("a size of {sizes:?} multiplied"),
                &[self.shape()[at]],
            ));
        }
        let mut axes = self.axes.to_vec();
        axes.splice(at..=at, into);
        Self::new(self.title.clone(), axes, self.values.iter().copied().collect())
    }
}

impl fmt::Debug for Labelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.axes.iter().map(|axis| format!("{} {}", axis.name, axis.labels.len())).collect();
        f.write_str(&visible(&format!("Labelled({:?}: {})", self.title, axes.join(" x "))))
    }
}
