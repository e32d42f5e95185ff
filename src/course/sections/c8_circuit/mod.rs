//! C8, second half: is the circuit enough, is all of it needed, is anything missing.

mod ablation_answers;
pub mod ablation_handles;
mod circuit_answers;
pub mod circuit_handles;
mod inputs;

use candle_core::{Device, IndexOp, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::head::Head;
use crate::hooks::{Edit, HookPlan};
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code(SETTING),
        Part::Text(MEANS),
        Part::Exercise(ablation_handles::mean_by_group().task()),
        Part::Exercise(ablation_handles::keep_at().task()),
        Part::Text(FAITHFULNESS),
        Part::Exercise(circuit_handles::faithfulness().task()),
        Part::Text(ENOUGH),
        Part::Code(WHOLE),
        Part::Text(MINIMALITY),
        Part::Exercise(circuit_handles::minimality().task()),
        Part::Code(EACH_HEAD),
        Part::Text(COMPLETENESS),
        Part::Exercise(circuit_handles::completeness().task()),
        Part::Code(BOTH_WAYS),
        Part::Text(LACKING),
        Part::Code(AGAINST),
        Part::Text(END),
    ];
    Section { file: "c8_circuit", parts }
}

const INTRODUCTION: &str = "# C8b · Is that the circuit?

Path patching (C8a) gave a list of heads: the movers L3H6, L3H7, L3H0 and L2H6, and the heads that reach them through their values, L0H7, L0H3 and L1H0. Seven heads of 32. A list is a claim, and a claim needs a test. Wang et al. ask three questions of a circuit C in a model M:

- **Faithfulness**: does C alone do the task as well as M?
- **Minimality**: is every head of C needed for that?
- **Completeness**: does C have *all* that does the task? If so, C and M are damaged alike when the same heads are taken out of both.

\"C alone\" means that every head outside C is replaced by something that knows next to nothing of *this* prompt's names. Zero would be too much: the rest of the model has never seen heads that write nothing. So it is a **mean**.

Replace each `todo!()`, run the cell, and run the check below it. From `faithfulness` on, each function calls one that you wrote before, so let the earlier checks pass first: a mistake shows in all that is built on it.";

const SETTING: &str = "let model = HookedTransformer::from_pretrained(\"tiny\")?;
let prompts = Task::Ioi.prompts(tasks::Split::Combinations, 3000, 0)?.of_templates(0..3)?.one_length(&model)?.head(48);
let batch = prompts.batch(&model)?;
let answers = model.answers(prompts.prompts.iter().map(|p| (p.right[0].as_str(), p.wrong[0].as_str())))?;
let circuit: Vec<Head> = [(3, 6), (3, 7), (3, 0), (2, 6), (0, 7), (0, 3), (1, 0)].into_iter().map(Head::from).collect();
batch.groups.clone()";

const MEANS: &str = "## A mean that keeps the template

A mean over all prompts would mix positions: in one prompt position 2 is IO, in another it is the subject, and templates put different words at the same place. So prompts are in **groups** of the same template and order of names, and each prompt gets the mean of its own group. Such a mean knows what kind of sentence it is in, and little of the names. Two things it does know:

- **Its own prompt**, a little. Each prompt is a member of its group, so with eight members an eighth of the mean is the prompt itself. A group of one would be the prompt, and ablate nothing. The cleaner mean goes over the *other* members; the check takes either, and the numbers in the texts are those of whole groups.
- **The order.** All members name the repeated person first, or all second, so the mean still knows at S2 *which place* was repeated. In this model that says nothing (C8a: it is the token that counts). For GPT-2, take the means from prompts with three other names, as Wang et al. do.";

const FAITHFULNESS: &str = "## Faithfulness

Now the circuit alone. In what follows a circuit is a list of heads that keep all their positions; restricting them further, as `keep_at` does, is for models whose heads do different things at different places.";

