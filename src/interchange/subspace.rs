//! A linear subspace of an activation, by an orthonormal basis.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::orthonormal::{MOST_OFF, columns, orthonormalised, unit_columns_off};
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::model::{HookedTransformer, ModelProvenance};
use crate::probes::Probe;
use crate::random::Random;
use crate::slice::Slice;
use crate::storage::{restore, store, take};
use crate::variables::holds;
use crate::visible::visible;

/// What saved subspaces are called in their files.
const KIND: &str = "subspace";

/// A linear subspace of an activation, by an orthonormal basis. Only the span matters: any rotation of the basis is the same subspace.
///
/// ```
/// use candle_lens::prelude::*;
/// let subspace = Subspace::random(64, 3, 0)?;
/// assert_eq!(subspace.basis().dims(), [64, 3]);
/// assert!((subspace.overlap(&subspace)? - 1.0).abs() < 1e-6);
/// assert_eq!(Subspace::neurons(64, [3, -1])?.overlap(&Subspace::neurons(64, 63)?)?, 1.0);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Subspace {
    name: String,
    /// `[width, rank]`, f32 on the CPU.
    basis: Tensor,
    /// The axes that it is of, where it is of some.
    axes: Option<Vec<usize>>,
    /// The model that it was found in, where it was.
    model: Option<ModelProvenance>,
}

holds! {
    Subspace { name, basis, axes } = |subspace| format!("{:?}", subspace.basis.dims());
}

/// What the file of a saved subspace says besides its numbers.
#[derive(Serialize, Deserialize)]
struct About {
    name: String,
    axes: Option<Vec<usize>>,
    model: Option<ModelProvenance>,
}

impl Subspace {
    /// The subspace of a basis of your own.
    ///
    /// # Shapes
    /// `basis [width, rank]`, with orthonormal columns.
    ///
    /// # Errors
    /// A basis that is not orthonormal (the error says by how much; [`Subspace::span`] makes one of any directions), more columns than rows,
    /// numbers that are not finite.
    pub fn new(basis: &Tensor) -> Result<Self> {
        let [width, rank] = *basis.dims() else {
            return Err(Error::shape("the basis of a subspace", "[width, rank]", basis.dims()));
        };
        check_rank(width, rank)?;
        let off = unit_columns_off(&columns(basis)?);
        if off > MOST_OFF {
            return Err(Error::argument(format!(
                "the columns of this basis are not orthonormal: a product of two is {off:.2e} away from 0 or 1. Give orthonormal ones, or \
                 the directions as rows to Subspace::span."
            )));
        }
        Self::of("a given basis", basis)
    }

    /// The span of directions of any length: a basis by Gram and Schmidt's method, in f64.
    ///
    /// # Shapes
    /// `directions [direction, width]`, or one, `[width]`.
    ///
    /// # Errors
    /// Directions that are 0, not finite, or in the span of those before them; more than there are dimensions.
    pub fn span(directions: &Tensor) -> Result<Self> {
        let directions = match directions.rank() {
            1 => directions.unsqueeze(0)?,
            _ => directions.clone(),
        };
        let [count, width] = *directions.dims() else {
            return Err(Error::shape("the directions of a subspace", "[direction, width]", directions.dims()));
        };
        check_rank(width, count)?;
        let basis = orthonormalised(columns(&directions.t()?)?);
        if let Some(dependent) = basis.dependent.first() {
            return Err(Error::argument(format!(
                "direction {dependent} is 0 or in the span of those before it: leave it out."
            )));
        }
        Self::of("the span of directions", &basis.tensor(width)?)
    }

    /// A random subspace, the same for the same seed.
    ///
    /// # Errors
    /// A rank of 0 or above the width, or more numbers than fit in memory.
    pub fn random(width: usize, rank: usize, seed: u64) -> Result<Self> {
        check_rank(width, rank)?;
        let directions = Random::new(seed).normal((rank, width))?;
        Ok(Self::span(&directions)?.named(format!("random, seed {seed}")))
    }

