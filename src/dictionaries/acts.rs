//! The activations of features, kept sparse.

use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::variables::holds;

/// Which features are active at each position, and how much (compressed rows: a row for each position).
///
/// Cheap to clone. A dictionary of 24,576 features of which 60 are active needs 480 bytes a position here, and 96 kB as a
/// dense tensor.
#[derive(Clone, PartialEq)]
pub struct FeatureActs(Arc<Rows>);

#[derive(PartialEq)]
struct Rows {
    /// The sizes of the axes before that of features, such as `[batch, pos]`.
    shape: Vec<usize>,
    d_sae: usize,
    /// Where each row starts in the two lists, and where the last ends.
    starts: Vec<usize>,
    /// Ascending within a row.
    features: Vec<u32>,
    values: Vec<f32>,
}

holds! {
    Rows { shape, starts, features, values }
}

holds! {
    FeatureActs { 0 } = |acts| format!("{:?} x {}, {} active", acts.0.shape, acts.0.d_sae, acts.0.values.len());
}

impl FeatureActs {
    /// From rows of `(feature, activation)`, one for each position, in order of feature.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are not as many rows as the shape has positions, or a feature that does not exist, appears
    /// twice or out of order.
    pub fn from_rows(shape: &[usize], d_sae: usize, rows: &[Vec<(u32, f32)>]) -> Result<Self> {
        let positions = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).unwrap_or(usize::MAX);
        if rows.len() != positions {
            return Err(Error::shape(
                "rows of active features",
                format!("{positions} rows for {shape:?}"),
                &[rows.len()],
            ));
        }
        let (mut starts, mut features, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in rows {
            for &(feature, value) in row {
                if feature as usize >= d_sae {
                    return Err(Error::IndexOutOfRange { axis: "feature", index: feature as isize, size: d_sae });
                }
                if features.len() > *starts.last().unwrap_or(&0) && features.last() >= Some(&feature) {
                    return Err(Error::argument(format!(
                        "feature {feature} comes after feature {} in a row: give the active features of a position in ascending \
                         order, each once.",
                        features.last().unwrap_or(&0)
                    )));
                }
                features.push(feature);
                values.push(value);
            }
            starts.push(features.len());
        }
        Ok(Self(Arc::new(Rows { shape: shape.to_vec(), d_sae, starts, features, values })))
    }

    /// The activations of a dense tensor that are not 0.
    ///
    /// # Shapes
    /// `[.., d_sae]`.
    ///
    /// # Errors
    /// A tensor without axes, or one that cannot be read.
    pub fn from_dense(acts: &Tensor) -> Result<Self> {
        let Some((&d_sae, shape)) = acts.dims().split_last() else {
            return Err(Error::shape("activations of features", "[.., d_sae]", acts.dims()));
        };
        if d_sae == 0 {
            return Err(Error::shape("activations of features", "[.., d_sae] with at least one feature", acts.dims()));
        }
        let acts = acts.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let (mut starts, mut features, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in acts.chunks(d_sae.max(1)) {
            for (feature, &value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                features.push(feature as u32);
                values.push(value);
            }
            starts.push(features.len());
        }
        Ok(Self(Arc::new(Rows { shape: shape.to_vec(), d_sae, starts, features, values })))
    }

    /// The rows that `active` finds in pieces of `together` rows of `x`.
    ///
    /// # Errors
    /// Those of `active`.
    pub(super) fn of_pieces(
        shape: &[usize],
        d_sae: usize,
        x: &Tensor,
        together: usize,
        active: impl Fn(&Tensor) -> Result<Vec<Vec<(u32, f32)>>>,
    ) -> Result<Self> {
        let (mut starts, mut features, mut values) = (vec![0], Vec::new(), Vec::new());
        let positions = x.dims()[0];
        for from in (0..positions).step_by(together.max(1)) {
            for row in active(&x.narrow(0, from, together.min(positions - from))?)? {
                features.extend(row.iter().map(|(feature, _)| *feature));
                values.extend(row.iter().map(|(_, value)| *value));
                starts.push(features.len());
            }
        }
        Ok(Self(Arc::new(Rows { shape: shape.to_vec(), d_sae, starts, features, values })))
    }

    /// The sizes of the axes before that of features, such as `[batch, pos]`.
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape.clone()
    }

    /// How many features the dictionary has.
    pub fn d_sae(&self) -> usize {
        self.0.d_sae
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.0.starts.len() - 1
    }

    /// How many features are active, over all positions.
    pub fn active(&self) -> usize {
        self.0.values.len()
    }

    /// The mean number of active features at a position.
    pub fn l0(&self) -> f64 {
        self.active() as f64 / self.positions().max(1) as f64
    }

    /// The active features of one position, counted over all axes before that of features, with their activations.
    pub(crate) fn row(&self, position: usize) -> (&[u32], &[f32]) {
        let range = self.0.starts[position]..self.0.starts[position + 1];
        (&self.0.features[range.clone()], &self.0.values[range])
    }

    /// As [`FeatureActs::row`], in pairs.
    pub(super) fn pairs(&self, position: usize) -> Vec<(u32, f32)> {
        let (features, values) = self.row(position);
        features.iter().copied().zip(values.iter().copied()).collect()
    }

    /// As a dense tensor on the CPU.
    ///
    /// # Shapes
    /// `[.., d_sae]`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no memory for it.
    pub fn dense(&self) -> Result<Tensor> {
        let numbers = (self.positions() as u64).saturating_mul(self.d_sae() as u64);
        let instead = "read single features with `at`, `feature` and `top`, or take fewer positions with `select`";
        check_free(numbers.saturating_mul(size_of::<f32>() as u64), "the dense activations of all features", instead)?;
        let mut all = vec![0f32; self.positions() * self.d_sae()];
        for (position, row) in all.chunks_mut(self.d_sae().max(1)).enumerate() {
            let (features, values) = self.row(position);
            for (&feature, &value) in features.iter().zip(values) {
                row[feature as usize] = value;
            }
        }
        let shape: Vec<usize> = self.0.shape.iter().copied().chain([self.d_sae()]).collect();
        Ok(Tensor::from_vec(all, shape, &Device::Cpu)?)
    }
}

impl fmt::Display for FeatureActs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} active of {} features at {} positions {:?}",
            self.active(),
            self.d_sae(),
            self.positions(),
            self.0.shape
        )?;
        write!(f, ", {:.1} at a position", self.l0())
    }
}

impl fmt::Debug for FeatureActs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
