//! What decides where an answer need not be the reference's.

use candle_core::Tensor;

use crate::course::answer::{Answer, IntoAnswer};
use crate::course::locate::{TOLERANCE, differs};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::model::ops::softmax;
use crate::tokens::Tokens;

const PATTERN: &[&[&str]] = &[&["batch", "head", "q_pos", "k_pos"]];

/// What softmax makes of the scores counts: minus infinity and any very negative number are the same to it.
pub(super) fn hides_what_comes_later(input: &(Tensor,), answer: &Answer) -> Result<Option<String>> {
    let wanted = super::apply_causal_mask(&input.0)?;
    let [got] = &answer.parts[..] else { return Ok(Some("one tensor is wanted.".into())) };
    if got.dims() != wanted.dims() {
        return differs(answer, &wanted.into_answer()?, PATTERN, TOLERANCE);
    }
    if count_nan(got)? > 0 {
        let count = count_nan(got)?;
        return Ok(Some(format!(
            "{count} scores are NaN. 0 times minus infinity is NaN, so a mask cannot be multiplied by it: fill, with masked_fill."
        )));
    }
    let pattern = softmax(got)?;
    if count_nan(&pattern)? > 0 {
        return Ok(Some(
            "after softmax there are NaN: some query has no key left. It may always attend to itself.".into(),
        ));
    }
    let what = differs(&pattern.into_answer()?, &softmax(&wanted)?.into_answer()?, PATTERN, TOLERANCE)?;
    Ok(what.map(|what| format!("after softmax, {what}")))
}

fn count_nan(x: &Tensor) -> Result<usize> {
    Ok(x.flatten_all()?.to_vec1::<f32>()?.iter().filter(|number| number.is_nan()).count())
}

const STREAM: &[&[&str]] = &[&["batch", "pos", "d_model"]];
const LOGITS: &[&[&str]] = &[&["batch", "pos", "d_vocab"]];

/// Each tensor of the answer must be what the library has at its hook point; the first that is not is reported with the point up to which
/// all is right.
pub(super) fn follows_the_model(
    (model, tokens): &(HookedTransformer, Tokens),
    answer: &Answer,
) -> Result<Option<String>> {
    let (logits, cache) = model.run_with_cache(tokens.clone())?;
    let mut points =
        vec![("blocks.0.hook_resid_pre".to_string(), cache.get(("resid_pre", 0))?, "the embeddings".to_string())];
    for layer in 0..cache.dims().n_layers {
        let point = |name: &str| format!("blocks.{layer}.hook_{name}");
        points.push((point("resid_mid"), cache.get(("resid_mid", layer))?, format!("attention in block {layer}")));
        points.push((point("resid_post"), cache.get(("resid_post", layer))?, format!("the MLP in block {layer}")));
    }
    points.push(("the logits".into(), logits, "the final norm or the unembedding".into()));
    if answer.parts.len() != points.len() {
        return Ok(Some(format!(
            "it returns {} tensors, and this model of {} layers has {}: the residual stream that enters the first block, two for each block, and the logits.",
            answer.parts.len(),
            cache.dims().n_layers,
            points.len()
        )));
    }
    let mut right = "nothing is right yet".to_string();
    for (part, (name, wanted, suspect)) in answer.parts.iter().zip(points) {
        let axes = if name == "the logits" { LOGITS } else { STREAM };
        if let Some(what) = differs(&part.clone().into_answer()?, &wanted.into_answer()?, axes, TOLERANCE)? {
            return Ok(Some(format!(
                "{right}; the first difference is in {name}, so look at {suspect}. There, {what}"
            )));
        }
        right = format!("all is right up to {name}");
    }
    Ok(None)
}
