//! What the nodes of a circuit write in a run.
//!
//! Heads are kept as their z, which is `d_model / d_head` times smaller than what they add to the residual stream.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::layout::Layout;
use crate::error::Result;
use crate::hooks::{HookPoint, Site};
use crate::model::HookedTransformer;
use crate::variables::holds;

/// What every node wrote, or what replaces it.
#[derive(Clone)]
pub(super) struct Outputs {
    /// `[batch, pos, d_model]`.
    pub embed: Tensor,
    /// Of each layer `[batch, pos, head, d_head]`.
    pub z: Vec<Tensor>,
    /// Of each layer `[batch, pos, d_model]`; empty without MLPs.
    pub mlp: Vec<Tensor>,
}

holds! {
    Outputs { embed, z, mlp }
}

impl Outputs {
    pub(super) fn of(captured: &BTreeMap<HookPoint, Tensor>, layout: &Layout) -> Self {
        let at = |site| (0..layout.n_layers).map(|layer| captured[&HookPoint::Block(layer, site)].clone()).collect();
        let mlp = if layout.attn_only { Vec::new() } else { at(Site::MlpOut) };
        Self { embed: captured[&HookPoint::Embed].clone(), z: at(Site::Z), mlp }
    }

    /// The outputs by their points, as they are captured.
    pub(super) fn by_point(&self, layout: &Layout) -> BTreeMap<HookPoint, Tensor> {
        let at = |site, x: &[Tensor]| -> Vec<(HookPoint, Tensor)> {
            (0..layout.n_layers).zip(x).map(|(layer, x)| (HookPoint::Block(layer, site), x.clone())).collect()
        };
        let embed = (HookPoint::Embed, self.embed.clone());
        [embed].into_iter().chain(at(Site::Z, &self.z)).chain(at(Site::MlpOut, &self.mlp)).collect()
    }

    fn each(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let all = |parts: &[Tensor]| parts.iter().map(&change).collect::<Result<_>>();
        Ok(Self { embed: change(&self.embed)?, z: all(&self.z)?, mlp: all(&self.mlp)? })
    }

    fn with(&self, other: &Self, join: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let all = |a: &[Tensor], b: &[Tensor]| a.iter().zip(b).map(|(a, b)| join(a, b)).collect::<Result<_>>();
        Ok(Self {
            embed: join(&self.embed, &other.embed)?,
            z: all(&self.z, &other.z)?,
            mlp: all(&self.mlp, &other.mlp)?,
        })
    }

    pub(super) fn minus(&self, other: &Self) -> Result<Self> {
        self.with(other, |a, b| Ok((a - b)?))
    }

    /// How many numbers they are.
    pub(super) fn elem_count(&self) -> usize {
        [&self.embed].into_iter().chain(&self.z).chain(&self.mlp).map(Tensor::elem_count).sum()
    }

    /// `count` prompts from prompt `from` on.
    pub(super) fn rows(&self, from: usize, count: usize) -> Result<Self> {
        self.each(|x| rows(x, from, count))
    }

    /// What each node adds to the residual stream, f32, in the order of the layout's rows.
    ///
    /// # Shapes
    /// `[n_forward, batch * pos * d_model]`.
    pub(super) fn stacked(&self, model: &HookedTransformer) -> Result<Tensor> {
        let flat = |x: &Tensor| -> Result<Tensor> { Ok(x.reshape((1, x.elem_count()))?) };
        let mut parts = vec![flat(&self.embed)?];
        for layer in 0..self.z.len() {
            parts.push(self.heads(model, layer)?);
            parts.extend(self.mlp.get(layer).map(&flat).transpose()?);
        }
        Ok(Tensor::cat(&parts, 0)?.to_dtype(DType::F32)?)
    }

    /// What the heads of a layer add to the residual stream, `[head, batch * pos * d_model]`.
    pub(super) fn heads(&self, model: &HookedTransformer, layer: usize) -> Result<Tensor> {
        Ok(model.results_by_head(layer, &self.z[layer])?.flatten_from(1)?)
    }
}

/// `count` prompts from prompt `from` on.
pub(super) fn rows(x: &Tensor, from: usize, count: usize) -> Result<Tensor> {
    Ok(x.narrow(0, from, count)?.contiguous()?)
}
