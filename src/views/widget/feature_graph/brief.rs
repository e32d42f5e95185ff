//! The dashboard of a feature in short: the logits that it moves, and the texts in which it is most active.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::feature_graphs::GraphNode;
use crate::features::{FeatureDashboard, FeatureExample, TokenValue};
use crate::hooks::{HookPoint, Site};
use crate::views::widget::feature_parts::{short, short_number};
use crate::views::widget::pack::rounded;

/// How many tokens and examples of each feature, and how many tokens of an example before and after the largest activation.
const TOKENS: usize = 6;
const EXAMPLES: usize = 3;
const BEFORE: usize = 12;
const AFTER: usize = 5;
const LONGEST: usize = 24;

/// Steps of the strength of a token in an example.
const LEVELS: f32 = 9.0;

/// Whether it is a feature of attention, its layer, its index.
pub(super) type Key = (bool, usize, usize);

/// The feature of a node.
pub(super) fn key(node: GraphNode) -> Option<Key> {
    match node {
        GraphNode::Feature { layer, feature, .. } => Some((false, layer, feature)),
        GraphNode::AttnFeature { layer, feature, .. } => Some((true, layer, feature)),
        _ => None,
    }
}

/// By feature; those of other points than a graph's features read, such as the residual stream, are of none of them.
pub(super) fn by_feature(dashboards: &[FeatureDashboard]) -> BTreeMap<Key, &FeatureDashboard> {
    let key = |of: &FeatureDashboard| match of.reads_at.parse::<HookPoint>() {
        Ok(HookPoint::Block(
            layer,
            site @ (Site::Z | Site::Ln2Normalized | Site::MlpHookIn | Site::MlpIn | Site::ResidMid),
        )) => Some((site == Site::Z, layer, of.feature)),
        _ => None,
    };
    dashboards.iter().filter_map(|dashboard| Some((key(dashboard)?, dashboard))).collect()
}

/// What the script shows of it.
pub(super) fn brief(of: &FeatureDashboard) -> Value {
    let tokens = |list: &[TokenValue]| -> Vec<(String, f64)> {
        list.iter().take(TOKENS).map(|token| (short(&token.text, LONGEST), rounded(token.value))).collect()
    };
    let histogram = &of.texts.histogram;
    let often = match histogram.active {
        0 => String::new(),
        _ => format!(
            "active at {} % of {} texts' positions, largest {}",
            short_number(100.0 * histogram.density()),
            of.n_texts,
            short_number(f64::from(histogram.max))
        ),
    };
    let examples = of.texts.top.iter().take(EXAMPLES);
    let most = examples.clone().flat_map(|each| &each.activations).fold(f32::MIN_POSITIVE, |most, a| most.max(a.abs()));
    json!({
        "of": format!("{} {}", short(&of.dictionary, LONGEST), of.feature),
        "often": often,
        "up": tokens(&of.logits.top),
        "down": tokens(&of.logits.bottom),
        "texts": examples.map(|each| example(each, most)).collect::<Vec<_>>(),
    })
}

/// Tokens around the largest activation, each with its part of the largest of all.
fn example(of: &FeatureExample, most: f32) -> Value {
    let peak = of.peak();
    let first = peak.saturating_sub(BEFORE);
    let last = (peak + AFTER + 1).min(of.pieces.len());
    let level = |at: usize| {
        let part = of.activations.get(at).copied().unwrap_or(0.0).abs() / most;
        if part.is_finite() { (part * LEVELS).ceil() as u8 } else { 0 }
    };
    let words = (first.min(last)..last).map(|at| (short(&of.pieces[at], LONGEST), level(at)));
    json!({ "value": rounded(of.activation), "words": words.collect::<Vec<_>>() })
}
