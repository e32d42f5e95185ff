//! C7: activation patching, by a run for each site.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{Device, IndexOp, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::tensors::TensorWords;
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Text(super::pytorch::TABLE),
        Part::Code(PROMPTS),
        Part::Code(RUNS),
        Part::Exercise(handles::logit_diff_with().task()),
        Part::Exercise(handles::recovered().task()),
        Part::Text(STREAM),
        Part::Exercise(handles::patch_resid_pre().task()),
        Part::Code(
            "imshow_patching_result(&experiment.get_act_patch_resid_pre()?.normalised, &words).title(\"resid_pre\")",
        ),
        Part::Text(BLOCKS),
        Part::Exercise(handles::patch_blocks().task()),
        Part::Code(BLOCKS_FIGURE),
        Part::Text(HEADS),
        Part::Exercise(handles::patch_heads().task()),
        Part::Code(HEADS_FIGURE),
        Part::Text(INSIDE),
        Part::Exercise(handles::patch_heads_every().task()),
        Part::Text(CARRIES),
        Part::Exercise(handles::what_carries_it().task()),
        Part::Text(END),
    ];
    Section { file: "c7_patching", parts }
}

const INTRODUCTION: &str = "# C7 · Activation patching

Direct attribution sees what a head writes itself. It is blind to a head that works *through* later heads. **Activation patching** asks another question: does the information pass through here?

Take two prompts that differ in one word, and call for different answers:

- **clean**: *When John and Mary went to the shops, **John** gave the bag to* → Mary
- **corrupted**: *When John and Mary went to the shops, **Mary** gave the bag to* → John

Run the corrupted prompt, but patch in the clean run's activation at one site of the model. If the answer moves towards Mary, then the difference between the prompts is there, and later layers make use of it.
Doing so site by site draws a map of where the information is, and how it moves from the second name to the end of the prompt.

You write the whole method: one patched run, the metric, then sweeps over the residual stream, over layers, over heads, and over the inside of heads.

The checks run your functions on smaller models with other sizes as well: take numbers of layers, heads and positions from the arguments. A plan keeps all edits that it was given, so make a new one for every run.";

const PROMPTS: &str = r#"let model = HookedTransformer::from_pretrained("tiny")?;
let clean_prompt = "When John and Mary went to the shops, John gave the bag to";
let corrupted_prompt = "When John and Mary went to the shops, Mary gave the bag to";
let answers = model.answers([(" Mary", " John")])?;
let (right, wrong) = (answers.correct()[0], answers.incorrect()[0]);
let words = model.to_str_tokens(clean_prompt)?;
words"#;

const RUNS: &str = r#"let corrupted = model.to_tokens(corrupted_prompt)?;
let (_, clean) = model.run_with_cache(clean_prompt)?;
// The library's own sweeps, to compare yours with.
let experiment = Experiment::new(&model, clean_prompt, corrupted_prompt, Metric::logit_diff(&answers))?;
let (clean_diff, corrupted_diff) = (experiment.clean(), experiment.corrupted());
println!("logit difference, Mary minus John: clean {clean_diff:.2}, corrupted {corrupted_diff:.2}");"#;

const STREAM: &str = "## The residual stream

A *plan* says what to do in a run: `HookPlan::new().edit((\"resid_pre\", 1), Edit::replace(value).pos(10))` replaces the residual stream that enters block 1, at position 10. It belongs to one run, so there are no hooks to remove afterwards.

Every sweep below calls your `logit_diff_with`. Let its check pass first: a mistake in it makes each sweep wrong, and the sweep's own check then looks for the mistake in the wrong place.

One run for each layer and position: 4 × 15 = 60 runs. Patch *clean* activations into the *corrupted* run (**denoising**): the sites that you find are enough to bring the answer back.

When it passes, look at your own map: `imshow_patching_result(&recovered(&patch_resid_pre(&model, &clean, &corrupted, right, wrong)?, clean_diff, corrupted_diff)?, &words)`. The cell below the exercise has the library's.";

const BLOCKS: &str = "Before the second name the two runs are identical, so nothing changes. At the second name the clean stream brings the answer back entirely. In later layers less of it is at the name, and more at the end: something has moved it.

## Attention or MLP?

The stream is a sum. To see which component moves the information, patch what attention *writes* (`attn_out`) and what the MLP writes (`mlp_out`).";

const BLOCKS_FIGURE: &str = r#"for (name, result) in ["resid_pre", "attn_out", "mlp_out"].iter().zip(&experiment.get_act_patch_block_every()?) {
    imshow_patching_result(&result.normalised, &words).title(*name).show()?;
}"#;

const HEADS: &str = "Attention of the first two layers acts at the second name itself, and attention of the last two at the end of the prompt. MLPs matter less.

## Heads

Now one head at a time, at all positions at once. A head's output, before its output matrix, is `z`: `[batch, pos, head, d_head]`.";

const HEADS_FIGURE: &str =
    r#"imshow(&experiment.get_act_patch_attn_head_out_all_pos()?.normalised).title("z of each head").width(600)"#;

const INSIDE: &str = "There are two groups: heads of the first two layers, and the heads of the last two that you know from the notebook before. The early ones write nothing of the answer themselves, and attribution did not see them.

