//! How well a model predicts a text: the probability and rank of each next token, and what it considered more likely.

use candle_core::{D, DType, Device, Tensor};
use serde_json::json;

use crate::error::{Context, Error, Result};
use crate::labelled::{Axis, Labelled};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::Input;
use crate::views::html::visible;
use crate::views::loader::Script;
use crate::views::page::Page;
use crate::views::table::Table;
use crate::views::widget::pack::rounded;
use crate::views::widget::still::on_ground;
use crate::views::widget::text::{Mode, Text};
use crate::views::widget::{Asked, Drawn, Kind, Widget, not_for};

/// How many of the most likely tokens are listed by default.
const TOP_K: usize = 10;

/// Each token coloured by the probability that the model gave it; pointing at it shows its rank, probability, log
/// probability and the most likely tokens at its position, as CircuitsVis' `token_log_probs`. A click keeps the list open.
///
/// # Shapes
/// `logits [pos, d_vocab]` or `[1, pos, d_vocab]`; log probabilities do as well.
///
/// # Errors
/// Reported when the widget is shown: several prompts, a prompt of one token, another shape, logits that are NaN.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompt = "When John and Mary went to the shops, John gave the bag to";
/// let drawn = token_log_probs(&model, prompt, &model.forward(prompt)?).top_k(5);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("shops"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn token_log_probs(model: &HookedTransformer, input: impl Into<Input>, logits: &Tensor) -> Widget {
    Widget::new(Predictions::new(model, input.into(), logits))
}

/// Each token coloured by the logit, the log probability or the probability that the model gave it, the reader's
/// choice, as CircuitsVis' `visualize_model_performance`. The first token is not predicted and is left out.
///
/// # Shapes, errors
/// As [`token_log_probs`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompt = "When John and Mary went to the shops, John gave the bag to";
/// let drawn = visualize_model_performance(&model, prompt, &model.forward(prompt)?);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("shops"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn visualize_model_performance(model: &HookedTransformer, input: impl Into<Input>, logits: &Tensor) -> Widget {
    let of_true = || {
        let predictions = Predictions::new(model, input.into(), logits)?;
        let values = predictions.places.iter().flat_map(|place| [place.logit, place.log_prob, place.log_prob.exp()]);
        let words: Vec<String> = predictions.words[1..].to_vec();
        let axes =
            vec![Axis::new("token", words.clone()), Axis::new("of the true token", ["logits", "log_probs", "probs"])];
        let numbers = Labelled::new("Model performance", axes, values.collect())?;
        Text::of_one(Mode::Multi, &words, &numbers)
    };
    Widget::new(of_true())
}

/// The most likely next tokens after `prompt`, and the rank of each token of `answer`, as TransformerLens' `test_prompt`.
/// The answer is taken as it is: most begin with a space.
///
/// # Errors
/// A prompt or answer that cannot be tokenized, or that are too long together.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let page = test_prompt(&model, "When John and Mary went to the shops, John gave the bag to", " Mary")?;
/// assert!(page.render()?.text().contains(" Mary"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn test_prompt(model: &HookedTransformer, prompt: &str, answer: &str) -> Result<Page> {
    let _work = Progress::opaque("asking the model");
    let tokenizer = model.tokenizer()?;
    let asked = model.to_tokens(prompt)?;
    let row = [asked.real_row(0), tokenizer.continuation(answer)?].concat();
    let logits = model.forward(vec![row.clone()])?;
    let predictions = Predictions::new(model, Input::Rows(vec![row]), &logits)?;
    let first = asked.real_row(0).len();
    let ranks = Table::new(["answer", "rank", "probability", "logit"]).title(format!("Prompt: {prompt:?}"));
    let of_answer = predictions.words[first..].iter().zip(&predictions.places[first - 1..]);
    let ranks =
        of_answer.fold(ranks, |table, (word, place)| table.row((word, place.rank, place.log_prob.exp(), place.logit)));
    let best = &predictions.places[first - 1].best;
    let table = Table::new(["rank", "next token", "probability", "log probability"]);
    let table = best.iter().take(TOP_K).enumerate().fold(table, |table, (rank, (id, log_prob))| {
        table.row((rank, &predictions.vocabulary[*id], log_prob.exp(), *log_prob))
    });
    Page::new().with(&ranks)?.with(&table)
}

/// The model's prediction of one token.
#[derive(Clone, Debug)]
struct Place {
    /// 0 is the most likely.
    rank: usize,
    logit: f32,
    log_prob: f32,
    /// The most likely tokens, as indices into the widget's vocabulary, with their log probabilities.
    best: Vec<(usize, f32)>,
}

/// A text and the model's prediction of each token but the first.
#[derive(Debug)]
struct Predictions {
    words: Vec<String>,
    places: Vec<Place>,
    /// The texts of the tokens that are among the most likely anywhere.
    vocabulary: Vec<String>,
}

/// How many of the most likely tokens are kept.
const MOST: usize = 50;

