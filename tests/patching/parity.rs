//! Patching by TransformerLens' names against TransformerLens 3.9, and paths against runs with its hooks
//! (tests/fixtures/patching.py).

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::hooks::MeanOver;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::metrics::Metric;
use candle_lens::model::Processing;
use candle_lens::patching::{Mlps, PatchResult, PatchSite, Receiver, Sender, Untouched};
use candle_lens::tokens::Tokens;

use crate::support::fixture::{Agreement, Reference, tiny_model};
use crate::support::sentence::sentence;

fn prompts(other: u32) -> Tokens {
    let row =
        |seed: u32| (0..7).map(|i| (seed * 7 + i * 5 + if i == 2 || i == 4 { other } else { 0 }) % 29 + 1).collect();
    Tokens::from_rows([1, 2, 3].map(row).to_vec()).expect("rows of one length")
}

fn experiment() -> Result<Experiment> {
    let model = tiny_model(Processing::default());
    let answers = model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?;
    Experiment::new(&model, prompts(0), prompts(9), Metric::logit_diff(&answers))
}

fn tensor(result: &PatchResult) -> Result<Tensor> {
    let values = result.raw.values().iter().copied().collect();
    Ok(Tensor::from_vec(values, result.raw.shape(), &candle_core::Device::Cpu)?)
}

#[test]
fn sweeps_are_those_of_transformer_lens() -> Result<()> {
    let (patching, reference) = (experiment()?, Reference::load("patching.safetensors"));
    let mut agreement = Agreement::default();
    let scalar = |name: &str| reference.get(name).to_scalar::<f32>().map(f64::from).expect("a number");
    agreement.check_numbers("clean", [(f64::from(patching.clean()), scalar("clean"))].into_iter());
    agreement.check_numbers("corrupted", [(f64::from(patching.corrupted()), scalar("corrupted"))].into_iter());
    for (name, result) in [
        ("resid_pre", patching.get_act_patch_resid_pre()?),
        ("resid_mid", patching.get_act_patch_resid_mid()?),
        ("attn_out", patching.get_act_patch_attn_out()?),
        ("mlp_out", patching.get_act_patch_mlp_out()?),
        ("head_out_by_pos", patching.get_act_patch_attn_head_out_by_pos()?),
        ("head_q_by_pos", patching.get_act_patch_attn_head_q_by_pos()?),
        ("head_k_by_pos", patching.get_act_patch_attn_head_k_by_pos()?),
        ("head_v_by_pos", patching.get_act_patch_attn_head_v_by_pos()?),
        ("head_pattern_by_pos", patching.get_act_patch_attn_head_pattern_by_pos()?),
        ("head_pattern_dest_src_pos", patching.get_act_patch_attn_head_pattern_dest_src_pos()?),
    ] {
        agreement.check(name, &tensor(&result)?, reference.get(name));
    }
    let stacked = |results: Vec<PatchResult>| -> Result<Tensor> {
        Ok(Tensor::stack(&results.iter().map(tensor).collect::<Result<Vec<_>>>()?, 0)?)
    };
    let every = stacked(patching.get_act_patch_attn_head_all_pos_every()?)?;
    agreement.check("head_all_pos_every", &every, reference.get("head_all_pos_every"));
    agreement.check("block_every", &stacked(patching.get_act_patch_block_every()?)?, reference.get("block_every"));
    // TransformerLens permutes the pattern's axes to match the others.
    let mut by_pos = patching.get_act_patch_attn_head_by_pos_every()?;
    let pattern = tensor(&by_pos.pop().expect("five of them"))?.transpose(1, 2)?;
    let by_pos = Tensor::cat(&[stacked(by_pos)?, pattern.unsqueeze(0)?], 0)?;
    agreement.check("head_by_pos_every", &by_pos, reference.get("head_by_pos_every"));
    agreement.finish("activation patching");
    Ok(())
}

#[test]
fn paths_are_those_of_three_runs_with_hooks() -> Result<()> {
    let (patching, reference) = (experiment()?, Reference::load("patching.safetensors"));
    let mut agreement = Agreement::default();
    let to_final = patching.path_patch_head_to_final_resid_post()?;
    agreement.check("to the final stream", &tensor(&to_final)?, reference.get("path_final"));
    let heads: Vec<Sender> = (0..2).flat_map(|layer| (0..4).map(move |head| Sender::Head(layer, head))).collect();
    let frozen = patching.path_patch(&heads, &[Receiver::Final], Mlps::Frozen)?;
    agreement.check("MLPs frozen", &tensor(&frozen)?, &reference.get("path_final_frozen").flatten_all()?);
    let receivers = [Receiver::Q(1, 2), Receiver::K(1, 0), Receiver::V(1, 3)];
    let to_heads = patching.path_patch_head_to_heads(&receivers)?;
    agreement.check("to heads", &tensor(&to_heads)?, reference.get("path_heads"));
    agreement.finish("path patching");
    let none = patching.path_patch(&[Sender::Mlp(1)], &receivers, Mlps::Recomputed)?;
    assert_eq!(none.untouched[[0]], Some(Untouched::NoPath));
    assert_eq!(none.raw.values()[[0]], none.corrupted);
    Ok(())
}

