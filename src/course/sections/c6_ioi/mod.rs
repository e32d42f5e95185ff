//! C6: which heads write the answer of indirect object identification, by direct logit attribution.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{Device, IndexOp, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tensors::{TensorWords, einsum};

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Text(super::pytorch::TABLE),
        Part::Code(PROMPTS),
        Part::Code("let (logits, cache) = model.run_with_cache(&tokens)?;\ncache"),
        Part::Exercise(handles::logit_diff().task()),
        Part::Text(EIGHT_NUMBERS),
        Part::Code("answers.logit_diff(&logits, &tokens)?"),
        Part::Text(DIRECTION),
        Part::Exercise(handles::answer_directions().task()),
        Part::Code(
            "let directions = answers.directions(&model)?;\nprintln!(\"directions, as the library gives them: {:?}\", directions.dims());",
        ),
        Part::Text(NORM),
        Part::Exercise(handles::stack_to_logit_diff().task()),
        Part::Text(LENS),
        Part::Exercise(handles::accumulated_logit_diff().task()),
        Part::Code(LENS_FIGURE),
        Part::Text(HEADS),
        Part::Exercise(handles::head_logit_diffs().task()),
        Part::Code(HEADS_FIGURE),
        Part::Exercise(handles::top_heads().task()),
        Part::Text(LOOKS),
        Part::Code(PLACES),
        Part::Exercise(handles::attention_to().task()),
        Part::Code("attention_heads(&model, (&cache, 3, 0)).title(\"Layer 3 on the first prompt\")"),
        Part::Exercise(handles::which_name().task()),
        Part::Text(END),
    ];
    Section { file: "c6_ioi", parts }
}

const INTRODUCTION: &str = "# C6 · Who writes the answer?

*\"When John and Mary went to the shops, John gave the bag to\"*: the next word should be **Mary**, the name that was not repeated.
The task is called *indirect object identification* (IOI), and three positions of the prompt have names of their own:

- **IO**, the indirect object: `Mary`, the right answer;
- **S1**, the subject where it first appears: `John`, the wrong answer;
- **S2**, the subject where it is repeated: the second `John`.

The residual stream is a sum: every attention head and every MLP adds a vector to it. Apart from a division that we can hold fixed, the logits are linear in that sum.
So the answer splits into one contribution for each component of the model, and we can ask each head how much of the answer it wrote: **direct logit attribution**.
You write it from scratch here: the number that measures the answer, the direction in the residual stream along which it grows, and the share of each layer and each head.

The task and GPT-2's circuit for it are from [Wang et al. 2022](https://arxiv.org/abs/2211.00593). The model here is `tiny`, which was trained on IOI among other tasks, and solves it in its own way.

Every prompt comes twice, with either name repeated, so that each name is right once and wrong once.";

const PROMPTS: &str = r#"let model = HookedTransformer::from_pretrained("tiny")?;
let sentences = [
    ("When John and Mary went to the shops, {} gave the bag to", " Mary", " John"),
    ("When Tom and James went to the park, {} gave the ball to", " Tom", " James"),
    ("When Dan and Sid went to the shops, {} gave an apple to", " Dan", " Sid"),
    ("After Martin and Amy went to the park, {} gave a drink to", " Martin", " Amy"),
];
let mut prompts = Vec::new();
let mut pairs = Vec::new();
for (sentence, a, b) in sentences {
    for (right, wrong) in [(a, b), (b, a)] {
        prompts.push(sentence.replace(" {}", wrong));
        pairs.push((right, wrong));
    }
}
let tokens = model.to_tokens(&prompts)?;
let answers = model.answers(pairs)?;
println!("{} prompts of {} tokens; the first: {:?}", tokens.batch(), tokens.pos(), model.to_str_tokens(&prompts[0])?);"#;

const EIGHT_NUMBERS: &str = "The library has this metric. These are its eight numbers, and `logit_diff(&logits, &answers.correct(), &answers.incorrect())?` should give the same: positive, so the model prefers the right name in every prompt.";

