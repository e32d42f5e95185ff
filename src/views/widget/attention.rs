//! Attention: one head, the heads of a layer, all heads of a model, and two runs side by side.

use ndarray::{Array3, ArrayView2, Axis as NdAxis, s};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::figure::imshow;
use crate::views::loader::Script;
use crate::views::widget::heads::{head_names, layers};
use crate::views::widget::pack::{both, gap_note, pack, rounded};
use crate::views::widget::patterns::Patterns;
use crate::views::widget::pool::{pooled, pooled_words};
use crate::views::widget::samples::most;
use crate::views::widget::scores::{table, usual_scores};
use crate::views::widget::still::{gallery, layer_gallery};
use crate::views::widget::words::{Words, one_word_each};
use crate::views::widget::{Asked, Drawn, Kind, Widget, checked_range, not_for};

/// A thumbnail of each head, and beside them a large map of one, as CircuitsVis' `attention_heads`: pointing at a head
/// previews it, a click keeps it, and pointing at a cell shows source, destination and value.
///
/// Numbers may be negative, as those of an attribution are: they are drawn in orange, positive ones in blue, and those
/// that are not finite in grey where they are not masked.
///
/// # Shapes
/// `[head, dest, src]`, or any axes of heads in front, such as `[layer, head, dest, src]`; see [`Patterns`].
///
/// # Errors
/// Reported when the widget is shown: another shape, or not one token for each position.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_logits, cache) = model.run_with_cache("The keys on the cabinet")?;
/// attention_heads(&model, (&cache, 2)).show()?;
/// let tokens = model.to_str_tokens("The keys on the cabinet")?;
/// let drawn = attention_heads(&tokens, cache.get(("pattern", 2))?.get(0)?);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("cabinet"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn attention_heads(tokens: impl Words, attention: impl Patterns) -> Widget {
    Widget::new(Heads::new(Mode::Heads, &tokens, &[("", &attention)]))
}

/// The text, coloured by what the token under the mouse attends to (or, reversed, by what attends to it), with a
/// head to choose and a small map, as CircuitsVis' `attention_patterns`.
///
/// # Shapes, errors
/// As [`attention_heads`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_logits, cache) = model.run_with_cache("The keys on the cabinet")?;
/// let drawn = attention_patterns(&model, (&cache, 2));
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("cabinet"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn attention_patterns(tokens: impl Words, attention: impl Patterns) -> Widget {
    Widget::new(Heads::new(Mode::Patterns, &tokens, &[("", &attention)]))
}

/// The map of one head, as CircuitsVis' `attention_pattern`.
///
/// # Shapes
/// `[dest, src]`.
///
/// # Errors
/// As [`attention_heads`]; several heads.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_logits, cache) = model.run_with_cache("The keys on the cabinet")?;
/// let tokens = model.to_str_tokens("The keys on the cabinet")?;
/// let drawn = attention_pattern(&tokens, cache.get(("pattern", 2))?.get(0)?.get(5)?).title("L2H5");
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("L2H5"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn attention_pattern(tokens: impl Words, attention: impl Patterns) -> Widget {
    Widget::new(Heads::new(Mode::Pattern, &tokens, &[("", &attention)]))
}

/// All heads in one widget: thumbnails to search and to sort by a score, a row for each layer until they are sorted, the
/// text and the map of the chosen head, in which pointing at one lights up the other. Arrow keys walk through heads and
/// cells.
///
/// Built-in scores: the mean attention to the previous, the first and the same token, and the largest
/// value; [`Widget::scores`] adds others.
///
/// # Shapes, errors
/// As [`attention_heads`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_logits, cache) = model.run_with_cache("The keys on the cabinet")?;
/// let drawn = attention_explorer(&model, &cache);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("cabinet"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn attention_explorer(tokens: impl Words, attention: impl Patterns) -> Widget {
    Widget::new(Heads::new(Mode::Explorer, &tokens, &[("", &attention)]))
}

/// As [`attention_explorer`], for a clean and a corrupted run of the same number of tokens: the reader chooses clean, corrupted,
/// or the difference, corrupted minus clean.
///
/// # Shapes, errors
/// As [`attention_heads`]; runs of unequal shapes.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, clean) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
/// let (_, corrupted) = model.run_with_cache("When John and Mary went to the shops, Mary gave the bag to")?;
/// let drawn = attention_comparison(&model, &clean, &corrupted);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("shops"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn attention_comparison(tokens: impl Words, clean: impl Patterns, corrupted: impl Patterns) -> Widget {
    Widget::new(Heads::new(Mode::Explorer, &tokens, &[("clean", &clean), ("corrupted", &corrupted)]))
}

/// Which parts the widget has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Heads,
    Patterns,
    Pattern,
    Explorer,
}

impl Mode {
    fn function(self) -> &'static str {
        match self {
            Self::Heads => "attention_heads",
            Self::Patterns => "attention_patterns",
            Self::Pattern => "attention_pattern",
            Self::Explorer => "attention_explorer",
        }
    }
}

