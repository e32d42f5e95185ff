//! Every family of models, padded and not, in f32 and in half precision: with its error term an unedited dictionary changes nothing.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::{apart, random};
use crate::support::fixture::path;
use crate::support::models::FOLDERS;

/// In parts of the largest logit: what is written is taken away and added again in f32.
const ROUNDING: f32 = 1e-5;

/// The same where it is rounded to bfloat16, whose numbers have 8 bits.
const HALF: f32 = 0.02;

fn tokens(padded: bool) -> Result<Tokens> {
    let (long, short) = (vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11, 12]);
    match padded {
        true => Tokens::padded(vec![long, short[..3].to_vec()], 0, PaddingSide::Left),
        false => Tokens::from_rows(vec![long, short]),
    }
}

/// An autoencoder of heads, one of the residual stream and a transcoder, as the model is wide.
fn dictionaries(model: &HookedTransformer) -> Vec<Dictionary> {
    let point = |name: &str| -> HookPoint { format!("blocks.1.{name}").parse().unwrap() };
    let width = |point: HookPoint| point.shape(&model.dims(), 1, 1)[2..].iter().product::<usize>();
    let (z, resid) = (point("attn.hook_z"), point("hook_resid_post"));
    let (reads, writes) = (point("mlp.hook_in"), point("hook_mlp_out"));
    vec![
        random((1, width(z), width(z)), Expects::at(z), |parts| parts),
        random((2, width(resid), width(resid)), Expects::at(resid), |parts| parts),
        random((3, width(reads), width(writes)), Expects::between(reads, writes), |parts| parts),
    ]
}

#[test]
fn unedited_dictionaries_with_error_terms_change_nothing() -> Result<()> {
    for family in FOLDERS {
        let folder = path(&format!("families/{family}"));
        for (dtype, tolerance) in [(DType::F32, ROUNDING), (DType::BF16, HALF)] {
            let options = LoadOptions { processing: Some(Processing::NONE), dtype, ..Default::default() };
            let model = HookedTransformer::from_pretrained_with(folder.to_str().expect("UTF-8"), options)?;
            for padded in [false, true] {
                let tokens = tokens(padded)?;
                let plain = model.forward(&tokens)?.to_dtype(DType::F32)?;
                let scale = plain.abs()?.max_all()?.to_scalar::<f32>()?;
                for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(&tokens), ErrorTerm::None] {
                    let is_none = matches!(error, ErrorTerm::None);
                    let plan = model.splice(dictionaries(&model), error)?;
                    let got = model.run_with_hooks(&tokens, &plan)?.0.to_dtype(DType::F32)?;
                    let change = apart(&got, &plain)? / scale;
                    assert_eq!(change > tolerance, is_none, "{family} {dtype:?} padded {padded}: {change} {plan}");
                }
            }
        }
    }
    Ok(())
}
