//! What each step of weight processing guarantees, for every combination of steps.

use candle_lens::Result;
use candle_lens::candle::{D, Tensor};
use candle_lens::candle_nn::ops::log_softmax;
use candle_lens::model::Processing;

use crate::support::fixture::{Agreement, Reference, numbers, tiny_model};

fn flags(bits: u32) -> Processing {
    let on = |bit: u32| bits >> bit & 1 == 1;
    Processing {
        fold_ln: on(0),
        center_writing_weights: on(1),
        center_unembed: on(2),
        fold_value_biases: on(3),
        refactor_factored_attn_matrices: on(4),
    }
}

#[test]
fn predictions_stay_under_every_combination() -> Result<()> {
    let tokens = Reference::load("tiny_gpt2/raw.safetensors").tokens("tokens");
    let raw = tiny_model(Processing::NONE).forward(&tokens)?;
    let mut agreement = Agreement::default();
    for bits in 0..32 {
        let processing = flags(bits);
        let logits = tiny_model(processing).forward(&tokens)?;
        let name = format!("{processing:?}");
        agreement.check(&name, &log_softmax(&logits, D::Minus1)?, &log_softmax(&raw, D::Minus1)?);
        if !processing.center_unembed {
            agreement.check(&name, &logits, &raw);
        }
    }
    agreement.finish("processing");
    Ok(())
}

fn mean_of(tensor: &Tensor) -> Result<f64> {
    Ok(numbers(&tensor.mean(D::Minus1)?).into_iter().map(f64::abs).fold(0.0, f64::max))
}

#[test]
fn what_is_centred_has_mean_zero() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (logits, cache) = model.run_with_cache(Reference::load("tiny_gpt2/raw.safetensors").tokens("tokens"))?;
    let mut agreement = Agreement::default();
    let mut zero = |name: &str, tensor: &Tensor| -> Result<()> {
        agreement.check_numbers(name, [(mean_of(tensor)?, 0.0)].into_iter());
        Ok(())
    };
    zero("logits over the vocabulary", &logits)?;
    for layer in 0..2 {
        zero("resid_post", &cache.get(("resid_post", layer))?)?;
        zero("attn_out", &cache.get(("attn_out", layer))?)?;
    }
    for (name, weight) in [("W_Q", model.W_Q()?), ("W_K", model.W_K()?), ("W_V", model.W_V()?), ("W_in", model.W_in()?)]
    {
        zero(name, &weight.transpose(D::Minus1, D::Minus2)?.contiguous()?)?;
    }
    zero("W_U", &model.W_U().t()?.contiguous()?)?;
    agreement.check_numbers("b_V", numbers(&model.b_V()?).into_iter().map(|bias| (bias, 0.0)));
    agreement.finish("means");
    Ok(())
}

#[test]
fn steps_done_before_are_not_done_again() -> Result<()> {
    let tokens = Reference::load("tiny_gpt2/raw.safetensors").tokens("tokens");
    let once = tiny_model(Processing::default());
    let twice = once.clone().process(Processing::default())?;
    assert_eq!(twice.processing(), once.processing());
    let mut agreement = Agreement::default();
    agreement.check("logits", &twice.forward(&tokens)?, &once.forward(&tokens)?);
    agreement.check("b_O", &twice.b_O()?, &once.b_O()?);
    agreement.finish("processing twice");
    Ok(())
}