const ENOUGH: &str = "Call your function on the seven heads: `faithfulness(&model, &batch.clean, &batch.groups, &answers, &circuit)?`. The next cell has the library's number, and those of no head and of all heads but these.";

const WHOLE: &str = "let ablation = Experiment::new(&model, &batch.clean, Baseline::MeanByGroup(batch.groups.clone()), batch.metric.clone())?;
let all: Vec<Head> = (0..4).flat_map(|layer| (0..8).map(move |head| Head::new(layer, head))).collect();
let others: Vec<Head> = all.iter().copied().filter(|head| !circuit.contains(head)).collect();
let mut table = Table::new([\"heads that are kept\", \"faithfulness\"]).title(\"What is left of the logit difference\");
for (kept, ablated) in [(\"the circuit\", &others), (\"no head\", &all), (\"all but the circuit\", &circuit)] {
    table = table.row((kept.to_string(), ablation.together(ablated.iter().copied())?.normalised.scalar()?));
}
table";

const MINIMALITY: &str = "First the floor: with *no* head left, 0.28 of the logit difference is still there. Most of that is the prompts' own share in their means, and the other numbers have to be read beside it: with means over the other members it is 0.11, and the circuit's number is 1.31.

The circuit has 1.38, more than 1: on balance the heads outside work *against* the answer, and the means silence them. The third row agrees: with those 25 heads alone, 0.20, less is left than with none. So the circuit is enough, and it is not the whole story.

## Minimality

Is each head needed? Take one head out of the circuit and see what is lost. That can mislead: where two heads do the same work, taking out either costs nothing, and both look idle. So a head is tested *after* a set K of other heads has been taken out too: what does it add to what is left?";

const EACH_HEAD: &str = "let with = ablation.together(others.iter().copied())?.normalised.scalar()?;
let mut table = Table::new([\"head\", \"adds\"]).title(\"What each head adds to the whole circuit: K is empty\");
for head in &circuit {
    let without = ablation.together(others.iter().chain([head]).copied())?.normalised.scalar()?;
    table = table.row((head.to_string(), with - without));
}
table";

const COMPLETENESS: &str = "Each head adds something, from about 0.15 (L2H6) to 0.31 (L3H6 and L0H7), so none is idle. What does L2H6 add once the three movers of layer 3 are out? Try your `minimality` with that set.

## Completeness

If the circuit were all there is, then taking the same heads out of the circuit and out of the whole model would leave the same. Where the two differ, the model has other heads at work that the circuit lacks.";

const BOTH_WAYS: &str = "let sets: Vec<Vec<Head>> = vec![vec![], circuit[..1].to_vec(), circuit[..2].to_vec(), circuit[..4].to_vec(), circuit[4..].to_vec(), circuit[4..5].to_vec()];
let mut table = Table::new([\"heads taken out\", \"of the circuit\", \"of the model\"]).title(\"faithfulness without them\");
for set in &sets {
    let of_circuit = ablation.together(others.iter().chain(set).copied())?.normalised.scalar()?;
    let of_model = if set.is_empty() { 1.0 } else { ablation.together(set.iter().copied())?.normalised.scalar()? };
    table = table.row((format!(\"{set:?}\"), of_circuit, of_model));
}
table";

const LACKING: &str = "In a complete circuit the two columns would be equal: as points, one column against the other, all sets would lie on the diagonal. Here the circuit's column is the larger one in every row, the first included. So on balance the list lacks heads that work *against* the answer, and these stay in the model whatever you take out. (On balance: helpers that are outweighed may be missing as well.) GPT-2 small has such heads too (*negative name movers*), and they belong to its circuit.

Which are they here? Take out the heads outside the circuit one by one, each of the whole model. Above 1 the model is better without the head; the next cell lists those that matter, three of them more than the rest.";

const AGAINST: &str = "let mut table = Table::new([\"head\", \"faithfulness without it\"]).title(\"Heads outside the circuit whose ablation raises the logit difference\");
for &head in &others {
    let without = ablation.together([head])?.normalised.scalar()?;
    if without > 1.02 {
        table = table.row((head.to_string(), without));
    }
}
table";

const END: &str = "## What you know now

A list of heads is tested by ablating all others, with means that keep the template; each head by what it adds; and the list by taking the same heads out of the circuit and of the model. To find such circuits automatically, edge by edge, see the library's notebook 07.";

fn mean_by_group(z: &Tensor, groups: &[usize]) -> Result<Tensor> {
    let mut rows = Vec::new();
    for group in groups {
        let same = (0..groups.len()).filter(|&row| groups[row] == *group).map(|row| row as u32).collect::<Vec<_>>();
        let members = z.index_select(&Tensor::new(same, z.device())?, 0)?;
        rows.push(members.mean(0)?);
    }
    Ok(Tensor::stack(&rows, 0)?)
}

fn keep_at(z: &Tensor, means: &Tensor, heads: &[usize], positions: &[usize]) -> Result<Tensor> {
    let (batch, pos, n_heads, _) = z.dims4()?;
    let mut mask = vec![0u8; batch * pos * n_heads];
    for (row, &position) in positions.iter().enumerate() {
        for &head in heads {
            mask[(row * pos + position) * n_heads + head] = 1;
        }
    }
    let mask = Tensor::from_vec(mask, (batch, pos, n_heads, 1), z.device())?.broadcast_as(z.shape())?;
    Ok(mask.where_cond(z, means)?)
}

fn faithfulness(
    model: &HookedTransformer,
    tokens: &Tokens,
    groups: &[usize],
    answers: &Answers,
    circuit: &[Head],
) -> Result<f32> {
    let (logits, cache) = model.run_with_hooks(tokens, HookPlan::new().capture("z"))?;
    let mut plan = HookPlan::new();
    for layer in 0..model.cfg().n_layers {
        let means = mean_by_group(&cache.get(("z", layer))?, groups)?;
        for head in 0..model.cfg().n_heads {
            if !circuit.contains(&Head::new(layer, head)) {
                plan = plan.edit(("z", layer), Edit::replace(means.i((.., .., head))?).head(head));
            }
        }
    }
    let (ablated, _) = model.run_with_hooks(tokens, plan)?;
    let whole = answers.logit_diff(&logits, tokens)?.mean();
    let left = answers.logit_diff(&ablated, tokens)?.mean();
    Ok((left / whole) as f32)
}

fn minimality(
    model: &HookedTransformer,
    tokens: &Tokens,
    groups: &[usize],
    answers: &Answers,
    circuit: &[Head],
    head: Head,
    set: &[Head],
) -> Result<f32> {
    let mut kept: Vec<Head> = circuit.iter().copied().filter(|head| !set.contains(head)).collect();
    let with = faithfulness(model, tokens, groups, answers, &kept)?;
    kept.retain(|&other| other != head);
    let without = faithfulness(model, tokens, groups, answers, &kept)?;
    Ok(with - without)
}

fn completeness(
    model: &HookedTransformer,
    tokens: &Tokens,
    groups: &[usize],
    answers: &Answers,
    circuit: &[Head],
    sets: &[Vec<Head>],
) -> Result<Tensor> {
    let mut all = Vec::new();
    for layer in 0..model.cfg().n_layers {
        for head in 0..model.cfg().n_heads {
            all.push(Head::new(layer, head));
        }
    }
    let mut numbers = Vec::new();
    for set in sets {
        for heads in [circuit, &all[..]] {
            let kept: Vec<Head> = heads.iter().copied().filter(|head| !set.contains(head)).collect();
            numbers.push(faithfulness(model, tokens, groups, answers, &kept)?);
        }
    }
    Ok(Tensor::from_vec(numbers, (sets.len(), 2), &Device::Cpu)?)
}
