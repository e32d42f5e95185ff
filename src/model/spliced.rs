//! What an experiment splices into the model in all its runs, those of parts of the model among them.

use super::transformer::HookedTransformer;
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, HookQueries, HookQuery, HookRun, Reach, Splices, TextPart};
use crate::tokens::Tokens;

/// The splices of a plan, as a plan and at their points.
#[derive(Clone, Default)]
pub(crate) struct Spliced {
    plan: HookPlan,
    at: Splices,
}

impl HookedTransformer {
    /// The same model with what the plan splices in, in every run.
    ///
    /// # Errors
    /// A plan that does anything else or splices nothing in; a splice outside the blocks; names that the model does not
    /// have.
    pub(crate) fn with_splices_of(&self, plan: &HookPlan) -> Result<Self> {
        if !plan.has_only_splices() {
            return Err(Error::argument(
                "an experiment runs under a plan that only splices functions in (HookPlan::new().splice(..)), and this \
                 one splices nothing in or does something else: name a splice, and leave edits, captures and watched \
                 points out, or run the plan itself.",
            ));
        }
        let at = plan.splices(&self.dims())?;
        if let Some(outside) = at.points().find(|point| point.layer().is_none()) {
            return Err(Error::argument(format!(
                "{outside} is outside the blocks, where an experiment splices nothing in: splice at a point of a \
                 block, such as (\"resid_pre\", 0)."
            )));
        }
        Ok(Self { spliced: Spliced { plan: plan.clone(), at }, ..self.clone() })
    }

    /// What is spliced in, in every run.
    pub(crate) fn splices(&self) -> &Splices {
        &self.spliced.at
    }

    /// The plan of a run of this reach, with the model's own splices added.
    pub(super) fn with_splices(&self, plan: &HookPlan, reach: &Reach) -> HookPlan {
        plan.clone().with_splices_of(&self.spliced.at, reach)
    }

    /// What distinguishes the model from one into which something else is spliced; empty where nothing is.
    pub(crate) fn splices_in_words(&self) -> String {
        if self.spliced.at.is_empty() { String::new() } else { self.spliced.plan.to_string() }
    }

    /// The hooks of a run of the positions from `from` on of copies of these texts through a part of the model, on which nothing
    /// acts but what is spliced in.
    pub(crate) fn hooks(&self, tokens: &Tokens, from: usize) -> HookRun {
        let text = if self.spliced.at.is_empty() { TextPart::default() } else { text_part(tokens, from) };
        HookRun::splicing(&self.spliced.at, text)
    }

    /// Every point that a name means, those inside splices among them.
    ///
    /// # Errors
    /// As [`HookQuery::resolve`].
    pub(crate) fn points_of(&self, name: &HookQuery) -> Result<Vec<HookPoint>> {
        name.resolve_all_among(&self.dims(), &self.spliced.at.inner())
    }

    /// As [`HookedTransformer::points_of`], of several names: each once, in the order of the forward pass.
    ///
    /// # Errors
    /// As [`HookQuery::resolve`].
    pub(crate) fn points_of_all(&self, names: &HookQueries) -> Result<Vec<HookPoint>> {
        names.resolve_all_among(&self.dims(), &self.spliced.at.inner())
    }

    /// The one point that a name means.
    ///
    /// # Errors
    /// As [`HookQuery::resolve`].
    pub(crate) fn point_of(&self, name: &HookQuery) -> Result<HookPoint> {
        name.resolve_among(&self.dims(), &self.spliced.at.inner())
    }
}

/// The positions from `from` on of these texts.
pub(super) fn text_part(tokens: &Tokens, from: usize) -> TextPart {
    let first = |row| (0..tokens.pos()).find(|&pos| tokens.is_real(row, pos)).unwrap_or(0);
    TextPart::new((0..tokens.batch()).map(|row| (tokens.row(row).to_vec(), first(row))).collect(), from)
}