const DIRECTION: &str = "## The answer is a direction

The logit of a token is the final residual stream, normalised, times that token's column of the unembedding `W_U`, plus that token's number in the bias `b_U`. A *difference* of two logits is therefore the product with *one* vector, the difference of the two columns, and a constant that no prompt changes.
How far a vector in the residual stream points along it is how much that vector says \"Mary, not John\".";

const NORM: &str = "## Through the norm

Between the residual stream and the unembedding there is the final layer norm, and it is not linear: it divides by a scale that depends on the whole stream.
But we know which scale it was: the run has kept it, `cache.get(\"ln_final.hook_scale\")?`, `[batch, pos, 1]`. Held at that value the division is linear, and the contributions of the components and that constant sum to the whole.

A layer norm also subtracts the mean and multiplies by weights. Loading has already taken care of both: the weights that write to the stream were centred, so that its mean is 0, and the norm's weights were folded into `W_U`, its bias into `b_U`.

Here the constant is small: for Mary and John -0.11, so in the first prompt the stream's product is 7.35, and the logit difference 7.24. And every prompt has a twin in which the names change roles, where the constant has the other sign: in the mean over all eight it is gone.";

const LENS: &str = "## The logit lens

What would the answer be if the model stopped early? Take the residual stream at each step, not only at the end, and project all of them on the same directions.";

const LENS_FIGURE: &str = r#"let streams = cache.stack(&model, Stack::accumulated().with_mid().pos(-1))?;
line(&residual_stack_to_logit_diff(&model, &cache, &streams, &answers)?)
    .title("Logit difference of the accumulated residual stream")
    .x_label("stream")
    .y_label("logit difference")"#;

const HEADS: &str = "The library made this figure; your function gives the same nine numbers. There is almost nothing before the last two layers. Then most of it comes with attention: from `2_pre` to `2_mid`, and from `3_pre` to `3_mid`.

## Which heads?

What an attention layer writes is the sum of what its heads write, and a bias. A head's share is its `z`, the values weighted by its pattern, times its own slice of the output matrix `W_O`.";

const HEADS_FIGURE: &str = r#"let heads = cache.stack(&model, Stack::heads().pos(-1))?;
let by_head = residual_stack_to_logit_diff(&model, &cache, &heads, &answers)?
    .split("component", vec![Axis::numbered("layer", model.cfg().n_layers), Axis::numbered("head", model.cfg().n_heads)])?;
imshow(&by_head).title("Logit difference from each head").x_label("head").y_label("layer").width(600)"#;

const LOOKS: &str = "Try it: `top_heads(&head_logit_diffs(&model, &cache, &directions)?, 4)?` with your own functions. Four of the 32 heads write most of the answer.

## What do they attend to?

A head that writes a name must get that name from somewhere. The simplest way is to attend to it and copy it. Do these heads attend to the name that they write?
The next cell finds the three positions in every prompt. IO and S1 differ from prompt to prompt, because either name may come first.";

const PLACES: &str = r#"fn positions_of(tokens: &Tokens, ids: &[u32], nth: usize) -> Vec<usize> {
    let mut positions = Vec::new();
    for prompt in 0..tokens.batch() {
        let row = tokens.row(prompt);
        positions.push((0..row.len()).filter(|&pos| row[pos] == ids[prompt]).nth(nth).expect("the name is in the prompt"));
    }
    positions
}
let io = positions_of(&tokens, &answers.correct(), 0);
let s1 = positions_of(&tokens, &answers.incorrect(), 0);
let s2 = positions_of(&tokens, &answers.incorrect(), 1);
println!("IO at {io:?}\nS1 at {s1:?}\nS2 at {s2:?}");"#;

const END: &str = "## What to take home

