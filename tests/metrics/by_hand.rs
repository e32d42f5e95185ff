//! Metrics computed by hand from all logits of a run, in f64, and the prompts on which they are tried. They use nothing of the
//! crate's own reading of logits.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::metrics::{Metric, Positions};
use candle_lens::model::{AttentionDir, HookedTransformer, HookedTransformerConfig, Processing};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::tiny_model;

/// How far a number may be from the one by hand, relative to it above 1: f32 rounding through the blocks of small models.
pub const TOLERANCE: f64 = 2e-4;

/// Asserts that two numbers are equal up to [`TOLERANCE`].
#[track_caller]
pub fn assert_near(got: f32, expected: f64, what: &str) {
    let close = (f64::from(got) - expected).abs() <= TOLERANCE * expected.abs().max(1.);
    assert!(close, "{what}: {got}, but by hand it is {expected}");
}

/// A model with clean and corrupted prompts.
pub struct Case {
    pub name: &'static str,
    pub model: HookedTransformer,
    pub clean: Tokens,
    pub corrupted: Tokens,
}

/// Three prompts that differ from their counterparts in the first and in the fourth token.
fn prompts(side: Option<PaddingSide>) -> Result<(Tokens, Tokens)> {
    let lengths = if side.is_some() { [6, 4, 5] } else { [6, 6, 6] };
    let batch = |other: u32| -> Result<Tokens> {
        let row = |(seed, length): (u32, usize)| -> Vec<u32> {
            (0..length as u32).map(|i| (seed * 7 + i * 5 + if i == 0 || i == 3 { other } else { 0 }) % 29 + 1).collect()
        };
        Tokens::padded((1..).zip(lengths).map(row).collect(), 0, side.unwrap_or_default())
    };
    Ok((batch(0)?, batch(9)?))
}

fn random(attention_dir: AttentionDir) -> Result<HookedTransformer> {
    let cfg = HookedTransformerConfig {
        n_layers: 2,
        d_model: 12,
        n_heads: 2,
        d_vocab: 40,
        n_ctx: 8,
        attention_dir,
        initializer_range: Some(0.4),
        ..Default::default()
    };
    Ok(HookedTransformer::trainable(cfg, 5, &Device::Cpu)?.0)
}

/// A causal model, a bidirectional one, and batches padded on either side.
pub fn cases() -> Result<Vec<Case>> {
    let case = |name, model, side| -> Result<Case> {
        let (clean, corrupted) = prompts(side)?;
        Ok(Case { name, model, clean, corrupted })
    };
    Ok(vec![
        case("causal", tiny_model(Processing::default()), None)?,
        case("bidirectional", random(AttentionDir::Bidirectional)?, None)?,
        case("padded left", tiny_model(Processing::NONE), Some(PaddingSide::Left))?,
        case("padded right", random(AttentionDir::Causal)?, Some(PaddingSide::Right))?,
        case("bidirectional, padded", random(AttentionDir::Bidirectional)?, Some(PaddingSide::Right))?,
    ])
}

/// The positions of each prompt at which a metric should read.
pub type Chosen = Vec<Vec<usize>>;

/// Every kind of positions, with the positions of each prompt by hand.
pub fn every_kind_of_positions(tokens: &Tokens) -> Vec<(Positions, Chosen)> {
    let real: Vec<Vec<usize>> =
        (0..tokens.batch()).map(|b| (0..tokens.pos()).filter(|&p| tokens.is_real(b, p)).collect()).collect();
    let at = |place: &dyn Fn(usize, &[usize]) -> Vec<usize>| -> Chosen {
        real.iter().enumerate().map(|(b, real)| place(b, real)).collect()
    };
    let own = at(&|b, real| vec![real[b + 1]]);
    let several = at(&|b, real| real[1..b + 2].to_vec());
    vec![
        (Positions::Last, at(&|_, real| vec![real[real.len() - 1]])),
        (Positions::First, at(&|_, real| vec![real[0]])),
        (Positions::All, real.clone()),
        (3.into(), at(&|_, _| vec![3])),
        ((1..5).into(), at(&|_, real| real.iter().copied().filter(|p| (1..5).contains(p)).collect())),
        (Positions::each(own.iter().map(|own| own[0])), own),
        (Positions::each(several.clone()), several),
    ]
}

/// The logits of a run, `[prompt][position][token]`.
pub type Logits = Vec<Vec<Vec<f64>>>;

pub fn logits(logits: &Tensor) -> Result<Logits> {
    Ok(logits.to_dtype(DType::F64)?.to_vec3::<f64>()?)
}

/// A metric, and its number at one position of a prompt: from its logits and the clean run's, the prompt's number and the token
/// that follows in the clean prompt.
pub struct Kind {
    pub name: &'static str,
    pub metric: Metric,
    pub of_row: fn(&[f64], &[f64], usize, usize) -> f64,
    /// Whether it compares with the token that follows.
    pub is_next: bool,
}