    /// The span of the differences between the means of examples of each label: for two labels, the difference of means.
    ///
    /// # Shapes
    /// `x [example, width]` with a label for each example, of any kind: `bool`, numbers, words.
    ///
    /// # Errors
    /// One label only, another count of labels, means that are all alike, numbers that are not finite.
    pub fn means<L: Ord>(x: &Tensor, labels: impl IntoIterator<Item = L>) -> Result<Self> {
        let labels: Vec<L> = labels.into_iter().collect();
        let [count, width] = *x.dims() else {
            return Err(Error::shape("the examples of a subspace", "[example, width]", x.dims()));
        };
        if labels.len() != count || count == 0 || width == 0 {
            return Err(Error::shape("the examples of a subspace", format!("[{}, width]", labels.len()), x.dims()));
        }
        let mut members: BTreeMap<L, Vec<usize>> = BTreeMap::new();
        labels.into_iter().enumerate().for_each(|(at, label)| members.entry(label).or_default().push(at));
        if members.len() < 2 {
            return Err(Error::argument(format!(
                "all {count} labels are the same, so there is no difference of means: give examples of at least two kinds."
            )));
        }
        let examples = columns(&x.t()?)?;
        let means: Vec<Vec<f64>> = members.into_values().map(|of| mean(&examples, &of)).collect();
        let difference = |mean: &Vec<f64>| mean.iter().zip(&means[0]).map(|(a, b)| a - b).collect();
        let basis = orthonormalised(means[1..].iter().map(difference).collect());
        if basis.columns.is_empty() {
            return Err(Error::argument(
                "the means of all labels are the same, so they span nothing: take another point.",
            ));
        }
        Self::of("differences of means", &basis.tensor(width)?)
    }

    /// The direction of a probe.
    ///
    /// # Errors
    /// A probe whose weights are all 0.
    pub fn probe(probe: &Probe) -> Result<Self> {
        Ok(Self::span(&probe.direction()?)?.named(format!("probe ({})", probe.method())))
    }

    /// The axes of some neurons, or of any coordinates of an activation of this width; negative indices count from the end.
    ///
    /// # Errors
    /// An index outside the width, one that is given twice.
    pub fn neurons(width: usize, neurons: impl Into<Slice>) -> Result<Self> {
        let chosen = neurons.into().indices(width, "neuron")?;
        if let Some(twice) = chosen.iter().enumerate().find(|(at, neuron)| chosen[..*at].contains(neuron)) {
            return Err(Error::argument(format!("neuron {} is given twice: give each once.", twice.1)));
        }
        check_rank(width, chosen.len())?;
        let mut basis = vec![0f32; width * chosen.len()];
        chosen.iter().enumerate().for_each(|(column, neuron)| basis[neuron * chosen.len() + column] = 1.);
        let basis = Tensor::from_vec(basis, (width, chosen.len()), &Device::Cpu)?;
        let name = match &chosen[..] {
            [one] => format!("neuron {one}"),
            several => format!("{} neurons", several.len()),
        };
        Ok(Self { name, basis, axes: Some(chosen), model: None })
    }

    /// All of an activation of this width, so that an interchange replaces it.
    ///
    /// # Errors
    /// A width of 0, or one whose basis does not fit in memory.
    pub fn whole(width: usize) -> Result<Self> {
        Ok(Self::neurons(width, ..)?.named("the whole activation"))
    }

    pub(super) fn of(name: &str, basis: &Tensor) -> Result<Self> {
        let basis = basis.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
        Ok(Self { name: name.into(), basis, axes: None, model: None })
    }

    /// The same subspace under another name.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same subspace, found in this model.
    pub(super) fn found_in(self, model: &HookedTransformer) -> Self {
        Self { model: Some(model.provenance()), ..self }
    }

