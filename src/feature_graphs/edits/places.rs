//! Edits checked against a model, its dictionaries and prompts: which dictionary, which prompts, which positions.

use super::super::node::GraphNode;
use super::list::{Action, FeatureEdits, OneEdit};
use crate::dictionaries::{Dictionaries, Dictionary};
use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use crate::visible::visible;

/// A dictionary made to fit the model, with the point that it writes.
pub(super) struct Fitted {
    pub point: HookPoint,
    pub dictionary: Dictionary,
}

impl Fitted {
    /// The point of its features' activations.
    pub(super) fn acts(&self) -> String {
        format!("{}.hook_sae_acts_post", self.point)
    }
}

/// # Errors
/// Dictionaries whose features no node names; and as [`Dictionary::for_model`].
pub(super) fn fitted(model: &HookedTransformer, dictionaries: Dictionaries) -> Result<Vec<Fitted>> {
    let mut all: Vec<Fitted> = Vec::new();
    for dictionary in dictionaries.to_vec()? {
        let dictionary = dictionary.for_model(model)?;
        let Some(point @ HookPoint::Block(_, Site::MlpOut | Site::Z)) = dictionary.expects().writes() else {
            return Err(Error::argument(format!(
                "the dictionary \"{}\" does not write a hook_mlp_out or a hook_z, and features of others have no nodes: edit them at \
                 hook_sae_acts_post of a plan (model.splice).",
                visible(&dictionary.name())
            )));
        };
        if all.iter().any(|there| there.point == point) {
            return Err(Error::argument(format!(
                "the dictionary \"{}\" is the second one that writes {point}: give one for each point.",
                visible(&dictionary.name())
            )));
        }
        all.push(Fitted { point, dictionary });
    }
    Ok(all)
}

/// One edit, and where it is made.
pub(super) struct Place {
    pub edit: OneEdit,
    /// The number of its dictionary.
    pub dictionary: usize,
    pub feature: usize,
    /// Prompts with the position in each, padding counted.
    pub rows: Vec<(usize, usize)>,
}

/// What edits are checked against.
pub(super) struct Setting<'a> {
    pub fitted: &'a [Fitted],
    pub tokens: &'a Tokens,
    /// The BOS at which no feature is.
    pub bos: Option<u32>,
}

impl Setting<'_> {
    /// # Errors
    /// Nodes that are no features, layers without a dictionary, features, positions and prompts that are not there, numbers that
    /// are not finite.
    pub(super) fn places(&self, edits: &FeatureEdits) -> Result<Vec<Place>> {
        edits.edits.iter().map(|edit| self.place(edit)).collect()
    }

    fn place(&self, edit: &OneEdit) -> Result<Place> {
        let (point, pos, feature) = match edit.node {
            GraphNode::Feature { layer, pos, feature } => (HookPoint::Block(layer, Site::MlpOut), pos, feature),
            GraphNode::AttnFeature { layer, pos, feature } => (HookPoint::Block(layer, Site::Z), pos, feature),
            other => {
                return Err(Error::argument(format!(
                    "{other} is not a feature, and only features are edited: give a GraphNode::Feature or a \
                     GraphNode::AttnFeature."
                )));
            }
        };
        let dictionary = self.dictionary_of(point, edit)?;
        let d_sae = self.fitted[dictionary].dictionary.d_sae();
        if feature >= d_sae {
            return Err(Error::argument(format!(
                "\"{edit}\": the dictionary \"{}\" has {d_sae} features (0 to {}).",
                visible(&self.fitted[dictionary].dictionary.name()),
                d_sae - 1
            )));
        }
        let numbers = match &edit.action {
            Action::Value { factor, shift } => [*factor, *shift],
            Action::Add { scale, .. } => [*scale, 0.0],
            Action::Subtract { .. } => [0.0; 2],
        };
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(Error::argument(format!("\"{edit}\" has a number that is not finite: give a finite one.")));
        }
        if let (Some(prompt), Some(other)) = (edit.prompt, edit.clash) {
            return Err(Error::argument(format!(
                "\"{edit}\" is confined to prompt {prompt} and to prompt {other}, so to none: use only_in or of_prompts once for each edit."
            )));
        }
        let prompts = self.tokens.batch();
        let chosen = match edit.prompt {
            Some(prompt) if prompt >= prompts => {
                return Err(Error::argument(format!(
                    "\"{edit}\": there are {prompts} prompts (0 to {}).",
                    prompts - 1
                )));
            }
            Some(prompt) => prompt..prompt + 1,
            None => 0..prompts,
        };
        let rows = chosen.map(|prompt| self.row(edit, prompt, pos)).collect::<Result<Vec<_>>>()?;
        Ok(Place { edit: edit.clone(), dictionary, feature, rows })
    }

    fn dictionary_of(&self, point: HookPoint, edit: &OneEdit) -> Result<usize> {
        self.fitted.iter().position(|fitted| fitted.point == point).ok_or_else(|| {
            let there: Vec<String> = self.fitted.iter().map(|fitted| fitted.point.to_string()).collect();
            Error::argument(format!(
                "\"{edit}\": no dictionary writes {point}; those given write {}. Give that layer's dictionary too.",
                there.join(", ")
            ))
        })
    }

    /// The position of a node in one prompt, padding counted.
    fn row(&self, edit: &OneEdit, prompt: usize, pos: usize) -> Result<(usize, usize)> {
        let length = self.tokens.lengths()[prompt];
        if pos >= length {
            return Err(Error::argument(format!(
                "\"{edit}\": prompt {prompt} has {length} tokens (positions 0 to {}). Edit only the prompts that have the position \
                 (only_in).",
                length - 1
            )));
        }
        let place = self.tokens.first_positions()[prompt] + pos;
        if pos == 0 && self.bos == Some(self.tokens.id(prompt, place)) {
            return Err(Error::argument(format!(
                "\"{edit}\": prompt {prompt} begins with a BOS, which dictionaries leave alone, so no feature is there: choose another \
                 position, or run with AtBos::Spliced."
            )));
        }
        Ok((prompt, place))
    }
}

/// That edits which need an active feature have one: in the clean run, or by an earlier edit that sets it.
///
/// # Errors
/// A feature that is not active where it is ablated, scaled or subtracted: that would change nothing.
pub(super) fn check_active(places: &[Place], activation: impl Fn(&Place, (usize, usize)) -> f32) -> Result<()> {
    for (number, place) in places.iter().enumerate() {
        let is_set = |row: &(usize, usize)| {
            let same = |other: &&Place| {
                (other.dictionary, other.feature) == (place.dictionary, place.feature) && other.rows.contains(row)
            };
            let before = places[..number].iter().filter(same);
            before.into_iter().any(|other| matches!(other.edit.action, Action::Value { shift, .. } if shift != 0.0))
        };
        let needs = match place.edit.action {
            Action::Value { shift, .. } => shift == 0.0,
            Action::Subtract { .. } => true,
            Action::Add { .. } => false,
        };
        if needs && place.rows.iter().all(|row| activation(place, *row) == 0.0 && !is_set(row)) {
            let what = match place.rows.len() {
                1 => format!("in prompt {}", place.rows[0].0),
                prompts => format!("in any of the {prompts} prompts"),
            };
            return Err(Error::argument(format!(
                "\"{}\" would change nothing: the feature is not active there {what}. Choose an active one (capture \
                 \"sae_acts_post\", or the features of a graph), or set a value.",
                place.edit
            )));
        }
    }
    Ok(())
}
