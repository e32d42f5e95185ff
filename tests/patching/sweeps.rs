//! Sweeps against the loop that they replace: one run of the whole model, under a plan, for each site.

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::experiment::Experiment;
use candle_lens::gradients::IgOptions;
use candle_lens::hooks::AxisName;
use candle_lens::hooks::{Edit, HookPlan, HookPoint};
use candle_lens::metrics::Metric;
use candle_lens::model::{AttentionDir, HookedTransformer, HookedTransformerConfig, Processing};
use candle_lens::patching::{PatchResult, PatchSite, Untouched};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::{Agreement, path, tiny_model};
use crate::support::sentence::sentence;
use crate::support::tolerance::REORDERED;
use AxisName::{DMlp, Head, KPos, Layer, Pos};

/// Three prompts that differ from their counterparts from the third token on.
fn prompts(side: Option<PaddingSide>) -> Result<(Tokens, Tokens)> {
    let row = |seed: u32, length: usize, other: u32| -> Vec<u32> {
        (0..length as u32).map(|i| (seed * 7 + i * 5 + if i == 2 || i == 4 { other } else { 0 }) % 29 + 1).collect()
    };
    let lengths = if side.is_some() { [7, 5, 6] } else { [7, 7, 7] };
    let batch = |other| -> Result<Tokens> {
        let rows = lengths.iter().zip(1..).map(|(&length, seed)| row(seed, length, other)).collect();
        Tokens::padded(rows, 0, side.unwrap_or_default())
    };
    Ok((batch(0)?, batch(9)?))
}