/// One run: its tokens and the attention of every head.
#[derive(Clone, Debug)]
struct Run {
    name: &'static str,
    words: Vec<String>,
    /// `[head, dest, src]`.
    values: Array3<f32>,
}

/// The heads of a widget.
#[derive(Debug)]
struct Heads {
    mode: Mode,
    title: String,
    names: Vec<String>,
    runs: Vec<Run>,
}

impl Heads {
    fn new(mode: Mode, tokens: &dyn Words, runs: &[(&'static str, &dyn Patterns)]) -> Result<Self> {
        let mut heads = Self { mode, title: String::new(), names: Vec::new(), runs: Vec::new() };
        for &(name, attention) in runs {
            let (numbers, ids) = attention.patterns()?;
            let shape = numbers.values.shape().to_vec();
            let names = head_names(&numbers);
            heads.title = numbers.title;
            let [.., dest, src] = shape[..] else { return Err(wrong_shape(mode, &shape)) };
            if dest != src || numbers.values.is_empty() || (mode == Mode::Pattern && names.len() != 1) {
                return Err(wrong_shape(mode, &shape));
            }
            let flat: Vec<f32> = numbers.values.into_iter().collect();
            let values =
                Array3::from_shape_vec((names.len(), dest, src), flat).map_err(|_| wrong_shape(mode, &shape))?;
            let words = tokens.words(ids.as_deref())?;
            one_word_each(&words, src)?;
            if let Some(first) = heads.runs.first()
                && first.values.dim() != values.dim()
            {
                return Err(Error::argument(format!(
                    "the runs to compare have the shapes {:?} and {:?} (heads, positions, positions): \
                     run prompts with the same number of tokens.",
                    first.values.dim(),
                    values.dim()
                )));
            }
            heads.names = names;
            heads.runs.push(Run { name, words, values });
        }
        Ok(heads)
    }

    /// The runs as they are drawn: empty above the diagonal where it is masked.
    fn masked(&self, asked: Option<bool>) -> (Vec<Run>, bool) {
        let above = |&((_, dest, src), _): &((usize, usize, usize), &f32)| src > dest;
        let is_empty =
            |run: &Run| run.values.indexed_iter().filter(above).all(|(_, &value)| value == 0.0 || !value.is_finite());
        let mask = asked.unwrap_or_else(|| self.runs.iter().all(is_empty));
        let mut runs = self.runs.clone();
        for run in &mut runs {
            if mask {
                run.values.indexed_iter_mut().for_each(|((_, dest, src), value)| {
                    if src > dest {
                        *value = 0.0;
                    }
                });
            }
        }
        (runs, mask)
    }
}

fn wrong_shape(mode: Mode, shape: &[usize]) -> Error {
    let (wanted, otherwise) = match mode {
        Mode::Pattern => ("one head, [dest, src]", "`attention_heads` shows several"),
        _ => ("heads, [head, dest, src]", "of a batch take one prompt first"),
    };
    Error::argument(format!(
        "`{}` shows {wanted} with the same number of destinations and sources, but it was given the shape {shape:?}: \
         {otherwise}.",
        mode.function()
    ))
}

impl Heads {
    fn names(&self, asked: Option<&Vec<String>>) -> Result<Vec<String>> {
        match asked {
            Some(names) if names.len() != self.names.len() => Err(Error::argument(format!(
                "{} heads need one name each, but `names` gives {}.",
                self.names.len(),
                names.len()
            ))),
            Some(names) => Ok(names.clone()),
            None => Ok(self.names.clone()),
        }
    }

    /// The built-in scores and those that were added; of two runs, also how much they differ.
    fn scores(&self, asked: &Asked, runs: &[Run]) -> Result<Vec<(String, Vec<f32>)>> {
        let mut scores = usual_scores(&runs[0].values);
        if let [clean, corrupted] = runs {
            let apart = &corrupted.values - &clean.values;
            let largest = |head: ArrayView2<f32>| most(head.iter());
            scores.insert(0, ("largest difference".into(), apart.axis_iter(NdAxis(0)).map(largest).collect()));
        }
        for (name, values) in asked.scores.iter().rev() {
            let values = values.as_ref().map_err(Error::argument)?;
            if values.len() != self.names.len() || values.iter().any(|value| !value.is_finite()) {
                return Err(Error::argument(format!(
                    "the scores {name:?} hold {} numbers for {} heads: give one finite number for each.",
                    values.len(),
                    self.names.len()
                )));
            }
            scores.insert(0, (name.clone(), values.clone()));
        }
        Ok(scores)
    }

    /// How many positions must become one for the packed numbers, which may not compress, to fit in this many bytes.
    fn factor(&self, masked: bool, max_bytes: usize) -> usize {
        let (heads, positions, _) = self.runs[0].values.dim();
        let bytes = |factor: usize| {
            let side = positions.div_ceil(factor);
            let cells = if masked { side * (side + 1) / 2 } else { side * side };
            // Four letters for three bytes, and about half as much for the still pictures.
            self.runs.len() * heads * cells * 4 / 3 + heads * side * side / 2
        };
        (1..positions).find(|&factor| bytes(factor) <= max_bytes).unwrap_or(positions)
    }

    fn data(&self, runs: &[Run], words: &[Vec<String>], masked: bool) -> Result<Value> {
        let positions = runs[0].values.dim().1;
        let mut packed = Vec::new();
        for (run, words) in runs.iter().zip(words) {
            let block = |head: ArrayView2<f32>| -> Vec<f32> {
                (0..positions)
                    .flat_map(|dest| head.slice(s![dest, ..if masked { dest + 1 } else { positions }]).to_vec())
                    .collect()
            };
            let blocks: Vec<Vec<f32>> = run.values.axis_iter(NdAxis(0)).map(block).collect();
            packed.push(json!({ "name": run.name, "tokens": words, "values": pack(&blocks)? }));
        }
        Ok(json!({ "runs": packed, "masked": masked, "positions": positions }))
    }

    fn still(&self, runs: &[Run], words: &[String], names: &[String], limit: f32) -> Result<String> {
        let values = &runs[0].values;
        if self.mode == Mode::Pattern {
            let figure = imshow(values.index_axis(NdAxis(0), 0).to_owned()).x_ticks(words).y_ticks(words);
            let figure = figure.x_label("Source").y_label("Destination");
            let signed = values.iter().any(|&value| value < 0.0);
            return if signed { figure.still() } else { figure.one_sided().still() };
        }
        // A cell needs only a pixel, and many heads only a sketch each.
        let room = (150_000.0 / names.len() as f64).sqrt() as usize;
        let small = pooled(values, values.dim().1.div_ceil(room.clamp(8, 100)));
        let rows = layers(&self.names);
        if !rows.is_empty() {
            return layer_gallery(&rows, names, &small, limit);
        }
        let (columns, pixels) = if names.len() > 24 { (12, 48) } else { (6, 96) };
        gallery(names.iter().map(String::as_str).zip(small.axis_iter(NdAxis(0))), columns, limit, pixels)
    }
}

impl Kind for Heads {
    fn drawn(&self, asked: &Asked) -> Result<Drawn> {
        not_for(self.mode.function(), &[("top_k", asked.top_k.is_some())])?;
        if self.mode == Mode::Pattern {
            not_for("attention_pattern", &[("names", asked.names.is_some()), ("scores", !asked.scores.is_empty())])?;
        }
        let (mut runs, masked) = self.masked(asked.mask_upper_tri);
        let names = self.names(asked.names.as_ref())?;
        let scores = self.scores(asked, &runs)?;
        let positions = self.runs[0].values.dim().1;
        let factor = self.factor(masked, asked.max_bytes());
        if factor > 1 {
            runs.iter_mut().for_each(|run| run.values = pooled(&run.values, factor));
        }
        let words: Vec<Vec<String>> = runs
            .iter()
            .map(|run| pooled_words(&run.words, factor).iter().map(|word| crate::views::html::visible(word)).collect())
            .collect();
        let most = most(runs.iter().flat_map(|run| run.values.iter()));
        let gaps = gap_note(runs.iter().flat_map(|run| run.values.iter()));
        let (low, high) = checked_range(asked.range)?.unwrap_or((-f64::from(most), f64::from(most)));
        let mut data = self.data(&runs, &words, masked)?;
        let shown: Vec<String> = names.iter().map(|name| crate::views::html::visible(name)).collect();
        data["mode"] = json!(self.mode.function());
        data["names"] = json!(shown);
        data["layers"] =
            layers(&self.names).iter().map(|(name, heads)| json!({ "name": name, "heads": heads })).collect();
        data["range"] = json!([rounded(low.min(0.0) as f32), rounded(high.max(0.0) as f32)]);
        let brief = |values: &[f32]| values.iter().map(|&value| rounded(value)).collect::<Vec<f64>>();
        if self.mode == Mode::Explorer {
            data["scores"] =
                scores.iter().map(|(name, values)| json!({ "name": name, "values": brief(values) })).collect();
        }
        let still = self.still(&runs, &words[0], &names, low.abs().max(high.abs()) as f32)?;
        Ok(Drawn {
            title: asked.title.clone().unwrap_or_else(|| self.title.clone()),
            description: format!("attention of {} heads over {positions} tokens", names.len()),
            script: Script::Attention,
            kind: "attention",
            data,
            still,
            text: table(&names, &scores)?,
            note: both(gaps, (factor > 1).then(|| reduced(factor, asked.max_bytes()))),
        })
    }
}

/// The note on attention that was reduced.
fn reduced(factor: usize, max_bytes: usize) -> String {
    format!(
        "Each cell represents {factor} x {factor} positions and shows their largest value: the whole would take more \
         than {}. `max_bytes` allows more.",
        crate::error::human_bytes(max_bytes as u64)
    )
}
