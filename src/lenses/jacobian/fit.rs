//! Fitting: backward passes from each coordinate at the end.
//!
//! A prompt is run once, in as many copies as a pass has coordinates. Each copy's gradient is that of one coordinate, summed over
//! the positions that count; attention looks only back, so at position `t` it is the sum over those from `t` on.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::JacobianLens;
use super::about::{About, check_raw};
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, Site, check_free};
use crate::model::{AttentionDir, HookedTransformer, RunOptions};
use crate::progress::Progress;
use crate::slice::Slice;
use crate::tokens::{Input, Tokens};

/// How a [`JacobianLens`] is fitted.
#[derive(Clone, Debug)]
pub struct JacobianOptions {
    /// At which layers, of those before the last one.
    pub layers: Slice,
    /// The first position that counts. Prompts without one between it and their last token are skipped.
    pub first: usize,
    /// Longer prompts are cut to this many tokens.
    pub longest: usize,
    /// How many tokens are run at once, all copies of a prompt together; at least one copy is.
    pub tokens_at_once: usize,
    /// What the texts are, for whoever reads the file.
    pub corpus: Option<String>,
}

impl Default for JacobianOptions {
    fn default() -> Self {
        Self { layers: Slice::All, first: 16, longest: 128, tokens_at_once: 1024, corpus: None }
    }
}

impl From<&Self> for JacobianOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

impl JacobianLens {
    /// Fits a lens on prompts, each of which counts the same. Every coordinate of the residual stream takes a backward pass through
    /// a copy of each prompt, `d_model` in all. Backward rules of the model ([`HookedTransformer::with_frozen`]) apply, and the lens
    /// remembers them.
    ///
    /// Lenses of parts of the prompts can be fitted one after the other, saved, and put together by [`JacobianLens::merged`].
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompts = ["When John and Mary went to the shops, John gave the bag to Mary. Then Mary left.", "The keys"];
    /// let lens = JacobianLens::fit(&model, prompts, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
    /// assert_eq!((lens.prompts(), lens.skipped()), (1, 1));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Processed or half-precision weights, attention in both directions, something spliced in, fewer than two layers; layers that
    /// are not before the last one; prompts that are all too short; and as [`HookedTransformer::run`].
    pub fn fit(
        model: &HookedTransformer,
        prompts: impl Into<Input>,
        options: impl Into<JacobianOptions>,
    ) -> Result<Self> {
        let options = options.into();
        let layers = check(model, &options)?;
        let d_model = model.cfg().d_model;
        let tokens = model.to_tokens(prompts)?;
        let rows = (0..tokens.batch()).map(|prompt| tokens.real_row(prompt));
        let rows = rows.map(|row| row[..row.len().min(options.longest)].to_vec());
        let (long, short): (Vec<_>, Vec<_>) = rows.partition(|row| row.len() > options.first.saturating_add(1));
        if long.is_empty() {
            return Err(Error::argument(format!(
                "all {} prompts are too short: positions from {} to the last but one count, so a prompt needs {} tokens. Give \
                 longer ones, or a smaller JacobianOptions::first.",
                short.len(),
                options.first,
                options.first.saturating_add(2)
            )));
        }
        let model = &model.without_weight_gradients();
        let mut progress = Progress::of("fitting the Jacobian lens", (long.len() * d_model) as u64, "backward passes");
        let mut sums: BTreeMap<usize, Tensor> = BTreeMap::new();
        for row in &long {
            for (layer, matrix) in of_prompt(model, row, &layers, &options, &mut progress)? {
                let sum = match sums.remove(&layer) {
                    Some(sum) => (sum + matrix)?,
                    None => matrix,
                };
                sums.insert(layer, sum);
            }
        }
        let mean = |(layer, sum): (usize, Tensor)| Ok((layer, (sum / long.len() as f64)?));
        let lens = Self {
            matrices: sums.into_iter().map(mean).collect::<Result<_>>()?,
            d_model,
            n_layers: model.cfg().n_layers,
            prompts: long.len(),
            skipped: short.len(),
            about: About {
                model: Some(model.provenance()),
                model_name: None,
                corpus: options.corpus,
                first: Some(options.first),
                longest: Some(options.longest),
                frozen: model.frozen().iter().map(|part| format!("{part:?}")).collect(),
            },
        };
        lens.check()?;
        Ok(lens)
    }
}