/// The logits after each last token.
fn last(logits: &Tensor, tokens: &Tokens) -> Result<Tensor> {
    let rows = tokens.last_positions().into_iter().enumerate().map(|(b, last)| logits.get(b)?.get(last));
    Ok(Tensor::stack(&rows.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
}

/// The metric of each prompt with one site patched, by a run of the whole model.
fn patched_by_a_plan(
    model: &HookedTransformer,
    (source, base): (&Tokens, &Tokens),
    point: &str,
    axes: &[AxisName],
    index: &[usize],
) -> Result<Vec<f32>> {
    let along = |axis: AxisName| axes.iter().position(|a| *a == axis).map(|at| index[at]);
    let layer = along(Layer).expect("each sweep goes over layers") as isize;
    let (_, cache) = model.run_with_hooks(source, HookPlan::new().capture((point, layer)))?;
    let value = cache.get((point, layer))?;
    // The whole activation is given; the edit takes its part of it.
    let mut edit = Edit::replace(value);
    if let Some(pos) = along(Pos) {
        edit = edit.pos(pos as isize..pos as isize + 1);
    }
    if let Some(head) = along(Head) {
        edit = edit.head(head as isize..head as isize + 1);
    }
    if let Some(source) = along(KPos) {
        edit = edit.key_pos(source as isize..source as isize + 1);
    }
    if let Some(neuron) = along(DMlp) {
        edit = edit.neuron(neuron as isize..neuron as isize + 1);
    }
    let (logits, _) = model.run_with_hooks(base, HookPlan::new().edit((point, layer), edit))?;
    let logits = last(&logits, base)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    Ok(logits.iter().zip(0..).map(|(logits, b)| logits[right(b)] - logits[wrong(b)]).collect())
}

fn right(prompt: usize) -> usize {
    3 + prompt
}

fn wrong(prompt: usize) -> usize {
    20 - prompt
}

fn patching(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens) -> Result<Experiment> {
    let answers = model.answers((0..clean.batch()).map(|b| (right(b) as u32, wrong(b) as u32)))?;
    Experiment::new(model, clean, corrupted, Metric::logit_diff(&answers))
}

/// Compares every site of a sweep with the loop, and returns the sweep.
fn check(
    model: &HookedTransformer,
    side: Option<PaddingSide>,
    point: &str,
    axes: &[AxisName],
    agreement: &mut Agreement,
) -> Result<PatchResult> {
    let (clean, corrupted) = prompts(side)?;
    let result = patching(model, &clean, &corrupted)?.sweep(point, axes)?;
    let shape = result.raw.shape().to_vec();
    assert_eq!(shape.len(), axes.len());
    for (index, _) in result.raw.values().indexed_iter() {
        let index: Vec<usize> = (0..shape.len()).map(|axis| index[axis]).collect();
        let expected = patched_by_a_plan(model, (&clean, &corrupted), point, axes, &index)?;
        // Prompts that are padded there do not count.
        let is_real = |b: usize, axis| {
            let place = axes.iter().position(|a| *a == axis);
            place.is_none_or(|at| clean.is_real(b, index[at]))
        };
        let there: Vec<usize> = (0..3).filter(|&b| is_real(b, Pos) && is_real(b, KPos)).collect();
        let mean = there.iter().map(|&b| expected[b]).sum::<f32>() / there.len() as f32;
        for (b, expected) in expected.iter().enumerate() {
            let place: Vec<usize> = index.iter().copied().chain([b]).collect();
            let got = result.per_prompt.values()[&place[..]];
            agreement.check_numbers(
                &format!("{point} of {} at {index:?}", model.cfg().model_name),
                [(f64::from(got), f64::from(*expected))].into_iter(),
            );
        }
        let got = result.raw.values()[&index[..]];
        agreement.check_numbers(
            &format!("{point} of {} at {index:?}", model.cfg().model_name),
            [(f64::from(got), f64::from(mean))].into_iter(),
        );
        if there.len() == 3 {
            let normalised = (mean - result.corrupted) / (result.clean - result.corrupted);
            agreement.check_numbers(
                &format!("{point} of {} at {index:?}", model.cfg().model_name),
                [(result.normalised.values()[&index[..]] as f64, normalised as f64)].into_iter(),
            );
        }
    }
    Ok(result)
}

fn family(name: &str) -> Result<HookedTransformer> {
    let folder = path(&format!("families/{name}"));
    HookedTransformer::from_pretrained_with(folder.to_str().expect("the path is UTF-8"), Processing::NONE)
}

fn trained_nothing(attention_dir: AttentionDir, attn_only: bool) -> Result<HookedTransformer> {
    let cfg = HookedTransformerConfig {
        n_layers: 3,
        d_model: 16,
        n_heads: 4,
        d_vocab: 40,
        n_ctx: 12,
        attn_only,
        attention_dir,
        initializer_range: Some(0.4),
        ..Default::default()
    };
    Ok(HookedTransformer::trainable(cfg, 5, &candle_core::Device::Cpu)?.0)
}

const EVERY: [(&str, &[AxisName]); 17] = [
    ("resid_pre", &[Layer, Pos]),
    ("resid_mid", &[Layer, Pos]),
    ("resid_post", &[Layer, Pos]),
    ("attn_out", &[Layer, Pos]),
    ("mlp_out", &[Layer, Pos]),
    ("z", &[Layer, Pos, Head]),
    ("q", &[Layer, Pos, Head]),
    ("k", &[Layer, Head]),
    ("k", &[Layer, Pos, Head]),
    ("v", &[Layer, Pos, Head]),
    ("pattern", &[Layer, Head, Pos]),
    ("pattern", &[Layer, Head, KPos]),
    ("attn_scores", &[Layer, Head]),
    ("attn_scores", &[Layer, Head, Pos]),
    ("q", &[Layer]),
    ("z", &[Layer, Head]),
    ("resid_pre", &[Layer]),
];

#[test]
fn every_sweep_equals_the_loop() -> Result<()> {
    let model = tiny_model(Processing::default());
    let mut agreement = Agreement::default();
    for (point, axes) in EVERY {
        check(&model, None, point, axes, &mut agreement)?;
    }
    check(&model, None, "mlp.hook_post", &[Layer, DMlp], &mut agreement)?;
    check(&model, None, "mlp.hook_pre", &[Layer, Pos], &mut agreement)?;
    agreement.finish("sweeps of the tiny GPT-2");
    Ok(())
}

#[test]
fn padded_batches_equal_the_loop() -> Result<()> {
    let mut agreement = Agreement::default();
    for model in [tiny_model(Processing::NONE), family("llama")?] {
        for side in [PaddingSide::Left, PaddingSide::Right] {
            for (point, axes) in [EVERY[0], EVERY[3], EVERY[5], EVERY[8], EVERY[10], EVERY[12], EVERY[15]] {
                check(&model, Some(side), point, axes, &mut agreement)?;
            }
        }
    }
    agreement.finish("sweeps of padded batches");
    Ok(())
}

#[test]
fn other_architectures_equal_the_loop() -> Result<()> {
    let mut agreement = Agreement::default();
    for name in ["llama", "gemma2", "gpt_neox", "phi", "qwen2_window", "qwen3", "gpt_neo", "phi3_long"] {
        let model = family(name)?;
        for (point, axes) in EVERY {
            let absent = model.dims().parallel_attn_mlp && point == "resid_mid";
            if !absent {
                check(&model, None, point, axes, &mut agreement)?;
            }
        }
    }
    for (direction, attn_only) in [(AttentionDir::Causal, true), (AttentionDir::Bidirectional, false)] {
        let model = trained_nothing(direction, attn_only)?;
        for (point, axes) in
            EVERY.into_iter().filter(|(point, _)| !attn_only || !["resid_mid", "mlp_out"].contains(point))
        {
            check(&model, None, point, axes, &mut agreement)?;
        }
    }
    agreement.finish("sweeps of other architectures");
    Ok(())
}

/// The text is one token longer than the length up to which positions are rotated differently.
#[test]
fn positions_that_change_with_the_length_equal_the_loop() -> Result<()> {
    let model = family("phi3_long")?;
    let length = model.cfg().long_rope.as_ref().expect("it has one").original_n_ctx + 1;
    let row = |other: u32| (0..length as u32).map(|i| (i * 5 + if i == 1 { other } else { 0 }) % 29 + 1).collect();
    let (clean, corrupted) = (Tokens::from_rows(vec![row(0)])?, Tokens::from_rows(vec![row(9)])?);
    let result = patching(&model, &clean, &corrupted)?.get_act_patch_resid_pre()?;
    let mut agreement = Agreement::default();
    for (index, &got) in result.raw.values().indexed_iter() {
        let axes = [Layer, Pos];
        let expected = patched_by_a_plan(&model, (&clean, &corrupted), "resid_pre", &axes, &[index[0], index[1]])?;
        agreement.check_numbers("resid_pre", [(f64::from(got), f64::from(expected[0]))].into_iter());
    }
    agreement.finish("a text of that length");
    Ok(())
}

#[test]
fn sites_that_change_nothing_are_marked() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = prompts(None)?;
    let patching = patching(&model, &clean, &corrupted)?;
    let stream = patching.get_act_patch_resid_pre()?;
    // The prompts differ at positions 2 and 4; layer 0 sees the tokens themselves, later layers what was read of them.
    let of = |layer: usize, position: usize| stream.untouched[[layer, position]];
    assert_eq!(of(0, 1), Some(Untouched::Identical));
    assert_eq!(of(0, 3), Some(Untouched::Identical));
    assert_eq!((of(0, 2), of(0, 4), of(1, 3)), (None, None, None));
    assert_eq!(stream.computed(), 2 + 5);
    assert_eq!(stream.raw.values()[[0, 1]], stream.corrupted, "exactly the number of the run without patching");
    let mlps = patching.get_act_patch_mlp_out()?;
    assert_eq!(mlps.untouched[[1, 5]], Some(Untouched::NoPath), "the last MLP beside the last position");
    assert_eq!(mlps.untouched[[1, 6]], None);
    Ok(())
}

#[test]
fn patching_everything_gives_the_other_run() -> Result<()> {
    let (clean, corrupted) = prompts(None)?;
    for model in [tiny_model(Processing::default()), family("llama")?] {
        let patching = patching(&model, &clean, &corrupted)?;
        let mut agreement = Agreement::default();
        for patching in [patching.clone(), patching.noising()?] {
            let result = patching.sweep("resid_pre", &[Layer])?;
            let target = if format!("{patching:?}").contains("; noising") { 0. } else { 1. };
            for &value in &result.normalised.values() {
                agreement.check_numbers("all of the stream", [(f64::from(value), target)].into_iter());
            }
        }
        agreement.finish("everything patched");
    }
    Ok(())
}

#[test]
fn a_small_budget_gives_the_same_numbers() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (clean, corrupted) = prompts(None)?;
    let patching = patching(&model, &clean, &corrupted)?;
    let whole = patching.get_act_patch_attn_head_v_by_pos()?;
    let small = patching.budget(60_000).get_act_patch_attn_head_v_by_pos()?;
    for (a, b) in whole.raw.values().iter().zip(&small.raw.values()) {
        assert!((a - b).abs() < REORDERED);
    }
    Ok(())
}