#[test]
fn ablations_are_what_plans_do() -> Result<()> {
    let model = tiny_model(Processing::default());
    let mut rows: Vec<Vec<u32>> = (0..3).map(|row| prompts(0).row(row).to_vec()).collect();
    rows.push(prompts(9).row(0).to_vec());
    let tokens = Tokens::from_rows(rows)?;
    let answers = model.answers((0..4u32).map(|b| (3 + b, 20 - b)))?;
    let mut agreement = Agreement::default();
    let (_, cache) = model.run_with_cache(&tokens)?;
    let (_, of_others) = model.run_with_cache(prompts(4))?;
    for (name, ablation) in [
        ("zero", Baseline::Zero),
        ("mean", Baseline::mean(MeanOver::Batch)),
        ("groups", Baseline::MeanByGroup(vec![0, 1, 0, 1])),
        ("resample", Baseline::Resample(3)),
        ("mean over positions", Baseline::mean(MeanOver::BatchAndPos)),
        ("mean of others", Baseline::mean_of(MeanOver::Batch, prompts(4))),
        ("mean of others over positions", Baseline::mean_of(MeanOver::BatchAndPos, prompts(4))),
    ] {
        let result = Experiment::new(&model, &tokens, ablation, Metric::logit_diff(&answers))?
            .get_act_patch_attn_head_out_all_pos()?;
        for layer in 0..2usize {
            let z = cache.get(("z", layer))?;
            let other = of_others.get(("z", layer))?;
            let instead = match name {
                "zero" => z.zeros_like()?,
                "mean" => z.mean_keepdim(0)?.broadcast_as(z.shape())?.contiguous()?,
                "mean over positions" => z.mean_keepdim((0, 1))?.broadcast_as(z.shape())?.contiguous()?,
                "mean of others" => other.mean_keepdim(0)?.broadcast_as(z.shape())?.contiguous()?,
                "mean of others over positions" => other.mean_keepdim((0, 1))?.broadcast_as(z.shape())?.contiguous()?,
                "groups" => {
                    let mean = |a: usize, b: usize| (z.get(a)? + z.get(b)?)? / 2.;
                    let (even, odd) = (mean(0, 2)?, mean(1, 3)?);
                    Tensor::stack(&[&even, &odd, &even, &odd], 0)?
                }
                // Of prompts in a ring there are several orders; the seed decides which is taken.
                _ => continue,
            };
            for head in 0..4isize {
                let plan = HookPlan::new().edit(("z", layer), Edit::replace(instead.clone()).head(head..head + 1));
                let (logits, _) = model.run_with_hooks(&tokens, &plan)?;
                let expected = answers.logit_diff(&logits, &tokens)?.mean();
                let got = f64::from(result.raw.values()[[layer, head as usize]]);
                agreement.check_numbers(name, [(got, expected)].into_iter());
                let share = f64::from(result.normalised.values()[[layer, head as usize]]);
                agreement.check_numbers(name, [(share, expected / f64::from(result.clean))].into_iter());
            }
        }
    }
    agreement.finish("ablations");
    Ok(())
}

#[test]
fn metrics_read_what_they_say() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = (prompts(0), prompts(9));
    let logits = model.forward(&clean)?;
    let last = logits.narrow(1, 6, 1)?.squeeze(1)?;
    let probabilities = candle_nn::ops::softmax(&last, 1)?.to_vec2::<f32>()?;
    let mut agreement = Agreement::default();
    let mut check = |name: &str, metric: Metric, expected: f32| -> Result<()> {
        let patching = Experiment::new(&model, &clean, &corrupted, metric)?;
        agreement.check_numbers(name, [(f64::from(patching.clean()), f64::from(expected))].into_iter());
        // Patching the whole residual stream of the last position gives the clean number, whatever is measured.
        let all = patching.sites(&[PatchSite::new(&model, ("resid_post", 1))?])?;
        agreement.check_numbers(name, [(f64::from(all.raw.values()[[0]]), f64::from(expected))].into_iter());
        Ok(())
    };
    let mean =
        |of: &dyn Fn(usize, &[f32]) -> f32| probabilities.iter().enumerate().map(|(b, p)| of(b, p)).sum::<f32>() / 3.;
    let right = |b: usize| vec![3 + b as u32, 40];
    let wrong = |b: usize| vec![20 - b as u32, 50, 51];
    let prob_diff = Metric::prob_diff(&model, (0..3).map(right), (0..3).map(wrong))?;
    let sum = |p: &[f32], ids: Vec<u32>| ids.iter().map(|&id| p[id as usize]).sum::<f32>();
    check("prob_diff", prob_diff, mean(&|b, p| sum(p, right(b)) - sum(p, wrong(b))))?;
    check("log_prob", Metric::log_prob(&model, [5u32, 6, 7])?, mean(&|b, p| p[5 + b].ln()))?;
    let rank = |b: usize, p: &[f32]| p.iter().filter(|q| **q > p[5 + b]).count() as f32;
    check("rank", Metric::rank(&model, [5u32, 6, 7])?, mean(&rank))?;
    check("kl", Metric::kl(), 0.)?;
    let largest = last.max(1)?.mean_all()?.to_scalar::<f32>()?;
    check("custom", Metric::custom("largest logit", |logits| logits.max(1)), largest)?;
    agreement.finish("metrics");
    Ok(())
}

