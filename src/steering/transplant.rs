//! Transplants: a hidden state of one prompt in the place of one of another, in the same model or another one (patchscopes,
//! Ghandeharioun et al. 2024, <https://arxiv.org/abs/2401.06102>).
//!
//! The residual stream that leaves layer `l` at position `i` of the source prompt, `h_S(l, i)`, replaces what leaves layer `l'` at
//! position `j` of the target prompt; between models of other spaces it goes through a linear map first, `h_S W + b`. The target's
//! prompt decides what is read off it: one that asks to repeat, describe or complete what is there.
//!
//! Limits: what comes out is what the target prompt makes of a state that it never met. A plausible text is not evidence by itself:
//! compare with the state of another prompt, and with the target prompt alone.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{D, DType, Device, Tensor};

use super::states::{States, states, tensor};
use crate::error::{Error, Result};
use crate::experiment::{Baseline, Experiment, captured};
use crate::generate::{GenerateOptions, Generated};
use crate::hooks::{Edit, HookPlan, HookPoint, Site};
use crate::labelled::{Axis, Labelled};
use crate::metrics::{Metric, Positions, mean};
use crate::model::{HookedTransformer, RunOptions};
use crate::patching::PatchSite;
use crate::progress::Progress;
use crate::slice::absolute;
use crate::tokens::{Bos, Input, Tokens};
use crate::variables::holds;

/// A hidden state of source prompts that is put into target prompts: by default that of the last token in place of that of the last
/// token.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (from, into) = ("Tirana, the capital of", "When John and Mary went to the shops, John gave the bag to");
/// let transplant = Transplant::new(&model, from, into)?;
/// // Behind the last layer, the state alone decides the next token.
/// let text = transplant.generate(3, 3, GenerateOptions { max_new_tokens: 1, ..Default::default() })?;
/// assert_eq!(text.completions(), [" Albania"]);
/// // A state in its own place changes nothing.
/// let own = Transplant::new(&model, into, into)?;
/// let change = (own.logits(1, 1)? - model.forward(into)?)?;
/// assert_eq!(change.abs()?.max_all()?.to_scalar::<f32>()?, 0.);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct Transplant {
    source: HookedTransformer,
    target: HookedTransformer,
    from: Tokens,
    into: Tokens,
    from_pos: usize,
    into_pos: usize,
    map: Option<(Tensor, Option<Tensor>)>,
}

holds! {
    Transplant { source, target, from, into, map }
}

impl Transplant {
    /// From prompts into prompts of the same model: as many of each, or one of either for all of the other.
    ///
    /// # Errors
    /// Different numbers of prompts, neither of which is one; and as [`HookedTransformer::to_tokens`].
    pub fn new(model: &HookedTransformer, from: impl Into<Input>, into: impl Into<Input>) -> Result<Self> {
        Self::between(model, from, model, into)
    }

    /// From prompts of one model into prompts of another.
    ///
    /// # Errors
    /// As [`Transplant::new`].
    pub fn between(
        source: &HookedTransformer,
        from: impl Into<Input>,
        target: &HookedTransformer,
        into: impl Into<Input>,
    ) -> Result<Self> {
        let from = source.left_padded(from, Bos::Default)?;
        let mut into = target.left_padded(into, Bos::Default)?;
        match (from.batch(), into.batch()) {
            (many, 1) => into = into.repeated(many),
            (1, _) => {}
            (a, b) if a == b => {}
            (a, b) => {
                return Err(Error::argument(format!(
                    "there are {a} source prompts and {b} target prompts: give as many of each, or one of either for all of \
                     the other."
                )));
            }
        }
        let (from_pos, into_pos) = (from.pos() - 1, into.pos() - 1);
        let (source, target) = (source.without_weight_gradients(), target.without_weight_gradients());
        Ok(Self { source, target, from, into, from_pos, into_pos, map: None })
    }

    /// The state at this position of the source prompts; negative counts from the end.
    ///
    /// # Errors
    /// A position outside the prompts; one counted from the start where they have several lengths.
    pub fn from_pos(self, pos: isize) -> Result<Self> {
        Ok(Self { from_pos: position(&self.from, pos, "source")?, ..self })
    }

    /// In place of what is at this position of the target prompts; negative counts from the end.
    ///
    /// # Errors
    /// As [`Transplant::from_pos`].
    pub fn into_pos(self, pos: isize) -> Result<Self> {
        Ok(Self { into_pos: position(&self.into, pos, "target")?, ..self })
    }