## Inside a head

A head does two things. Its queries and keys decide *which positions* it attends to, and together make the pattern. Its values decide *what* is moved from there.
Which of the two differs between the prompts? Patch each separately, and see which alone brings the answer back.";

const CARRIES: &str = r#"Look at the five maps: `imshow_facets(&recovered(&patch_heads_every(&model, &clean, &corrupted, right, wrong)?, clean_diff, corrupted_diff)?)`, or find the largest number of each."#;

const END: &str = "## What to take home

- Patching tells *where information is and is used*; attribution tells who writes the answer. A head may do one without the other.
- Denoising (clean into corrupted) finds what is enough. *Noising*, the other direction, finds what is needed. Where several heads do the same, each of them alone seems unnecessary.
- The metric keeps its sign, and may be below 0 or above 1: heads may work against the answer.
- Patching at a head's values, queries, keys and pattern tells what kind of work it does. In GPT-2 the last heads are told *where* to attend; here it is another story.

The library does the same sweeps faster, because it computes only what a patch can change: `experiment.get_act_patch_attn_head_all_pos_every()?`. Next: which heads talk to which, by patching *paths*.";

fn logit_diff_with(model: &HookedTransformer, prompt: &Tokens, plan: &HookPlan, right: u32, wrong: u32) -> Result<f32> {
    let (logits, _) = model.run_with_hooks(prompt, plan)?;
    let last = logits.at(&[0, -1])?;
    Ok(last.at(&[right as isize])?.item()? - last.at(&[wrong as isize])?.item()?)
}

fn recovered(patched: &Tensor, clean: f32, corrupted: f32) -> Result<Tensor> {
    let (clean, corrupted) = (clean as f64, corrupted as f64);
    Ok(((patched - corrupted)? / (clean - corrupted))?)
}

fn patch_resid_pre(
    model: &HookedTransformer,
    clean: &ActivationCache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let (n_layers, n_pos) = (model.cfg().n_layers, corrupted.pos());
    let mut results = Vec::new();
    for layer in 0..n_layers {
        let stream = clean.get(("resid_pre", layer))?;
        for pos in 0..n_pos {
            let edit = Edit::replace(stream.i((.., pos))?).pos(pos as isize);
            let plan = HookPlan::new().edit(("resid_pre", layer), edit);
            results.push(logit_diff_with(model, corrupted, &plan, right, wrong)?);
        }
    }
    Ok(Tensor::from_vec(results, (n_layers, n_pos), &Device::Cpu)?)
}

fn patch_blocks(
    model: &HookedTransformer,
    clean: &ActivationCache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let (n_layers, n_pos) = (model.cfg().n_layers, corrupted.pos());
    let mut results = Vec::new();
    for point in ["resid_pre", "attn_out", "mlp_out"] {
        for layer in 0..n_layers {
            let value = clean.get((point, layer))?;
            for pos in 0..n_pos {
                let edit = Edit::replace(value.i((.., pos))?).pos(pos as isize);
                let plan = HookPlan::new().edit((point, layer), edit);
                results.push(logit_diff_with(model, corrupted, &plan, right, wrong)?);
            }
        }
    }
    Ok(Tensor::from_vec(results, (3, n_layers, n_pos), &Device::Cpu)?)
}

fn patch_heads(
    model: &HookedTransformer,
    clean: &ActivationCache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let (n_layers, n_heads) = (model.cfg().n_layers, model.cfg().n_heads);
    let mut results = Vec::new();
    for layer in 0..n_layers {
        let z = clean.get(("z", layer))?;
        for head in 0..n_heads {
            let edit = Edit::replace(z.i((.., .., head))?).head(head as isize);
            let plan = HookPlan::new().edit(("z", layer), edit);
            results.push(logit_diff_with(model, corrupted, &plan, right, wrong)?);
        }
    }
    Ok(Tensor::from_vec(results, (n_layers, n_heads), &Device::Cpu)?)
}

fn patch_heads_every(
    model: &HookedTransformer,
    clean: &ActivationCache,
    corrupted: &Tokens,
    right: u32,
    wrong: u32,
) -> Result<Tensor> {
    let (n_layers, n_heads) = (model.cfg().n_layers, model.cfg().n_heads);
    let mut results = Vec::new();
    for point in ["z", "q", "k", "v", "pattern"] {
        // A pattern is [batch, head, q_pos, k_pos]; the others are [batch, pos, head, d_head].
        let head_axis = if point == "pattern" { 1 } else { 2 };
        for layer in 0..n_layers {
            let value = clean.get((point, layer))?;
            for head in 0..n_heads {
                let edit = Edit::replace(value.narrow(head_axis, head, 1)?.squeeze(head_axis)?).head(head as isize);
                let plan = HookPlan::new().edit((point, layer), edit);
                results.push(logit_diff_with(model, corrupted, &plan, right, wrong)?);
            }
        }
    }
    Ok(Tensor::from_vec(results, (5, n_layers, n_heads), &Device::Cpu)?)
}

fn what_carries_it() -> Result<String> {
    Ok("values".to_string())
}
