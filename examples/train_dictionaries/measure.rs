//! What a dictionary is worth on texts that it was not trained on.

use candle_lens::Result;
use candle_lens::candle::DType;
use candle_lens::dictionaries::{Activation, Card, Dictionary, DictionaryParts};

use crate::sites::Site;
use crate::texts::Activations;

/// In half precision, with L0 and explained variance of these activations on its card.
pub fn with_card(dictionary: Dictionary, site: &Site, fresh: &[Activations]) -> Result<Dictionary> {
    let dictionary = Dictionary::new(halved(dictionary.parts())?)?;
    let (mut unexplained, mut total, mut active, mut positions) = (0.0, 0.0, 0.0, 0.0);
    for activations in fresh {
        let (x, y) = activations.of(site);
        let y = y.unwrap_or(x);
        let acts = dictionary.encode(x)?;
        let square =
            |t: candle_lens::candle::Tensor| -> Result<f64> { Ok(f64::from(t.sqr()?.sum_all()?.to_scalar::<f32>()?)) };
        unexplained += square((dictionary.decode(&acts)? - y)?)?;
        total += square(y.broadcast_sub(&y.mean_keepdim(0)?)?)?;
        active += acts.active() as f64;
        positions += acts.positions() as f64;
    }
    let mut parts = dictionary.parts();
    parts.expects.card = Card { l0: Some(active / positions), explained_variance: Some(1.0 - unexplained / total) };
    Dictionary::new(parts)
}

fn halved(parts: DictionaryParts) -> Result<DictionaryParts> {
    let half = |tensor: &candle_lens::candle::Tensor| tensor.to_dtype(DType::F16);
    let activation = match &parts.activation {
        Activation::JumpRelu { threshold } => Activation::JumpRelu { threshold: half(threshold)? },
        other => other.clone(),
    };
    Ok(DictionaryParts {
        w_enc: half(&parts.w_enc)?,
        b_enc: half(&parts.b_enc)?,
        w_dec: half(&parts.w_dec)?,
        b_dec: half(&parts.b_dec)?,
        b_in: parts.b_in.as_ref().map(half).transpose()?,
        activation,
        ..parts
    })
}