    /// The state goes through a linear map, `h W`.
    ///
    /// # Shapes
    /// `w [d_model of the source, d_model of the target]`.
    ///
    /// # Errors
    /// Another shape, numbers that are not finite.
    pub fn through(self, w: &Tensor) -> Result<Self> {
        let map = (self.checked(w, &[self.source.cfg().d_model, self.target.cfg().d_model], "map")?, None);
        Ok(Self { map: Some(map), ..self })
    }

    /// The state goes through an affine map, `h W + b`.
    ///
    /// # Shapes
    /// `w [d_model of the source, d_model of the target]`, `b [d_model of the target]`.
    ///
    /// # Errors
    /// Other shapes, numbers that are not finite.
    pub fn through_affine(self, w: &Tensor, b: &Tensor) -> Result<Self> {
        let bias = self.checked(b, &[self.target.cfg().d_model], "bias of the map")?;
        let with_map = self.through(w)?;
        let map = with_map.map.clone().map(|(w, _)| (w, Some(bias)));
        Ok(Self { map, ..with_map })
    }

    /// The plan of a run of the target prompts ([`Transplant::prompts`]), with the state behind layer `from_layer` put behind layer
    /// `into_layer`. Negative layers count from the end.
    ///
    /// # Errors
    /// Layers that the models do not have, models of different widths without a map, and as [`HookedTransformer::run`].
    pub fn plan(&self, from_layer: isize, into_layer: isize) -> Result<HookPlan> {
        let from = HookPoint::Block(self.source.dims().layer(from_layer)?, Site::ResidPost);
        let into = HookPoint::Block(self.target.dims().layer(into_layer)?, Site::ResidPost);
        let state = &self.states(&[from])?[&from];
        let edit = |plan: HookPlan, (prompt, row): (usize, &Tensor)| {
            plan.edit(into, Edit::replace(row.clone()).batch(prompt).pos(self.into_pos))
        };
        let rows = (0..state.dim(0)?).map(|prompt| Ok(state.get(prompt)?)).collect::<Result<Vec<_>>>()?;
        Ok(rows.iter().enumerate().fold(HookPlan::new(), edit))
    }

    /// The target prompts, padded on the left.
    pub fn prompts(&self) -> Tokens {
        self.into.clone()
    }

    /// The logits of the target prompts with the state in them.
    ///
    /// # Shapes
    /// `[batch, pos, d_vocab_out]`.
    ///
    /// # Errors
    /// As [`Transplant::plan`].
    pub fn logits(&self, from_layer: isize, into_layer: isize) -> Result<Tensor> {
        self.target.run(&self.into, self.plan(from_layer, into_layer)?, RunOptions::default())?.logits()
    }

    /// Continues the target prompts with the state in them. Texts get no BOS other than the one that the prompts have.
    ///
    /// # Errors
    /// As [`Transplant::plan`] and [`HookedTransformer::generate`]; options with a plan of their own.
    pub fn generate(
        &self,
        from_layer: isize,
        into_layer: isize,
        options: impl Into<GenerateOptions>,
    ) -> Result<Generated> {
        let mut options = options.into();
        if !options.plan.is_read_only() || options.bos != Bos::Default {
            return Err(Error::argument(
                "the options have a plan or a choice of BOS, but a transplant has its own plan and tokens: leave them out, or \
                 generate from transplant.prompts() under a plan of both.",
            ));
        }
        options.plan = self.plan(from_layer, into_layer)?;
        self.target.generate(&self.into, options)
    }

