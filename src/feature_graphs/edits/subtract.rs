//! Contributions of features, taken from the run itself and subtracted at a later point.

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::hooks::{AxisName, HookQuery, InnerSite, Splice, SpliceRun};
use crate::wide;

/// One feature of which the contribution is subtracted.
pub(super) struct Term {
    /// The number of its activations among the points that are read.
    pub read: usize,
    pub feature: usize,
    /// `prompt * n_pos + pos`.
    pub places: Vec<u32>,
    /// `[d_model]`.
    pub direction: Tensor,
}

/// What is subtracted at one point.
pub(super) struct Subtract {
    pub name: String,
    /// The activations of dictionaries.
    pub reads: Vec<String>,
    pub terms: Vec<Term>,
}

impl Splice for Subtract {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn inner(&self) -> Vec<InnerSite> {
        Vec::new()
    }

    fn reads(&self) -> Vec<HookQuery> {
        self.reads.iter().map(|name| name.as_str().into()).collect()
    }

    fn run(&self, x: &Tensor, at: &mut SpliceRun) -> Result<Tensor> {
        let wide = wide::widened(x)?;
        let (batch, pos, d_model) = (x.dim(0)?, x.dim(1)?, x.dim(x.rank() - 1)?);
        let mut sum = Tensor::zeros((batch * pos, d_model), DType::F32, x.device())?.to_dtype(wide.dtype())?;
        for term in &self.terms {
            let places = Tensor::new(term.places.as_slice(), x.device())?;
            let acts = at.read(term.read)?.flatten(0, 1)?.index_select(&places, 0)?.narrow(1, term.feature, 1)?;
            let written = acts.to_dtype(sum.dtype())?.broadcast_mul(&term.direction.to_dtype(sum.dtype())?)?;
            sum = sum.index_add(&places, &written, 0)?;
        }
        let has_heads = at.point().axes().iter().any(|axis| matches!(axis, AxisName::Head | AxisName::KeyValueHead));
        let sum = match has_heads {
            true => sum.reshape((batch, pos, 1, d_model))?,
            false => sum.reshape((batch, pos, d_model))?,
        };
        Ok(wide.broadcast_sub(&sum)?.to_dtype(x.dtype())?)
    }
}