    /// # Errors
    /// Activations of another width; a subspace that was found in another model, or in one processed otherwise.
    pub(super) fn check(&self, model: &HookedTransformer, width: usize) -> Result<()> {
        if self.width() != width {
            return Err(Error::shape(
                format!("the {self}"),
                format!("[{width}, rank] at this point"),
                self.basis.dims(),
            ));
        }
        let other = self.model.as_ref().map(|own| own.other_weights(&model.provenance())).unwrap_or_default();
        match other.is_empty() {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "the {self} was found in another model: {}. Find it in this one, or load the model as it was then; Subspace::new of its \
                 basis is one of no model.",
                other.join("; ")
            ))),
        }
    }

    /// The basis.
    ///
    /// # Shapes
    /// `[width, rank]`, f32 on the CPU, orthonormal columns.
    pub fn basis(&self) -> Tensor {
        self.basis.clone()
    }

    /// The width of the activations that it is a subspace of.
    pub fn width(&self) -> usize {
        self.basis.dims()[0]
    }

    /// Its dimension.
    pub fn rank(&self) -> usize {
        self.basis.dims()[1]
    }

    /// The share of the smaller of two subspaces that lies in the other: the mean of the squared cosines of the angles between them,
    /// `|A^T B|^2 / min(rank)`. 1 where one contains the other, 0 where they are orthogonal, and about the larger rank divided by the
    /// width for random ones.
    ///
    /// # Errors
    /// Subspaces of another width.
    pub fn overlap(&self, other: &Self) -> Result<f64> {
        if self.width() != other.width() {
            return Err(Error::shape("the other subspace", format!("[{}, rank]", self.width()), other.basis.dims()));
        }
        let product = self.basis.t()?.matmul(&other.basis)?.to_dtype(DType::F64)?;
        let squares = product.sqr()?.sum_all()?.to_scalar::<f64>()?;
        Ok((squares / self.rank().min(other.rank()) as f64).min(1.))
    }

    /// A random subspace of the same kind and dimension: of other neurons where this is one of neurons, as far as there are others.
    pub(super) fn random_like(&self, seed: u64) -> Result<Self> {
        let Some(axes) = &self.axes else { return Self::random(self.width(), self.rank(), seed) };
        let mut random = Random::new(seed);
        let mut others: Vec<usize> = (0..self.width()).filter(|axis| !axes.contains(axis)).collect();
        let mut own = axes.clone();
        random.shuffle(&mut others);
        random.shuffle(&mut own);
        let chosen: Vec<isize> = others.into_iter().chain(own).take(self.rank()).map(|axis| axis as isize).collect();
        Self::neurons(self.width(), chosen)
    }

    /// Saves the subspace.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let about = About { name: self.name.clone(), axes: self.axes.clone(), model: self.model.clone() };
        store(path.as_ref(), KIND, &about, &[("basis".to_string(), self.basis())].into())
    }

    /// Reads a subspace that was saved.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let path = std::env::temp_dir().join("candle-lens-subspace.safetensors");
    /// let subspace = Subspace::random(8, 2, 0)?;
    /// subspace.save(&path)?;
    /// assert!((Subspace::load(&path)?.overlap(&subspace)? - 1.0).abs() < 1e-6);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (about, mut tensors): (About, _) = restore(path, KIND)?;
        let basis = take(path, &mut tensors, "basis")?;
        let read = Self::new(&basis).map_err(|error| error.in_file(path))?;
        let axes = about.axes.filter(|axes| axes.len() == read.rank() && axes.iter().all(|axis| *axis < read.width()));
        Ok(Self { name: about.name, axes, model: about.model, ..read })
    }
}

/// The mean of these columns.
fn mean(columns: &[Vec<f64>], of: &[usize]) -> Vec<f64> {
    let mut sum = vec![0.; columns.first().map_or(0, Vec::len)];
    of.iter().for_each(|&at| sum.iter_mut().zip(&columns[at]).for_each(|(sum, x)| *sum += x));
    sum.into_iter().map(|sum| sum / of.len() as f64).collect()
}

fn check_rank(width: usize, rank: usize) -> Result<()> {
    if rank == 0 || rank > width {
        return Err(Error::argument(format!(
            "a subspace of {rank} dimensions of an activation of {width} was asked for: give at least 1 and at most that."
        )));
    }
    let bytes = 24 * (width as u64).saturating_mul(rank as u64);
    check_free(bytes, "the basis of the subspace", "give a lower rank")
}

impl fmt::Display for Subspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subspace of {} of {} dimensions: {}", self.rank(), self.width(), visible(&self.name))
    }
}

impl fmt::Debug for Subspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
