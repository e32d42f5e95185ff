//! The names of a file's tensors against those of a layout: what precedes all of them, what belongs to another task,
//! and what they say of a file that does not fit.

use std::collections::BTreeSet;

/// How the names begin that belong to what a model was trained for besides: classes, answers in a text, a reward.
const OTHER_HEADS: [&str; 5] = ["score.", "classifier.", "qa_outputs.", "v_head.", "multiple_choice_head."];

/// How the names begin that belong to the part of a model that reads images.
const IMAGE_PARTS: [&str; 4] =
    ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];

/// What names hold where peft has put its adapters into a model.
const ADAPTERS: [&str; 6] =
    [".lora_A.", ".lora_B.", ".lora_embedding_", ".lora_magnitude_vector", ".base_layer.", ".modules_to_save."];

/// The prefix of a layout's names.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::model) enum Before {
    /// No tensor reveals it.
    Unknown,
    /// This precedes the names of the model without its unembedding, `whole` before those of all.
    One { inner: String, whole: String },
    /// Several models, each with something else before its names.
    Several(Vec<String>),
}

/// What precedes the names in a file. `anchors` are names that occur once in a model, the surest first; the model
/// without its unembedding usually has `prefix` before its names, or nothing where it was saved alone.
pub(in crate::model) fn before<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    anchors: &[String],
    prefix: &str,
) -> Before {
    let found = anchors.iter().map(|anchor| -> BTreeSet<&str> {
        let before = names.clone().filter_map(|name| name.strip_suffix(anchor.as_str()));
        before.filter(|before| before.is_empty() || before.ends_with(['.', '/'])).collect()
    });
    let Some(found) = found.into_iter().find(|found| !found.is_empty()) else { return Before::Unknown };
    let usual = [prefix, ""].into_iter().find(|usual| found.contains(usual));
    match (usual, found.first()) {
        (Some(inner), _) => Before::One { inner: inner.into(), whole: String::new() },
        (None, Some(inner)) if found.len() == 1 => {
            Before::One { inner: inner.to_string(), whole: inner.strip_suffix(prefix).unwrap_or(inner).into() }
        }
        _ => Before::Several(found.into_iter().map(String::from).collect()),
    }
}

/// Whether a tensor belongs to a head for another task than the next token.
pub(in crate::model) fn is_other_head(name: &str) -> bool {
    OTHER_HEADS.iter().any(|head| name.starts_with(head))
}

/// Whether a tensor belongs to the part of a model that reads images.
pub(in crate::model) fn is_image_part(name: &str) -> bool {
    IMAGE_PARTS.iter().any(|part| name.starts_with(part))
}

/// Whether a tensor is part of an adapter, or of a layer that has one.
pub(in crate::model) fn is_adapter(name: &str) -> bool {
    ADAPTERS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Before {
        before(names.iter().copied(), &["norm.weight".into(), "embed_tokens.weight".into()], "model.")
    }

    fn one(inner: &str, whole: &str) -> Before {
        Before::One { inner: inner.into(), whole: whole.into() }
    }

    #[test]
    fn what_stands_before_names() {
        assert_eq!(of(&["model.norm.weight", "lm_head.weight"]), one("model.", ""));
        assert_eq!(of(&["norm.weight", "layers.0.self_attn.q_norm.weight"]), one("", ""));
        assert_eq!(of(&["a.b.model.norm.weight", "a.b.lm_head.weight"]), one("a.b.model.", "a.b."));
        assert_eq!(of(&["encoder.norm.weight"]), one("encoder.", "encoder."));
        // The usual names are meant where they are there, whatever else is.
        assert_eq!(of(&["ema.norm.weight", "model.norm.weight"]), one("model.", ""));
        assert_eq!(of(&["model.embed_tokens.weight"]), one("model.", ""));
        assert_eq!(of(&["a.norm.weight", "b.norm.weight"]), Before::Several(vec!["a.".into(), "b.".into()]));
        assert_eq!(of(&["lm_head.weight", "q_norm.weight"]), Before::Unknown);
    }
}