/// The layers, once everything is in order.
fn check(model: &HookedTransformer, options: &JacobianOptions) -> Result<Vec<usize>> {
    check_raw(model)?;
    let cfg = model.cfg();
    if model.dtype() != DType::F32 && model.dtype() != DType::F64 {
        return Err(Error::argument(format!(
            "{:?} has weights of {:?}, in which gradients through many layers are too coarse: load it as f32 to fit a lens.",
            cfg.model_name,
            model.dtype()
        )));
    }
    if options.longest < options.first.saturating_add(2) {
        return Err(Error::argument(format!(
            "prompts are cut to {} tokens, and positions from {} to the last but one count, so none is left: give a larger \
             JacobianOptions::longest, or a smaller first.",
            options.longest, options.first
        )));
    }
    if cfg.attention_dir == AttentionDir::Bidirectional {
        return Err(Error::argument(
            "the Jacobian lens sums effects on later positions, and this model's tokens attend to later ones too: give a model \
             that attends only back.",
        ));
    }
    if !model.splices().is_empty() {
        return Err(Error::argument(
            "the lens is of the model itself, and functions are spliced into this one (with_splices): give it without them.",
        ));
    }
    let Some(before) = cfg.n_layers.checked_sub(1).filter(|before| *before > 0) else {
        return Err(Error::argument("a lens leads from a layer to the last one: give a model of two layers or more."));
    };
    // Negative numbers count from the end of the model, whose last layer has no matrix of its own.
    let mut layers = options.layers.indices(cfg.n_layers, "layer")?;
    if options.layers != Slice::All && layers.contains(&before) {
        return Err(Error::argument(format!(
            "layer {before} is the last one, whose matrix is the identity: give layers from 0 to {}.",
            before - 1
        )));
    }
    layers.retain(|layer| *layer < before);
    layers.sort_unstable();
    layers.dedup();
    // The sums and the matrices of one prompt.
    let bytes = 2 * (layers.len() * cfg.d_model * cfg.d_model * size_of::<f32>()) as u64;
    check_free(bytes, "the matrices of the lens", "fit fewer layers at a time")?;
    Ok(layers)
}

/// The matrices of one prompt.
fn of_prompt(
    model: &HookedTransformer,
    row: &[u32],
    layers: &[usize],
    options: &JacobianOptions,
    progress: &mut Progress,
) -> Result<Vec<(usize, Tensor)>> {
    let (d_model, first) = (model.cfg().d_model, options.first);
    let copies = (options.tokens_at_once / row.len()).clamp(1, d_model);
    let points: Vec<HookPoint> = layers.iter().map(|layer| HookPoint::Block(*layer, Site::ResidPost)).collect();
    let plan = points.iter().fold(HookPlan::new(), |plan, point| plan.watch(*point));
    let run_options = RunOptions { stop_at_layer: Some(model.cfg().n_layers as isize), ..Default::default() };
    let run = model.run(Tokens::from_rows(vec![row.to_vec(); copies])?, plan, run_options)?;
    let end = run.resid()?;
    let counted = row.len() - 1 - first;
    let mut rows: Vec<Vec<Tensor>> = vec![Vec::new(); points.len()];
    for from in (0..d_model).step_by(copies) {
        let count = copies.min(d_model - from);
        progress.together(count);
        let gradients = run.taps.gradients(&(&end * one_hot(&end, from, count, first)?)?.sum_all()?)?;
        for (rows, point) in rows.iter_mut().zip(&points) {
            let own = gradients.get(*point)?.narrow(0, 0, count)?.narrow(1, first, counted)?.mean(1)?;
            rows.push(own.to_dtype(DType::F32)?.to_device(&Device::Cpu)?);
        }
        progress.step(count as u64)?;
    }
    layers.iter().zip(rows).map(|(layer, rows)| Ok((*layer, Tensor::cat(&rows, 0)?))).collect()
}

/// 1 at one coordinate of each of the first `count` copies, from coordinate `from` on, at the positions that count.
///
/// # Shapes
/// Those of `end`, `[copy, pos, d_model]`.
fn one_hot(end: &Tensor, from: usize, count: usize, first: usize) -> Result<Tensor> {
    let (copies, pos, d_model) = end.dims3()?;
    let mut ones = vec![0f32; copies * pos * d_model];
    for copy in 0..count {
        for position in first..pos - 1 {
            ones[(copy * pos + position) * d_model + from + copy] = 1.;
        }
    }
    Ok(Tensor::from_vec(ones, (copies, pos, d_model), end.device())?.to_dtype(end.dtype())?)
}
