//! What one unit of a feature writes into the residual stream.

use candle_core::{D, Tensor};

use super::list::OneEdit;
use super::places::Fitted;
use crate::dictionaries::InputNorm;
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, HookQuery, Site};
use crate::model::HookedTransformer;
use crate::visible::visible;
use crate::wide;

/// The point of an edit, which must hold the residual stream or a part of it.
///
/// # Errors
/// A point that does not exist or holds something else.
pub(super) fn residual_point(model: &HookedTransformer, hook: &HookQuery, edit: &OneEdit) -> Result<HookPoint> {
    let point = hook.resolve(&model.dims())?;
    match point {
        HookPoint::Embed
        | HookPoint::PosEmbed
        | HookPoint::Block(
            _,
            Site::ResidPre
            | Site::AttnIn
            | Site::QInput
            | Site::KInput
            | Site::VInput
            | Site::AttnOut
            | Site::ResidMid
            | Site::MlpIn
            | Site::MlpOut
            | Site::ResidPost,
        ) => Ok(point),
        _ => Err(Error::argument(format!(
            "\"{edit}\": {point} does not hold the residual stream or what is added to it, which directions of features belong to: \
             give resid_pre, resid_mid, resid_post, attn_out, mlp_out, mlp_in, or q_input, k_input, v_input or attn_in of a layer."
        ))),
    }
}

impl Fitted {
    /// What one unit of a feature has written into the residual stream before a point, of a cross-layer transcoder in all these
    /// layers together; without a point all that it writes.
    ///
    /// # Shapes
    /// `[d_model]`, f32.
    ///
    /// # Errors
    /// A point at or before which it has written nothing; dictionaries whose directions depend on the run.
    pub(super) fn direction(
        &self,
        model: &HookedTransformer,
        edit: &OneEdit,
        feature: usize,
        before: Option<HookPoint>,
    ) -> Result<Tensor> {
        if self.dictionary.parts().input_norm != InputNorm::None {
            return Err(Error::argument(format!(
                "\"{edit}\": the dictionary \"{}\" normalises its input, so that what a feature writes depends on the run: ablate, \
                 set or scale the feature instead.",
                visible(&self.dictionary.name())
            )));
        }
        let HookPoint::Block(layer, site) = self.point else {
            return Err(Error::argument(format!("\"{edit}\": {} is not a point of a block.", self.point)));
        };
        if let Some(hook) = before.filter(|hook| *hook <= self.point) {
            return Err(Error::argument(format!(
                "\"{edit}\": the feature writes {}, and {hook} is not behind that: give a later point, such as resid_post of \
                 layer {layer}.",
                self.point
            )));
        }
        if before == Some(HookPoint::Block(layer, Site::MlpIn)) && model.cfg().parallel_attn_mlp {
            return Err(Error::argument(format!(
                "\"{edit}\": attention and MLP of a block read the same residual stream in this model, so the MLP of layer {layer} does \
                 not read what the feature writes: give a later point, such as resid_post of layer {layer}."
            )));
        }
        let written = |write: usize| Ok::<_, Error>(self.dictionary.writers(&[feature as u32], write)?.squeeze(0)?);
        if site == Site::Z {
            return self.through_w_o(model, edit, layer, &written(0)?);
        }
        let mut sum = written(0)?;
        for write in 1..self.dictionary.n_writes() {
            if before.is_none_or(|hook| HookPoint::Block(layer + write, Site::MlpOut) < hook) {
                sum = (sum + written(write)?)?;
            }
        }
        Ok(sum)
    }

    /// What heads make of a row of a dictionary of `hook_z`.
    fn through_w_o(&self, model: &HookedTransformer, edit: &OneEdit, layer: usize, row: &Tensor) -> Result<Tensor> {
        if HookPoint::Block(layer, Site::Ln1PostScale).absent(&model.dims()).is_none() {
            return Err(Error::argument(format!(
                "\"{edit}\": this model normalises what attention writes, so that the direction of an attention feature depends on \
                 the run: ablate, set or scale the feature instead."
            )));
        }
        let w_o = wide::widened(&model.weight(&format!("blocks.{layer}.attn.W_O"))?)?;
        let w_o = match self.dictionary.expects().head {
            Some(head) if row.dim(D::Minus1)? == w_o.dim(1)? => w_o.get(head)?,
            _ => w_o.flatten(0, 1)?,
        };
        Ok(row.to_dtype(w_o.dtype())?.unsqueeze(0)?.matmul(&w_o)?.squeeze(0)?)
    }
}
