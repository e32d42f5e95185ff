//! How far a lens is from the model's own predictions on many texts.

use super::lens::Lens;
use super::options::LensOptions;
use super::run::read;
use crate::error::{Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::{PaddingSide, Tokens};
use crate::train::Texts;

/// How many texts are read at once.
const TEXTS: usize = 16;

pub(super) fn mean_kl(lens: &dyn Lens, model: &HookedTransformer, mut texts: Texts) -> Result<Labelled> {
    lens.check_model(model)?;
    let _work = Progress::opaque(format!("comparing the {} with the model's predictions", lens.name()));
    let (mut labels, mut sums, mut count) = (Vec::new(), Vec::new(), 0_usize);
    while let Some(tokens) = next(model, &mut texts)? {
        let kl = read(lens, model, (&tokens).into(), &LensOptions { k: 1, ..Default::default() })?.kl()?;
        labels = kl.labels("component")?;
        sums.resize(labels.len(), 0.);
        for (sum, of_component) in sums.iter_mut().zip(kl.values().outer_iter()) {
            // Padding has none.
            *sum += of_component.iter().filter(|kl| !kl.is_nan()).map(|kl| f64::from(*kl)).sum::<f64>();
        }
        count += tokens.lengths().iter().sum::<usize>();
    }
    if count == 0 {
        return Err(Error::argument("no text was given to compare a lens with the model on: give at least one."));
    }
    let title = format!("mean KL divergence of the {} from the model's predictions in nats", lens.name());
    let means = sums.iter().map(|sum| (sum / count as f64) as f32).collect();
    Labelled::new(title, vec![Axis::new("component", labels)], means)
}

/// The next few texts as one batch.
fn next(model: &HookedTransformer, texts: &mut Texts) -> Result<Option<Tokens>> {
    let mut rows = Vec::new();
    while rows.len() < TEXTS {
        let Some(input) = texts.next()? else { break };
        let tokens = model.to_tokens(input)?;
        rows.extend((0..tokens.batch()).map(|prompt| tokens.real_row(prompt)));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let pad = model.tokenizer().ok().and_then(|tokenizer| tokenizer.filler()).unwrap_or(0);
    Tokens::padded(rows, pad, PaddingSide::Right).map(Some)
}