impl Predictions {
    fn new(model: &HookedTransformer, input: Input, logits: &Tensor) -> Result<Self> {
        let tokens = model.to_tokens(input)?;
        if tokens.batch() != 1 {
            return Err(Error::argument(format!(
                "{} prompts were given, but this view shows one: take one prompt and its logits.",
                tokens.batch()
            )));
        }
        let ids = tokens.row(0);
        let logits = if logits.rank() == 3 && logits.dim(0)? == 1 { logits.get(0)? } else { logits.clone() };
        if ids.len() < 2 {
            return Err(Error::argument(
                "this view shows the probability of each token after the first, but the prompt is a single token: give \
                 a prompt of two tokens or more, and its logits.",
            ));
        }
        if logits.rank() != 2 || logits.dim(0)? != ids.len() {
            let expected = format!("[{}, d_vocab], a row for each token of the prompt,", ids.len());
            return Err(Error::shape("the tensor of logits", expected, logits.dims()));
        }
        let tokenizer = model.tokenizer()?;
        let words = ids.iter().map(|&id| tokenizer.piece(id)).collect();
        let rows = logits
            .to_device(&Device::Cpu)
            .and_then(|logits| logits.to_dtype(DType::F32)?.narrow(D::Minus2, 0, ids.len() - 1)?.to_vec2::<f32>())
            .context("reading the logits")?;
        let mut all = Self { words, places: Vec::new(), vocabulary: Vec::new() };
        let mut known = std::collections::HashMap::new();
        for (position, row) in rows.iter().enumerate() {
            let mut place = place(row, ids[position + 1], position)?;
            for (id, _) in &mut place.best {
                let next = all.vocabulary.len();
                let at = *known.entry(*id).or_insert(next);
                if at == next {
                    all.vocabulary.push(tokenizer.piece(*id as u32));
                }
                *id = at;
            }
            all.places.push(place);
        }
        Ok(all)
    }
}

/// What the logits of one position predict for the actual next token.
fn place(row: &[f32], next: u32, position: usize) -> Result<Place> {
    if let Some(odd) = row.iter().find(|value| value.is_nan()) {
        return Err(Error::argument(format!(
            "the logits of position {position} contain {odd}: replace such values first."
        )));
    }
    let logit = *row.get(next as usize).ok_or_else(|| {
        Error::argument(format!("token {next} has no logit: there are {} at each position.", row.len()))
    })?;
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&value| f64::from(value - most).exp()).sum();
    let norm = most + sum.ln() as f32;
    let mut order: Vec<usize> = (0..row.len()).collect();
    let kept = MOST.min(row.len());
    order.select_nth_unstable_by(kept - 1, |&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    order.truncate(kept);
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    Ok(Place {
        rank: row.iter().filter(|&&value| value > logit).count(),
        logit,
        log_prob: logit - norm,
        best: order.into_iter().map(|id| (id, row[id] - norm)).collect(),
    })
}

/// The text, each token on a background as strong as its probability.
fn still(words: &[String], places: &[Place]) -> String {
    let first = on_ground(&words[0], 0.0, false, "not predicted");
    let each = words[1..].iter().zip(places).map(|(word, place)| {
        let probability = place.log_prob.exp();
        let note = format!("{word}: rank {}, probability {probability:.4}", place.rank);
        on_ground(word, f64::from(probability), false, &note)
    });
    format!("<div style=\"line-height:2;margin:4px 0\">{first}{}</div>", each.collect::<String>())
}

impl Predictions {
    fn table(&self, words: &[String], places: &[Place]) -> Table {
        let table = Table::new(["token", "rank", "probability", "log probability", "likeliest"]);
        words[1..].iter().zip(places).fold(table, |table, (word, place)| {
            let likeliest = &self.vocabulary[place.best[0].0];
            table.row((word, place.rank, place.log_prob.exp(), place.log_prob, likeliest))
        })
    }
}

impl Kind for Predictions {
    fn drawn(&self, asked: &Asked) -> Result<Drawn> {
        not_for(
            "token_log_probs",
            &[
                ("names", asked.names.is_some()),
                ("range", asked.range.is_some()),
                ("mask_upper_tri", asked.mask_upper_tri.is_some()),
                ("scores", !asked.scores.is_empty()),
            ],
        )?;
        let k = asked.top_k()?.unwrap_or(TOP_K).min(MOST);
        // A token with its list: its text, three numbers, and k pairs of an index and a number.
        let fit = (asked.max_bytes() / (300 + 20 * k)).max(1);
        let words: Vec<String> = self.words.iter().take(fit + 1).map(|word| visible(word)).collect();
        let places = &self.places[..self.places.len().min(fit)];
        let mut vocabulary: Vec<String> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let each: Vec<_> = places
            .iter()
            .map(|place| {
                let best = place.best.iter().take(k).map(|&(id, log_prob)| {
                    let at = *known.entry(id).or_insert_with(|| {
                        vocabulary.push(visible(&self.vocabulary[id]));
                        vocabulary.len() - 1
                    });
                    json!([at, rounded(log_prob)])
                });
                json!({ "rank": place.rank, "log_prob": rounded(place.log_prob), "best": best.collect::<Vec<_>>() })
            })
            .collect();
        Ok(Drawn {
            title: asked.title.clone().unwrap_or_else(|| "Probability of each token".into()),
            description: format!("{} tokens coloured by the probability that the model gave them", words.len()),
            script: Script::Text,
            kind: "log_probs",
            data: json!({ "tokens": words, "places": each, "vocabulary": vocabulary }),
            still: still(&words, places),
            text: self.table(&words, places).text_of()?,
            note: (places.len() < self.places.len()).then(|| {
                format!(
                    "Shown are the first {} of {} tokens: the whole would take more than {}. `max_bytes` allows more.",
                    words.len(),
                    self.words.len(),
                    crate::error::human_bytes(asked.max_bytes() as u64)
                )
            }),
        })
    }
}