#[test]
fn points_have_the_sizes_that_sweeps_say() -> Result<()> {
    let model = family("llama")?;
    let (clean, corrupted) = prompts(None)?;
    let patching = patching(&model, &clean, &corrupted)?;
    let shape = |result: PatchResult| result.raw.shape().to_vec();
    let (layers, heads, keys) = (model.cfg().n_layers, model.cfg().n_heads, model.cfg().n_key_value_heads());
    assert_ne!(heads, keys, "heads share keys in this model");
    assert_eq!(shape(patching.get_act_patch_attn_head_k_all_pos()?), [layers, keys]);
    assert_eq!(shape(patching.get_act_patch_attn_head_q_by_pos()?), [layers, 7, heads]);
    assert_eq!(shape(patching.get_act_patch_attn_head_pattern_dest_src_pos()?), [layers, heads, 7, 7]);
    assert_eq!(patching.get_act_patch_attn_head_all_pos_every()?.len(), 5);
    assert_eq!(patching.get_act_patch_block_every()?.len(), 3);
    assert!(HookPoint::all(&model.dims()).len() > 20);
    Ok(())
}

/// Where some prompts are padded, a position's numbers are those of an experiment with only the prompts that have a token
/// there, and its label says how many.
#[test]
fn padded_positions_do_not_count() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let mut agreement = Agreement::default();
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let (clean, corrupted) = prompts(Some(side))?;
        let of = |rows: &[usize]| -> Result<Experiment> {
            let part =
                |tokens: &Tokens| Tokens::padded(rows.iter().map(|&b| tokens.real_row(b).to_vec()).collect(), 0, side);
            let answers = model.answers(rows.iter().map(|&b| (3 + b as u32, 20 - b as u32)))?;
            Experiment::new(&model, part(&clean)?, part(&corrupted)?, Metric::logit_diff(&answers))
        };
        let all = of(&[0, 1, 2])?;
        let attribution = all.attribution("resid_pre")?;
        let estimated = attribution.sweep("resid_pre", &[Layer, Pos])?;
        let got = all.sweep("resid_pre", &[Layer, Pos])?;
        assert_eq!(got.effect().as_share()?.values.values(), got.normalised.values());
        let integrated = all.integrated_gradients("resid_pre", IgOptions::from(3))?;
        let by_position = integrated.sweep("resid_pre", &[Layer, Pos])?.values;
        for pos in 0..7 {
            let rows: Vec<usize> = (0..3).filter(|&b| clean.is_real(b, pos)).collect();
            let only = of(&rows)?;
            let expected = only.sweep("resid_pre", &[Layer, Pos])?;
            let slopes = only.attribution("resid_pre")?.sweep("resid_pre", &[Layer, Pos])?;
            let label = &got.raw.axes()[1].labels[pos];
            match rows.len() {
                3 => assert_eq!(*label, pos.to_string(), "three prompts with other tokens"),
                count => assert_eq!(*label, format!("{pos} ({count} of 3 prompts)")),
            }
            let products = integrated.get(("resid_pre", 1))?.sum(2)?.to_vec2::<f32>()?;
            let mean = rows.iter().map(|&b| f64::from(products[b][pos])).sum::<f64>() / rows.len() as f64;
            agreement.check_numbers("integrated", [(f64::from(by_position.values()[[1, pos]]), mean)].into_iter());
            for layer in 0..2 {
                let at = |result: &PatchResult| {
                    [&result.raw, &result.normalised].map(|x| f64::from(x.values()[[layer, pos]]))
                };
                agreement.check_numbers("patched", at(&got).into_iter().zip(at(&expected)));
                agreement.check_numbers("estimated", at(&estimated).into_iter().zip(at(&slopes)));
            }
        }
    }
    agreement.finish("padded positions");
    Ok(())
}

