//! What the dictionaries are worth on texts that they were not trained on, and their card.

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::dictionaries::{Activation, Card, Dictionary, DictionaryParts, ErrorTerm};
use candle_lens::features::{DictionaryScores, ScoreOptions, SplicedScore};
use candle_lens::model::HookedTransformer;
use candle_lens::tasks::{Split, Task};

use crate::texts::Rows;

/// Other than that of any training text.
const SEED: u64 = 0xF00D;
/// How many texts the figures are from.
const TEXTS: usize = 1500;
const PROMPTS: usize = 300;

/// In half precision, as it is stored.
pub fn halved(dictionary: Dictionary) -> Result<Dictionary> {
    let half = |tensor: &Tensor| tensor.to_dtype(DType::F16);
    let parts = dictionary.parts();
    let activation = match &parts.activation {
        Activation::JumpRelu { threshold } => Activation::JumpRelu { threshold: half(threshold)? },
        other => other.clone(),
    };
    Dictionary::new(DictionaryParts {
        w_enc: half(&parts.w_enc)?,
        b_enc: half(&parts.b_enc)?,
        w_dec: half(&parts.w_dec)?,
        b_dec: half(&parts.b_dec)?,
        b_in: parts.b_in.as_ref().map(half).transpose()?,
        activation,
        ..parts
    })
}

/// The dictionaries with their figures, and the text of the card of all.
pub fn measured(model: &HookedTransformer, dictionaries: &[Dictionary]) -> Result<(Vec<Dictionary>, String)> {
    let tokens = Rows::new(model, SEED)?.tokens(TEXTS)?;
    let scores = model.evaluate_dictionaries(dictionaries, &tokens, ScoreOptions::default())?;
    let figures = scores.scores.iter().zip(dictionaries).map(|(score, dictionary)| {
        let mut expects = dictionary.expects();
        expects.card = Card { l0: Some(short(score.l0)), explained_variance: Some(short(score.explained_variance)) };
        dictionary.with_expects(expects)
    });
    let with_figures = figures.collect::<Result<Vec<_>>>()?;
    let eight: Vec<Dictionary> = dictionaries.iter().filter(|one| one.name() != "resid1").cloned().collect();
    let together = model.evaluate_dictionaries(&eight, &tokens, ScoreOptions::default())?.together;
    let mut card = format!("{HEAD}{}", rows(dictionaries, &scores));
    if let Some(SplicedScore { ce_clean, ce_spliced, kl, same_top1, .. }) = together {
        let (clean, spliced) = (ioi(model, &[])?, ioi(model, &eight)?);
        card += &format!(
            "\nAll eight of attention and MLPs spliced in at once, without error terms: cross-entropy {ce_spliced:.3} (the model's own \
             {ce_clean:.3}), KL {kl:.3},\nthe same likeliest token at {:.0} % of positions; IOI accuracy {spliced:.3} (the model's own \
             {clean:.3}; {PROMPTS} prompts of the training split).\n",
            100.0 * same_top1
        );
    }
    Ok((with_figures, card + TAIL))
}

/// How often the right name is the likeliest token, with dictionaries spliced in.
fn ioi(model: &HookedTransformer, dictionaries: &[Dictionary]) -> Result<f64> {
    let plan = match dictionaries {
        [] => Default::default(),
        some => model.splice(some, ErrorTerm::None)?,
    };
    let mut right = 0;
    let prompts = Task::Ioi.prompts(Split::Train, PROMPTS, SEED)?.prompts;
    for prompt in &prompts {
        let logits = model.run_with_hooks(prompt.clean.as_str(), &plan)?.0.squeeze(0)?;
        let likeliest = logits.get(logits.dim(0)? - 1)?.argmax(0)?.to_scalar::<u32>()?;
        right += usize::from(likeliest == model.to_single_token(prompt.right[0].as_str())?);
    }
    Ok(right as f64 / prompts.len() as f64)
}

fn rows(dictionaries: &[Dictionary], scores: &DictionaryScores) -> String {
    let row = |(dictionary, score): (&Dictionary, &candle_lens::features::DictionaryScore)| {
        let spliced = score.spliced.expect("runs were asked for");
        format!(
            "| `tiny/{}` | {} | {:.3} | {:.1} | {} | {:.3} | {:.3} | {:.2} |\n",
            score.name,
            dictionary.d_sae(),
            score.unexplained_variance,
            score.l0,
            score.dead(),
            spliced.ce_score(),
            spliced.kl,
            spliced.same_top1
        )
    };
    dictionaries.iter().zip(&scores.scores).map(row).collect()
}

/// Four digits, as a card has them.
fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

const HEAD: &str = "\
# Card: the dictionaries of tiny

Sparse dictionaries for the embedded model, as folders in SAELens' form (f16), trained by `cargo run --release --example
train_dictionaries` (seed 1, 2000 steps of 1024 positions) on the model as `from_pretrained(\"tiny\")` loads it: norms and value biases
folded, written weights centred.

| name | what it is |
|---|---|
| `z0` to `z3` | autoencoders of `attn.hook_z`, all heads side by side |
| `mlp0` to `mlp3` | transcoders from `ln2.hook_normalized` to `hook_mlp_out` |
| `resid1` | an autoencoder of `blocks.1.hook_resid_post` |

Each was trained with batch top-k (Bussmann et al. 2024) and is stored as a JumpReLU dictionary with one threshold for all features.
Decoder rows have norm 1, so that an activation is the length of what its feature writes. Texts: sentences such as the model was
trained on, three in ten with random tokens before them, and, an eighth of all tokens, repeated random sequences; always new ones.
End-of-text tokens were left out: at a BOS these dictionaries mean nothing, and a splice leaves it alone.

## What they are worth

Measured on new texts of the same kind, and measured again on others by a test. *FVU*: share of the variance that is left unexplained. *L0*:
active features at a position. *Dead*: features that were active nowhere. *CE score*, *KL*, *top 1*: the dictionary alone spliced in without
an error term: how much of the loss by zero ablation is recovered, the divergence from the model's own predictions, and how often the
likeliest token stays the same.

| dictionary | features | FVU | L0 | dead | CE score | KL | top 1 |
|---|---|---|---|---|---|---|---|
";

const TAIL: &str = "
## What they are not
They know the sentences of the tasks and nothing else. Features of `z0` and `z1` tell names apart, so their number goes with the number
of names, and a name that is rare in the texts shares its features with others.
";