    /// A metric of the target prompts with the state of each layer of the source put behind each layer of the target, one at a time.
    /// The title says what it is without a transplant.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let (from, into) = ("Tirana, the capital of", "When John and Mary went to the shops, John gave the bag to");
    /// let sweep = Transplant::new(&model, from, into)?.sweep(Metric::log_prob(&model, [" Albania"])?)?;
    /// assert_eq!(sweep.shape(), [4, 4]);
    /// assert!(sweep.at(&[3, 3])? > -0.5);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[source layer, target layer]`, the mean over prompts.
    ///
    /// # Errors
    /// As [`Transplant::plan`], and answers for another number of prompts.
    pub fn sweep(&self, metric: Metric) -> Result<Labelled> {
        let (sources, targets) = (self.source.cfg().n_layers, self.target.cfg().n_layers);
        let points = |layers| (0..layers).map(|layer| HookPoint::Block(layer, Site::ResidPost)).collect::<Vec<_>>();
        let (from, into) = (points(sources), points(targets));
        let mut progress = Progress::of("transplanting", sources as u64 + 2, "layers of the source");
        let experiment = Experiment::new(&self.target, &self.into, Baseline::Zero, metric)?;
        progress.step(1)?;
        let states = self.states(&from)?;
        let base = captured(&self.target, &self.into, &into)?;
        let site = |point: &HookPoint| {
            PatchSite::new(&self.target, *point)?.pos(self.into_pos).resolved(&self.target.dims(), &self.into)
        };
        let sites = into.iter().map(site).collect::<Result<Vec<_>>>()?;
        progress.step(1)?;
        let mut values = Vec::with_capacity(sources * targets);
        for point in &from {
            let there = |(point, base): (&HookPoint, &Tensor), state: &Tensor| -> Result<_> {
                let state = state.unsqueeze(1)?.to_device(base.device())?.to_dtype(base.dtype())?;
                Ok((*point, (state.broadcast_as(base.shape())?.contiguous()?, base.clone())))
            };
            let activations: BTreeMap<_, _> = base.iter().map(|at| there(at, &states[point])).collect::<Result<_>>()?;
            let found = experiment.patched_with(&sites, &activations)?;
            values.extend(found.iter().map(|(values, _)| mean(values)));
            progress.step(1)?;
        }
        let axes = vec![Axis::numbered("source layer", sources), Axis::numbered("target layer", targets)];
        let title =
            format!("{} with the state transplanted ({:.4} without)", experiment.metrics.name(), experiment.clean());
        Labelled::new(title, axes, values)
    }

    /// The states behind these layers of the source, as they are put into the target, f32: `[batch, d_model]`.
    fn states(&self, points: &[HookPoint]) -> Result<BTreeMap<HookPoint, Tensor>> {
        self.check_widths()?;
        let found = states(&self.source, &self.from, &Positions::from(self.from_pos), points)?;
        let of_point = |(point, states): (HookPoint, States)| {
            let rows = (0..states.len()).map(|prompt| tensor(states.of(prompt))).collect::<Result<Vec<_>>>()?;
            let mut state = Tensor::stack(&rows, 0)?;
            if let Some((w, b)) = &self.map {
                state = state.matmul(w)?;
                state = if let Some(b) = b { state.broadcast_add(b)? } else { state };
            }
            let copies = self.into.batch() / state.dim(0)?;
            Ok((point, if copies > 1 { state.repeat((copies, 1))? } else { state }))
        };
        found.into_iter().map(of_point).collect()
    }

    fn check_widths(&self) -> Result<()> {
        let (source, target) = (self.source.cfg().d_model, self.target.cfg().d_model);
        match self.map.is_none() && source != target {
            true => Err(Error::argument(format!(
                "the source's residual stream has {source} numbers and the target's {target}, so a state does not fit: give a map \
                 of the shape [{source}, {target}] (transplant.through(&w))."
            ))),
            false => Ok(()),
        }
    }

    fn checked(&self, numbers: &Tensor, shape: &[usize], what: &str) -> Result<Tensor> {
        if numbers.dims() != shape {
            return Err(Error::shape(format!("the {what} of a transplant"), format!("{shape:?}"), numbers.dims()));
        }
        let numbers = numbers.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()?;
        let sums = numbers.abs()?.sum(D::Minus1)?.flatten_all()?.to_vec1::<f32>()?;
        match sums.iter().all(|sum| sum.is_finite()) {
            true => Ok(numbers),
            false => Err(Error::argument(format!(
                "the {what} of a transplant has numbers that are not finite: give finite ones."
            ))),
        }
    }
}

/// A position of prompts that are padded on the left.
fn position(prompts: &Tokens, pos: isize, which: &str) -> Result<usize> {
    if pos >= 0 && prompts.is_padded() {
        return Err(Error::argument(format!(
            "position {pos} of the {which} prompts was asked for, but they have several lengths: count from the end (-1 is the \
             last token), or give prompts of one length."
        )));
    }
    let position = absolute(pos, prompts.pos(), "position")?;
    match (0..prompts.batch()).find(|&prompt| !prompts.is_real(prompt, position)) {
        Some(prompt) => Err(Error::argument(format!(
            "{which} prompt {prompt} has {} tokens, so it has no position {pos}: choose one that all have.",
            prompts.lengths()[prompt]
        ))),
        None => Ok(position),
    }
}

impl fmt::Display for Transplant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let back = |tokens: &Tokens, pos: usize| pos as isize - tokens.pos() as isize;
        write!(
            f,
            "Transplant from position {} of {} prompts into position {} of {}",
            back(&self.from, self.from_pos),
            self.from.batch(),
            back(&self.into, self.into_pos),
            self.into.batch()
        )?;
        if self.map.is_some() { f.write_str(", through a map") } else { Ok(()) }
    }
}

impl fmt::Debug for Transplant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