#[test]
fn mistakes_are_reported_before_anything_runs() -> Result<()> {
    let model = tiny_model(Processing::default());
    let answers = model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?;
    let metric = || Metric::logit_diff(&answers);
    let rows = |lengths: [usize; 3]| {
        let rows = lengths.map(|length| (1..=length as u32).collect::<Vec<_>>()).to_vec();
        Tokens::padded(rows, 0, candle_lens::tokens::PaddingSide::Left).expect("rows")
    };
    let odd = Experiment::new(&model, rows([7, 7, 7]), rows([7, 6, 7]), metric());
    sentence(odd, &["prompt 1 has 7 tokens clean and 6 corrupted"]);
    let same = Experiment::new(&model, prompts(0), prompts(0), metric());
    sentence(same, &["no difference that patching could restore"]);
    let one = model.answers([(1u32, 2u32)])?;
    sentence(Experiment::new(&model, prompts(0), prompts(9), Metric::logit_diff(&one)), &["1 prompts", "there are 3"]);
    let patching = experiment()?;
    use candle_lens::hooks::AxisName::{Head, KPos, Layer};
    sentence(patching.sweep("resid_pre", &[Layer, Head]), &["cannot be swept", "Head"]);
    sentence(patching.sweep("resid_pre", &[Layer, Layer]), &["name one twice"]);
    sentence(patching.sweep("z", &[Head]), &["name one layer"]);
    sentence(patching.sweep("z", &[Layer, KPos]), &["cannot be swept", "KPos"]);
    sentence(patching.sweep("hook_embed", &[]), &["outside the blocks"]);
    sentence(patching.sweep("result", &[Layer, Head]), &["not computed in an ordinary run"]);
    sentence(patching.sites(&[]), &["no site to patch"]);
    sentence(patching.sites(&[PatchSite::new(&model, ("z", 0))?.head(4)]), &["head 4 does not exist"]);
    sentence(patching.sites(&[PatchSite::new(&model, ("resid_pre", 0))?.head(1)]), &["no head can be selected there"]);
    sentence(patching.clone().budget(10).get_act_patch_resid_pre(), &["budget of 10 B is too small"]);
    sentence(patching.path_patch(&[], &[Receiver::Final], Mlps::Frozen), &["a sender and a receiver"]);
    sentence(patching.path_patch(&[Sender::Head(0, 9)], &[Receiver::Final], Mlps::Frozen), &["no head 9"]);
    sentence(patching.path_patch_head_to_heads(&[Receiver::Q(0, 1)]), &["no head comes before"]);
    let wrong = Metric::custom("two", |logits| logits.narrow(0, 0, 1)?.max(1));
    sentence(Experiment::new(&model, prompts(0), prompts(9), wrong), &["\"two\"", "[3]"]);
    let ablation = |ablation| Experiment::new(&model, prompts(0), ablation, metric());
    sentence(ablation(Baseline::MeanByGroup(vec![1])), &["1 group numbers", "3 prompts"]);
    sentence(ablation(Baseline::MeanByGroup(vec![7, 1, 7])), &["prompt 1 is alone in group 1", "at least two"]);
    for of_one in [Baseline::Resample(0), Baseline::mean(MeanOver::Batch), Baseline::MeanByGroup(vec![0])] {
        let single = Experiment::new(&model, vec![vec![1u32, 2]], of_one, Metric::logit_diff(&one));
        sentence(single, &["at least two"]);
    }
    sentence(ablation(Baseline::Zero)?.noising(), &["a zero ablation has no corrupted run", "leave noising() out"]);
    let steps = |right, wrong| Experiment::for_each_answer_token(&model, "the shops", "the town", right, wrong);
    sentence(steps(" Mary John", " John"), &["2 tokens", "1"]);
    sentence(steps(" Mary John", " John John"), &["token 1 is the same"]);
    Ok(())
}
