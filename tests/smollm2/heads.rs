//! Grouped heads: 9 of queries, patterns and outputs, 3 of keys and values, each shared by three.

use candle_lens::Result;
use candle_lens::candle::{D, Tensor};
use candle_lens::candle_nn::ops;
use candle_lens::hooks::HookPlan;

use super::model::{IOI, TOLERANCE, assert_near, flat, numbers, reference, tokens, unprocessed};

/// Of probabilities; the reference is rounded to five digits.
const PATTERN: f64 = 1e-4;

const HEADS: usize = 9;
const KEY_VALUE_HEADS: usize = 3;
const LAYERS: usize = 30;

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn patterns_keys_and_values_are_those_of_transformers() -> Result<()> {
    let (model, reference) = (unprocessed(), reference());
    let (_, cache) = model.run_with_cache(tokens(model, IOI)?)?;
    let last = cache.tokens().pos() - 1;
    for (layer, heads) in reference["heads"]["patterns"].as_object().expect("layers") {
        let pattern = cache.get(("pattern", layer.parse::<isize>().expect("a layer")))?;
        let heads = heads.as_array().expect("heads");
        assert_eq!(heads.len(), HEADS);
        for (head, expected) in heads.iter().enumerate() {
            let got = flat(&pattern.get(0)?.get(head)?.get(last)?)?;
            assert_near(&got, &numbers(expected), PATTERN, &format!("pattern of L{layer}H{head}"));
        }
    }
    let layer = reference["heads"]["layer"].as_u64().expect("a layer") as isize;
    for (point, expected) in [("rot_k", "keys"), ("v", "values")] {
        let kept = cache.get((point, layer))?.get(0)?.get(last)?;
        let heads = reference["heads"][expected].as_array().expect("heads");
        assert_eq!((kept.dims(), heads.len()), (&[KEY_VALUE_HEADS, 64][..], KEY_VALUE_HEADS));
        for (head, expected) in heads.iter().enumerate() {
            assert_near(&flat(&kept.get(head)?)?, &numbers(expected), TOLERANCE, &format!("{point} of head {head}"));
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn a_cache_has_as_many_bytes_as_planned_and_heads_as_there_are() -> Result<()> {
    let model = unprocessed();
    let tokens = tokens(model, IOI)?;
    let plan = HookPlan::new().capture_all();
    let memory = plan.memory(&model.dims(), tokens.batch(), tokens.pos(), model.dtype())?;
    let (_, cache) = model.run_with_hooks(&tokens, &plan)?;
    assert_eq!(memory.kept(), cache.bytes());
    for planned in &memory.points {
        assert_eq!(cache.get(planned.point)?.dims(), planned.shape, "{}", planned.point);
    }
    let pos = tokens.pos();
    for layer in [0, LAYERS as isize - 1] {
        for (point, heads) in
            [("q", HEADS), ("rot_q", HEADS), ("z", HEADS), ("k", KEY_VALUE_HEADS), ("v", KEY_VALUE_HEADS)]
        {
            assert_eq!(cache.get((point, layer))?.dims(), [1, pos, heads, 64], "{point}");
        }
        for point in ["attn_scores", "pattern"] {
            assert_eq!(cache.get((point, layer))?.dims(), [1, HEADS, pos, pos], "{point}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn three_heads_share_keys_and_values() -> Result<()> {
    let model = unprocessed();
    let (_, cache) = model.run_with_cache(tokens(model, IOI)?)?;
    let of_head = |point: &str, head: usize| -> Result<Tensor> {
        Ok(cache.get((point, 12))?.get(0)?.narrow(1, head, 1)?.squeeze(1)?.contiguous()?)
    };
    let pos = cache.tokens().pos();
    for head in 0..HEADS {
        let shared = head / (HEADS / KEY_VALUE_HEADS);
        let scores = (of_head("rot_q", head)?.matmul(&of_head("rot_k", shared)?.t()?)? / 8.)?;
        let pattern = cache.get(("pattern", 12))?.get(0)?.get(head)?;
        for row in 0..pos {
            let seen = ops::softmax(&scores.get(row)?.narrow(0, 0, row + 1)?, D::Minus1)?;
            let got = flat(&pattern.get(row)?)?;
            assert_near(&got[..=row], &flat(&seen)?, PATTERN, &format!("pattern of head {head}, row {row}"));
        }
        let z = pattern.matmul(&of_head("v", shared)?)?;
        assert_near(&flat(&of_head("z", head)?)?, &flat(&z)?, TOLERANCE, &format!("z of head {head}"));
    }
    Ok(())
}
