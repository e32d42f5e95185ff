//! Looking at activations while the model runs, keeping none of them.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;

use super::forward::RunOptions;
use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPlan, HookPoint, HookQueries};
use crate::slice::forward;
use crate::tokens::Input;

impl HookedTransformer {
    /// Runs the model and shows the activation at each of these points to `look`, in the order of the forward pass. Nothing is kept, and
    /// the run ends behind the last point. `look` may write to variables around it; what it returns as an error ends the run.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let mut previous_token = Vec::new();
    /// model.visit("When John and Mary went to the shops,", "pattern", |pattern, point| {
    ///     // [batch, head, q_pos, k_pos]: how much each head looks at the position before.
    ///     let scores = pattern.diagonal(-1)?.mean((0, 2))?.to_vec1::<f32>()?;
    ///     previous_token.push((point.layer(), scores));
    ///     Ok(())
    /// })?;
    /// assert_eq!(previous_token.len(), model.cfg().n_layers);
    /// assert_eq!(previous_token[0].1.len(), model.cfg().n_heads);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Points that the model does not have; what `look` returns; and as [`HookedTransformer::run`].
    pub fn visit(
        &self,
        input: impl Into<Input>,
        points: impl Into<HookQueries>,
        mut look: impl FnMut(&Tensor, HookPoint) -> Result<()>,
    ) -> Result<()> {
        let (input, points) = (input.into(), points.into().resolve_all(&self.dims())?);
        let options = self.as_far_as(&points);
        // A hook lives as long as its plan, a closure that writes to variables does not: the model runs on a thread of its own and waits
        // at each point for this one to have looked.
        let (show, shown) = sync_channel::<Shown>(0);
        std::thread::scope(|scope| {
            let run = scope.spawn(move || {
                let show = Mutex::new(show);
                let hook = move |x: &Tensor, point: HookPoint| show_and_wait(&show, x, point);
                let look = Edit::custom("look", hook);
                let plan = points.into_iter().fold(HookPlan::new(), |plan, point| plan.edit(point, look.clone()));
                self.run(input, plan, options).map(|_| ())
            });
            let mut failed = None;
            while let Ok(Shown { x, point, answer }) = shown.recv() {
                let result = look(&x, point);
                let goes_on = result.is_ok();
                failed = failed.or(result.err());
                // The run may have ended; then its own error says why.
                answer.send(goes_on).ok();
            }
            let ended = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            failed.map_or(ended, Err)
        })
    }
}

impl HookedTransformer {
    /// A run that ends behind the last of these points.
    pub(crate) fn as_far_as(&self, points: &[HookPoint]) -> RunOptions {
        let behind = |point: &HookPoint| match point.layer() {
            Some(layer) => layer + 1,
            None => 0,
        };
        let stop = points.iter().map(behind).max().unwrap_or(0);
        match points.iter().any(|point| point.is_final()) {
            true => RunOptions::default(),
            false => RunOptions { stop_at_layer: Some(forward(stop)), logits: false, ..Default::default() },
        }
    }
}

/// An activation that waits to be looked at.
struct Shown {
    x: Tensor,
    point: HookPoint,
    /// Whether the run goes on.
    answer: SyncSender<bool>,
}

fn show_and_wait(show: &Mutex<SyncSender<Shown>>, x: &Tensor, point: HookPoint) -> Result<Tensor> {
    let (answer, answered) = sync_channel(1);
    let shown = Shown { x: x.clone(), point, answer };
    let sent = show.lock().unwrap_or_else(PoisonError::into_inner).send(shown);
    match sent.is_ok() && answered.recv() == Ok(true) {
        true => Ok(x.clone()),
        false => Err(Error::argument("whoever looked at the activations has stopped the run.")),
    }
}
