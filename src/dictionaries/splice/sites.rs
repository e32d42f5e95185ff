//! The points inside a spliced dictionary, by SAELens' names, in its order and units.

use super::super::dictionary::Dictionary;
use super::super::parts::Activation;
use crate::hooks::{AxisName, HookPoint, InnerSite};

/// What an inner site shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What is read, heads flattened, before it is normalised.
    Input,
    Pre,
    Post,
    /// What the features of a layer of a cross-layer transcoder write to a later layer.
    Writes(usize),
    /// The same without edits of these features, where later error terms need it.
    Unedited(usize),
    /// The reconstruction before the normalisation is undone and heads are axes again.
    Recons,
    Error,
    Output,
}

impl Part {
    /// The name of the site.
    pub(super) fn name(self) -> String {
        match self {
            Self::Input => "hook_sae_input".into(),
            Self::Pre => "hook_sae_acts_pre".into(),
            Self::Post => "hook_sae_acts_post".into(),
            Self::Writes(layer) => format!("hook_sae_writes_{layer}"),
            Self::Unedited(layer) => format!("hook_sae_unedited_writes_{layer}"),
            Self::Recons => "hook_sae_recons".into(),
            Self::Error => "hook_sae_error".into(),
            Self::Output => "hook_sae_output".into(),
        }
    }
}

/// The inner sites of a dictionary that reads and writes these points, in the order in which they are shown.
pub(super) fn sites(
    dictionary: &Dictionary,
    (reads, writes): (HookPoint, HookPoint),
    has_error: bool,
) -> Vec<(Part, InnerSite)> {
    let d_sae = dictionary.d_sae();
    let vectors = |part: Part, axes: &[AxisName]| (part, InnerSite::new(part.name(), axes.iter().copied()));
    let flat = |part: Part, point: HookPoint, width: usize| match *point.axes() {
        [batch, pos, axis] => vectors(part, &[batch, pos, axis]),
        [batch, pos, ..] => (part, InnerSite::new(part.name(), [batch, pos, AxisName::DIn]).of_features(width)),
        _ => vectors(part, point.axes()),
    };
    let whole = |part: Part| match (dictionary.expects().head, writes.axes()) {
        (Some(_), [batch, pos, _, last]) => vectors(part, &[*batch, *pos, *last]),
        (_, axes) => vectors(part, axes),
    };
    let mut sites = vec![flat(Part::Input, reads, dictionary.d_in())];
    if !matches!(dictionary.activation(), Activation::MatchingPursuit { .. }) {
        sites.push((Part::Pre, InnerSite::features(Part::Pre.name(), d_sae)));
    }
    sites.push((Part::Post, InnerSite::features(Part::Post.name(), d_sae)));
    for later in 1..dictionary.n_writes() {
        let layer = writes.layer().unwrap_or(0) + later;
        sites.push(flat(Part::Writes(layer), writes, dictionary.d_out()));
        if has_error {
            sites.push(flat(Part::Unedited(layer), writes, dictionary.d_out()));
        }
    }
    sites.push(flat(Part::Recons, writes, dictionary.d_out()));
    if has_error {
        sites.push(whole(Part::Error));
    }
    sites.push(whole(Part::Output));
    sites
}
