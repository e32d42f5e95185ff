//! The activation at some positions of each prompt, as rows of a matrix: what probes are fitted to and directions are made of.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, HookQuery, Kind};
use crate::metrics::Positions;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};

/// How many prompts run at once.
const PROMPTS: usize = 32;

impl HookedTransformer {
    /// The activation at a point, at these positions of each prompt (the last token: [`Positions::Last`]), one row after the other. Prompts run
    /// in small batches as far as the point, and nothing else is kept.
    ///
    /// # Shapes
    /// `[prompt, width]` where there is one position of each; otherwise `[prompt * position, width]`, prompt after prompt. The axes of heads are
    /// flattened: `width` is `n_heads * d_head` at `"z"`.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let rows = model.collect_activations(["The keys on the cabinet", "The child"], ("resid_post", 1), Positions::Last)?;
    /// assert_eq!(rows.dims(), [2, model.cfg().d_model]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A point that holds no vector for each position (attention patterns, scores, token ids), positions outside the prompts; and as
    /// [`HookedTransformer::run`].
    pub fn collect_activations(
        &self,
        input: impl Into<Input>,
        point: impl Into<HookQuery>,
        positions: impl Into<Positions>,
    ) -> Result<Tensor> {
        let tokens = self.to_tokens(input)?;
        let point = self.point_of(&point.into())?;
        let rows = positions.into().rows(&tokens, false)?;
        Ok(collected(self, &tokens, &[point], &[rows.positions()])?.remove(0).remove(0))
    }
}

/// The rows of each point, and of each choice of positions there: a list for each point of a matrix for each choice.
///
/// # Errors
/// As [`HookedTransformer::collect_activations`].
pub(crate) fn collected(
    model: &HookedTransformer,
    tokens: &Tokens,
    points: &[HookPoint],
    choices: &[&[Vec<usize>]],
) -> Result<Vec<Vec<Tensor>>> {
    points.iter().try_for_each(|point| check_rows(*point))?;
    let model = model.without_weight_gradients();
    let options = model.as_far_as(points);
    let plan = points.iter().fold(HookPlan::new(), |plan, point| plan.capture(*point));
    let mut found = vec![vec![Vec::new(); choices.len()]; points.len()];
    let mut progress = Progress::of("collecting activations", tokens.batch() as u64, "prompts");
    for from in (0..tokens.batch()).step_by(PROMPTS) {
        let count = PROMPTS.min(tokens.batch() - from);
        progress.together(count);
        let run = model.run(tokens.rows(from, count), &plan, &options)?;
        for (point, of_point) in points.iter().zip(&mut found) {
            let x = run.captured[point].flatten_from(2)?.flatten(0, 1)?;
            for (positions, rows) in choices.iter().zip(of_point) {
                let places = positions[from..from + count].iter().enumerate();
                let places =
                    places.flat_map(|(prompt, of)| of.iter().map(move |at| (prompt * tokens.pos() + at) as u32));
                let places: Vec<u32> = places.collect();
                rows.push(x.index_select(&Tensor::new(places, x.device())?, 0)?);
            }
        }
        progress.step(count as u64)?;
    }
    let of_point = |rows: Vec<Vec<Tensor>>| rows.iter().map(|rows| Ok(Tensor::cat(rows, 0)?)).collect();
    found.into_iter().map(of_point).collect()
}

/// Refuses points without a vector for each position.
pub(crate) fn check_rows(point: HookPoint) -> Result<()> {
    match point.kind() == Kind::Vector && point.pos_axis() == 1 {
        true => Ok(()),
        false => Err(Error::argument(format!(
            "{point} does not hold a vector for each position: choose a point that does, such as (\"resid_post\", layer), (\"z\", layer) or \
             (\"post\", layer)."
        ))),
    }
}
