//! C13: function vectors, on a model that translates by example.

mod answers;
pub mod handles;
mod inputs;

use candle_core::{DType, Device, Tensor};

use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::hooks::{Edit, HookPlan};
use crate::model::HookedTransformer;
use crate::model::ops::cross_entropy;
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code(MODEL),
        Part::Code(PROMPTS),
        Part::Exercise(handles::mean_h().task()),
        Part::Text(ZERO_SHOT),
        Part::Exercise(handles::answers_with_vector().task()),
        Part::Text(TRY_IT),
        Part::Code(OTHER_WORDS),
        Part::Text(WHICH_HEADS),
        Part::Code(SHUFFLED),
        Part::Exercise(handles::indirect_effects().task()),
        Part::Text(ONE_HEAD),
        Part::Code(ATTENTION),
        Part::Exercise(handles::function_vector().task()),
        Part::Text(STEERING),
        Part::Exercise(handles::steer().task()),
        Part::Text(END),
    ];
    Section { file: "c13_function_vectors", parts }
}

const INTRODUCTION: &str = "# C13 · Function vectors and steering

`dog -> hund ; day -> tag ; snow ->` goes on with `schnee`: the examples say that German is asked for, and no word of the prompt does. Somewhere the model must represent *which function* the examples show. Todd et al. 2024 ([Function vectors](https://arxiv.org/abs/2310.15213)) found that it is a direction: add it to a prompt without examples and the model applies the function.

Here you find that vector in a small model, `icl`, which translates 24 English words into six languages: French (1), German (2), Spanish (3), Finnish (4), Turkish (5) and Latin (6). You compute it as a mean over prompts, find the head that writes it, and then use differences of such vectors to steer the model from one language to another.

Each word, `->` and `;` is one token, so that prompts with the same number of examples have the same length. The answer is read at the last `->`.";

const MODEL: &str = "let model = HookedTransformer::from_pretrained(\"icl\")?;
test_prompt(&model, \"dog -> hund ; day -> tag ; snow ->\", \"schnee\")?";

const PROMPTS: &str = "// Every word once as the question, behind as many examples of other words.
fn prompts(model: &HookedTransformer, language: usize, examples: usize) -> Result<Tokens> {
    let prompt = |word: usize| {
        let others: Vec<usize> = (1..=examples).map(|step| (word + 5 * step) % 24).collect();
        translation_prompt(language, &others, word)
    };
    model.to_tokens((0..24).map(prompt).collect::<Vec<String>>())
}
fn answers(model: &HookedTransformer, language: usize) -> Result<Vec<u32>> {
    WORDS.iter().map(|row| model.to_single_token(row[language])).collect()
}
let (french, german) = (1_usize, 2_usize);
let mut right = Vec::new();
for examples in [0, 1, 6] {
    let tokens = prompts(&model, german, examples)?;
    let guesses = model.forward(&tokens)?.narrow(1, tokens.pos() - 1, 1)?.squeeze(1)?.argmax(1)?.to_vec1::<u32>()?;
    right.push(guesses.iter().zip(answers(&model, german)?).filter(|(guess, answer)| *guess == answer).count());
}
// How many of 24 are right after 0, 1 and 6 examples.
right";

const ZERO_SHOT: &str = "This is the mean of the residual stream just before the model answers. What is particular to one question averages out; what remains is what all the prompts share: the language.";

const TRY_IT: &str = "Try it: take the mean from prompts with six German examples, and add it to prompts with none.

```rust
let h = mean_h(&model, &prompts(&model, german, 6)?, 0)?;
let without = prompts(&model, german, 0)?;
answers_with_vector(&model, &without, &answers(&model, german)?, &h, 0)?.mean_all()?
```

This is the mean log-probability of the German words: -1.31, where it is -1.84 without the vector. That looks like little, but it decides between six languages. 23 of the 24 likeliest answers are now right; without the vector it is 3. Over all six languages the share of right answers rises from .17, which is what guessing the language gives, to .80 after layer 0 and .81 after layer 1.

Is that the language, or is it these words? The vector was tested on the words of which it was made. A stricter test: make it of prompts with twelve of the words, as questions and as examples, and add it to prompts that ask for the *other* twelve.";

const OTHER_WORDS: &str = "// Twelve words as questions, behind examples of the same twelve.
fn half(model: &HookedTransformer, language: usize, examples: usize, first: usize) -> Result<Tokens> {
    let prompt = |word: usize| {
        let others: Vec<usize> = (1..=examples).map(|step| first + (word + 5 * step) % 12).collect();
        translation_prompt(language, &others, first + word)
    };
    model.to_tokens((0..12).map(prompt).collect::<Vec<String>>())
}
let asked = half(&model, 1, 0, 12)?;
let mut shares = Vec::new();
for language in 1..7 {
    let shown = half(&model, language, 6, 0)?;
    let (_, cache) = model.run_with_hooks(&shown, HookPlan::new().capture((\"resid_post\", 0)))?;
    let h = cache.get((\"resid_post\", 0))?.narrow(1, shown.pos() - 1, 1)?.mean((0, 1))?;
    let plan = HookPlan::new().edit((\"resid_post\", 0), Edit::add(h).pos(-1));
    let guesses = model.run_with_hooks(&asked, plan)?.0.narrow(1, asked.pos() - 1, 1)?.squeeze(1)?.argmax(1)?.to_vec1::<u32>()?;
    for answer in 1..7 {
        let mut count = 0;
        for (word, guess) in guesses.iter().enumerate() {
            count += usize::from(model.to_single_token(WORDS[12 + word][answer])? == *guess);
        }
        shares.push(count as f32 / 12.);
    }
}
let axes = vec![Axis::new(\"vector of\", LANGUAGES[1..].to_vec()), Axis::new(\"answers in\", LANGUAGES[1..].to_vec())];
imshow(Labelled::new(\"Answers to words of which the vector was not made: share in each language\", axes, shares)?)";

const WHICH_HEADS: &str = "The vector carries the language: over all six, .75 of the answers to the other words are right, where it is .82 for the words of which the vector was made. What is wrong is spread over the other languages, most of all where the vector is that of French.

## Which heads write it?

Remove the information that the examples carry, and see which head can restore it. In a *shuffled* prompt each example is in another language, so that no one function can be seen. (This does more than remove: the examples name five wrong languages and never the right one, and the mean log-probability falls to -5.4, below the -1.84 without any example.) Patch a head's mean output on clean prompts into the run of the shuffled ones, and measure how much more probable the answer becomes: the head's **average indirect effect**.";

const SHUFFLED: &str =
    "// The clean prompts, with each example in another language than the one before, and none in the right one.
fn shuffled(model: &HookedTransformer, clean: &Tokens, language: usize) -> Result<Tokens> {
    let mut rows: Vec<Vec<u32>> = (0..clean.batch()).map(|row| clean.row(row)).collect();
    for (number, row) in rows.iter_mut().enumerate() {
        for (example, place) in (3..row.len()).step_by(4).enumerate() {
            let word = WORDS.iter().find(|word| model.to_single_token(word[0]).ok() == Some(row[place - 2])).unwrap();
            row[place] = model.to_single_token(word[1 + (language + (number + example) % 5) % 6])?;
        }
    }
    Tokens::from_rows(rows)
}
let clean = prompts(&model, german, 6)?;
vec![model.to_string(clean.row(0))?, model.to_string(shuffled(&model, &clean, german)?.row(0))?]";

const ONE_HEAD: &str = "Look at your result on the model:

```rust
imshow(&indirect_effects(&model, &clean, &shuffled(&model, &clean, german)?, &answers(&model, german)?)?).x_label(\"Head\").y_label(\"Layer\")
```

One head stands out, L0H2: for German it alone restores 5.4 nats, all that shuffling removes. Two others, L0H0 and L0H1, do *harm*, of 2.0 and 1.8 nats. They attend to the word of the question, and a mean over prompts wipes out what differs between prompts: patched with each prompt's own clean `z`, they change next to nothing. A negative effect of a mean may be the mean's doing.

Where does it attend? In the next figure choose head 2 and the last `->`.";

const ATTENTION: &str = "let (_, cache) = model.run_with_cache(translation_prompt(german, &[0, 11, 5, 14], 23))?;
attention_patterns(&model, (&cache, 0))";

const STEERING: &str = "L0H2 attends to the translations and to almost nothing else: its output is a weighted mean of words of one language. The vector of this head alone makes .50 of the answers right over all six languages without any example, and .64 when it is doubled; of the 24 German ones, 17 and 22. The cell gives the mean log-probability, -1.20 for the doubled vector.

```rust
let vector = function_vector(&model, &clean, &[(0, 2)])?;
answers_with_vector(&model, &without, &answers(&model, german)?, &(vector * 2.)?, 0)?.mean_all()?
```

## Steering

A difference of two such vectors is a direction *from one behaviour to another*. Added at every position, it steers the model: directions for sentiment or refusal are used in the same way in large models.";

const END: &str = "Steer prompts with six French examples towards German:

```rust
let direction = (mean_h(&model, &prompts(&model, german, 6)?, 0)? - mean_h(&model, &prompts(&model, french, 6)?, 0)?)?;
let logits = steer(&model, &prompts(&model, french, 6)?, &direction, 0, 1.)?;
```

With a coefficient of 1 all 24 answers are German, although every example is French; with 0.5 all are still French. Where between them does it turn? What happens with a coefficient of 4, or after layer 1?";

fn mean_h(model: &HookedTransformer, prompts: &Tokens, layer: usize) -> Result<Tensor> {
    let point = ("resid_post", layer);
    let (_, cache) = model.run_with_hooks(prompts, HookPlan::new().capture(point))?;
    Ok(cache.get(point)?.narrow(1, prompts.pos() - 1, 1)?.mean((0, 1))?)
}

fn answers_with_vector(
    model: &HookedTransformer,
    prompts: &Tokens,
    answers: &[u32],
    vector: &Tensor,
    layer: usize,
) -> Result<Tensor> {
    let add = HookPlan::new().edit(("resid_post", layer), Edit::add(vector.clone()).pos(-1));
    let (logits, _) = model.run_with_hooks(prompts, add)?;
    let logits = logits.narrow(1, prompts.pos() - 1, 1)?.squeeze(1)?;
    Ok(cross_entropy(&logits, answers)?.neg()?)
}

fn indirect_effects(model: &HookedTransformer, clean: &Tokens, shuffled: &Tokens, answers: &[u32]) -> Result<Tensor> {
    let log_prob = |plan: HookPlan| -> Result<f32> {
        let (logits, _) = model.run_with_hooks(shuffled, plan)?;
        let logits = logits.narrow(1, shuffled.pos() - 1, 1)?.squeeze(1)?;
        Ok(-cross_entropy(&logits, answers)?.mean_all()?.to_scalar::<f32>()?)
    };
    let before = log_prob(HookPlan::new())?;
    let (_, cache) = model.run_with_hooks(clean, HookPlan::new().capture("z"))?;
    let (layers, heads) = (model.cfg().n_layers, model.cfg().n_heads);
    let mut effects = Vec::new();
    for layer in 0..layers {
        let z = cache.get(("z", layer))?.narrow(1, clean.pos() - 1, 1)?.mean((0, 1))?;
        for head in 0..heads {
            let patch = Edit::replace(z.get(head)?).pos(-1).head(head);
            effects.push(log_prob(HookPlan::new().edit(("z", layer), patch))? - before);
        }
    }
    Ok(Tensor::from_vec(effects, (layers, heads), &Device::Cpu)?)
}

fn function_vector(model: &HookedTransformer, prompts: &Tokens, heads: &[(usize, usize)]) -> Result<Tensor> {
    let (_, cache) = model.run_with_hooks(prompts, HookPlan::new().capture("z"))?;
    let mut vector = Tensor::zeros(model.cfg().d_model, DType::F32, &Device::Cpu)?;
    for (layer, head) in heads {
        let z = cache.get(("z", *layer))?.narrow(1, prompts.pos() - 1, 1)?.mean((0, 1))?.narrow(0, *head, 1)?;
        let w_o = model.W_O()?.get(*layer)?.get(*head)?;
        vector = (vector + z.matmul(&w_o)?.squeeze(0)?)?;
    }
    Ok(vector)
}

fn steer(
    model: &HookedTransformer,
    prompts: &Tokens,
    direction: &Tensor,
    layer: usize,
    coefficient: f32,
) -> Result<Tensor> {
    let push = (direction * f64::from(coefficient))?;
    let (logits, _) = model.run_with_hooks(prompts, HookPlan::new().edit(("resid_post", layer), Edit::add(push)))?;
    Ok(logits)
}
