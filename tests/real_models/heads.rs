//! Grouped heads: 9 of queries, patterns and outputs, 3 of keys and values, each shared by three.

use candle_lens::Result;
use candle_lens::candle::{D, Tensor};
use candle_lens::candle_nn::ops;
use candle_lens::hooks::HookPlan;

use super::checks::{IOI, PATTERN, TOLERANCE, assert_near, flat, unprocessed};

const HEADS: usize = 9;
const KEY_VALUE_HEADS: usize = 3;
const LAYERS: usize = 30;

#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn a_cache_has_as_many_bytes_as_planned_and_heads_as_there_are() -> Result<()> {
    let model = unprocessed();
    let tokens = model.to_tokens(IOI)?;
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
    let (_, cache) = model.run_with_cache(IOI)?;
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