/// Columns that are padding for all prompts count all of them; a position whose prompts are right in both runs is refused, in a
/// sweep, and sites say how many prompts they are of.
#[test]
fn positions_that_few_or_no_prompts_have() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let padded = |tokens: &Tokens| {
        let rows = (0..tokens.batch()).map(|b| [tokens.row(b), vec![0, 0]].concat()).collect();
        Tokens::from_padded_rows(rows, 0, PaddingSide::Right, false)
    };
    let (clean, corrupted) = prompts(Some(PaddingSide::Right))?;
    let metric = Metric::logit_diff(&model.answers((0..3u32).map(|b| (3 + b, 20 - b)))?);
    let patching = Experiment::new(&model, padded(&clean)?, padded(&corrupted)?, metric)?;
    let by_position = patching.sweep("resid_pre", &[Layer, Pos])?;
    assert!(by_position.normalised.values().iter().all(|value| value.is_finite()), "{by_position:?}");
    assert!(by_position.raw.title.ends_with(", denoising hook_resid_pre"), "{}", by_position.raw.title);
    let of_one = patching.sweep(("z", 1), &[Head])?.raw.title;
    assert!(of_one.ends_with(", denoising blocks.1.attn.hook_z"), "{of_one}");
    let sites = [4, 6].map(|pos| PatchSite::new(&model, ("resid_pre", 1)).map(|site| site.pos(pos)));
    let sites = sites.into_iter().collect::<Result<Vec<_>>>()?;
    let labels = patching.sites(&sites)?.raw.axes()[0].labels.clone();
    assert!(!labels[0].contains("prompts") && labels[1].ends_with("(1 of 3 prompts)"), "{labels:?}");

    // A metric on which the longest prompt alone is equal in both runs, and the others are not.
    let equal = Metric::custom("all but the first", |logits| {
        let first = logits.narrow(1, 0, 1)?.squeeze(1)?;
        first.mul(&Tensor::from_vec(vec![0f32, 1., 1.], 3, first.device())?)
    });
    let patching = Experiment::new(&model, &clean, &corrupted, equal)?;
    sentence(patching.sweep("resid_pre", &[Layer, Pos]), &["only the prompts [0] have a token", "Group the prompts"]);
    assert_eq!(patching.cumulative(&sites)?.raw.values().len(), 2, "all prompts count there");
    Ok(())
}

/// An axis has tokens where all prompts agree, and numbers elsewhere.
#[test]
fn positions_are_labelled_with_what_all_prompts_have() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let clean = ["When John and Mary went to the shops, John gave the bag to"; 2];
    let corrupted = ["When John and Mary went to the shops, Mary gave the bag to"; 2];
    let clean = [clean[0].to_string(), clean[1].replace("shops", "park")];
    let corrupted = [corrupted[0].to_string(), corrupted[1].replace("shops", "park")];
    let answers = model.answers([(" Mary", " John"), (" Mary", " John")])?;
    let patching = Experiment::new(&model, clean.to_vec(), corrupted.to_vec(), Metric::logit_diff(&answers))?;
    let labels = &patching.sweep(("resid_pre", 0), &[Pos])?.raw.axes()[0].labels;
    assert_eq!((&labels[2][..], &labels[8][..]), ("2: John", "8"), "{labels:?}");
    Ok(())
}