pub fn right(prompt: usize) -> usize {
    3 + prompt
}

pub fn wrong(prompt: usize) -> usize {
    20 - prompt
}

fn log_prob(logits: &[f64], token: usize) -> f64 {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits[token] - most - logits.iter().map(|logit| (logit - most).exp()).sum::<f64>().ln()
}

/// Every metric of three prompts.
pub fn every_metric(model: &HookedTransformer) -> Result<Vec<Kind>> {
    let rights: Vec<u32> = (0..3).map(|b| right(b) as u32).collect();
    let answers = model.answers((0..3).map(|b| (right(b) as u32, wrong(b) as u32)))?;
    let lists = (0..3).map(|b| vec![right(b) as u32, 30]).collect::<Vec<_>>();
    // Lists of different lengths.
    let wrongs = (0..3).map(|b| [vec![wrong(b) as u32, 31], vec![32; b]].concat()).collect::<Vec<_>>();
    let kind = |name, metric, of_row| Kind { name, metric, of_row, is_next: false };
    let next = |name, metric, of_row| Kind { name, metric, of_row, is_next: true };
    Ok(vec![
        kind("logit", Metric::logit(model, rights.clone())?, |x, _, b, _| x[right(b)]),
        kind("logit_diff", Metric::logit_diff(&answers), |x, _, b, _| x[right(b)] - x[wrong(b)]),
        kind("prob_diff", Metric::prob_diff(model, lists, wrongs)?, |x, _, b, _| {
            let p = |token: usize| log_prob(x, token).exp();
            p(right(b)) + p(30) - p(wrong(b)) - p(31) - b as f64 * p(32)
        }),
        kind("log_prob", Metric::log_prob(model, rights.clone())?, |x, _, b, _| log_prob(x, right(b))),
        kind("prob", Metric::prob(model, rights.clone())?, |x, _, b, _| log_prob(x, right(b)).exp()),
        kind("loss", Metric::loss(model, rights.clone())?, |x, _, b, _| -log_prob(x, right(b))),
        kind("rank", Metric::rank(model, rights.clone())?, |x, _, b, _| {
            x.iter().filter(|logit| **logit > x[right(b)]).count() as f64
        }),
        kind("accuracy", Metric::accuracy(model, rights)?, |x, _, b, _| {
            f64::from(u8::from(x.iter().all(|logit| *logit <= x[right(b)])))
        }),
        kind("kl", Metric::kl(), |x, clean, _, _| {
            let total = |x: &[f64]| x.iter().map(|logit| logit.exp()).sum::<f64>();
            let (of_clean, of_x) = (total(clean), total(x));
            let each = x.iter().zip(clean);
            each.map(|(x, clean)| clean.exp() / of_clean * (clean - x - of_clean.ln() + of_x.ln())).sum()
        }),
        kind("custom", Metric::custom("squares", |x| x.sqr()?.sum(1)), |x, _, _, _| x.iter().map(|x| x * x).sum()),
        kind(
            "custom columns",
            Metric::custom("two", |x| x.narrow(1, 0, 1)?.squeeze(1)? - x.narrow(1, 1, 1)?.squeeze(1)?)
                .columns(model, [20u32, 3])?,
            |x, _, _, _| x[20] - x[3],
        ),
        kind(
            "custom from clean",
            Metric::custom_from_clean("distance", |x, clean| (x - clean)?.sqr()?.sum(1)),
            |x, clean, _, _| x.iter().zip(clean).map(|(x, clean)| (x - clean).powi(2)).sum(),
        ),
        next("mean_loss", Metric::mean_loss(), |x, _, _, next| -log_prob(x, next)),
        next("mean_accuracy", Metric::mean_accuracy(), |x, _, _, next| {
            f64::from(u8::from(x.iter().all(|logit| *logit <= x[next])))
        }),
    ])
}

impl Kind {
    /// The metric of each prompt: the mean over its positions, without the last token where the next token is needed.
    pub fn of(&self, logits: &Logits, clean: &Logits, tokens: &Tokens, chosen: &Chosen) -> Vec<f64> {
        let of_prompt = |(b, chosen): (usize, &Vec<usize>)| {
            let last = tokens.last_positions()[b];
            let chosen: Vec<usize> = chosen.iter().copied().filter(|&p| !self.is_next || p < last).collect();
            let next = |p: usize| if p < last { tokens.id(b, p + 1) as usize } else { 0 };
            let sum: f64 = chosen.iter().map(|&p| (self.of_row)(&logits[b][p], &clean[b][p], b, next(p))).sum();
            sum / chosen.len() as f64
        };
        chosen.iter().enumerate().map(of_prompt).collect()
    }

    /// Whether the metric can be read at these positions of every prompt.
    pub fn has(&self, tokens: &Tokens, chosen: &Chosen) -> bool {
        let last = tokens.last_positions();
        !self.is_next || chosen.iter().zip(last).all(|(chosen, last)| chosen.iter().any(|&p| p < last))
    }
}