- The answer is one direction of the residual stream, and the stream is a sum, so every component has a contribution. With the norm's scale held fixed they sum exactly to the whole, but for the difference of two biases, which prompts in pairs cancel.
- A few late heads write most of the answer.
- A head need not attend to the name that it writes. GPT-2 and `tiny` differ here, so look at its pattern before you name a head.
- A contribution says what a component writes *itself*. It cannot see a head that works through later heads. The next notebook finds those, by patching.

To run all of this on another model, change the name in the second cell: `\"smollm2\"` after `cargo lab fetch smollm2`, or `\"gpt2\"`. What the text says of numbers and layers is about `tiny`.";

fn logit_diff(logits: &Tensor, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    let last = logits.i((.., logits.dim(1)? - 1))?.contiguous()?;
    let right = Tensor::new(right, logits.device())?.unsqueeze(1)?;
    let wrong = Tensor::new(wrong, logits.device())?.unsqueeze(1)?;
    let difference = (last.gather(&right, 1)? - last.gather(&wrong, 1)?)?;
    Ok(difference.squeeze(1)?)
}

fn answer_directions(model: &HookedTransformer, right: &[u32], wrong: &[u32]) -> Result<Tensor> {
    let w_u = model.W_U();
    let right = w_u.index_select(&Tensor::new(right, w_u.device())?, 1)?;
    let wrong = w_u.index_select(&Tensor::new(wrong, w_u.device())?, 1)?;
    Ok((right - wrong)?.t()?)
}

fn stack_to_logit_diff(stack: &Tensor, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    let scale = cache.get("ln_final.hook_scale")?;
    let normed = stack.broadcast_div(&scale.i((.., scale.dim(1)? - 1))?)?;
    Ok(einsum("component batch d_model, batch d_model -> component batch", &[&normed, directions])?.mean(1)?)
}

fn accumulated_logit_diff(cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    let n_layers = cache.dims().n_layers;
    let mut streams = Vec::new();
    for layer in 0..n_layers {
        streams.push(cache.get(("resid_pre", layer))?);
        streams.push(cache.get(("resid_mid", layer))?);
    }
    streams.push(cache.get(("resid_post", n_layers - 1))?);
    let streams = Tensor::stack(&streams, 0)?;
    let last = streams.i((.., .., streams.dim(2)? - 1))?;
    stack_to_logit_diff(&last, cache, directions)
}

fn head_logit_diffs(model: &HookedTransformer, cache: &ActivationCache, directions: &Tensor) -> Result<Tensor> {
    let mut layers = Vec::new();
    for layer in 0..model.cfg().n_layers {
        let z = cache.get(("z", layer))?;
        let last = z.i((.., z.dim(1)? - 1))?;
        let written =
            einsum("batch head d_head, head d_head d_model -> head batch d_model", &[&last, &model.W_O()?.i(layer)?])?;
        layers.push(stack_to_logit_diff(&written, cache, directions)?);
    }
    Ok(Tensor::stack(&layers, 0)?)
}

fn top_heads(scores: &Tensor, k: usize) -> Result<Vec<(usize, usize)>> {
    let n_heads = scores.dim(1)?;
    let (_, indices) = scores.abs()?.flatten_all()?.top_k(k)?;
    let indices = indices.to_vec1::<u32>()?;
    Ok(indices.iter().map(|&index| (index as usize / n_heads, index as usize % n_heads)).collect())
}

fn attention_to(cache: &ActivationCache, heads: &[(usize, usize)], positions: &[usize]) -> Result<Tensor> {
    let mut means = Vec::new();
    for &(layer, head) in heads {
        let pattern = cache.get(("pattern", layer))?;
        let mut sum = 0.0;
        for (prompt, &pos) in positions.iter().enumerate() {
            sum += pattern.at(&[prompt as isize, head as isize, -1, pos as isize])?.item()?;
        }
        means.push(sum / positions.len() as f32);
    }
    Ok(Tensor::new(means, &Device::Cpu)?)
}

fn which_name() -> Result<String> {
    Ok("S2".to_string())
}
