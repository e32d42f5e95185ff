//! Text coloured by numbers: one number a token, several, or the activations of many neurons over many samples.

use ndarray::Array3;
use serde_json::json;

use crate::error::{Error, Result, human_bytes};
use crate::labelled::Axis;
use crate::views::html::visible;
use crate::views::loader::Script;
use crate::views::number::number;
use crate::views::source::{Numbers, Source};
use crate::views::widget::pack::{both, gap_note, pack, rounded};
use crate::views::widget::samples::{Sample, most, names, order, some_numbers, unnamed};
use crate::views::widget::still::{colored, largest_of};
use crate::views::widget::tables::{samples_table, token_table, tops_table};
use crate::views::widget::words::{Words, one_word_each};
use crate::views::widget::{Asked, Drawn, Kind, Widget, checked_range, not_for};

/// The text with each token on a background as strong as its number: blue above zero, orange below, as CircuitsVis'
/// `colored_tokens`. Pointing at a token says its number; one that is not finite is on grey.
///
/// # Shapes
/// `[position]`.
///
/// # Errors
/// Reported when the widget is shown: another shape, other than one token for each number.
///
/// ```
/// use candle_lens::prelude::*;
/// let drawn = colored_tokens(["The", " keys", " are"], [0.1, -0.8, 1.9]).title("Loss");
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("Loss"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn colored_tokens(tokens: impl Words, values: impl Source) -> Widget {
    Widget::new(Text::of_one(Mode::One, &tokens, &values))
}

/// As [`colored_tokens`] with several numbers for each token, of which the reader chooses one to see; pointing at a
/// token says them all. [`Widget::names`] names them.
///
/// # Shapes
/// `[position, value]`.
///
/// # Errors
/// As [`colored_tokens`].
///
/// ```
/// use candle_lens::prelude::*;
/// let values = vec![vec![0.1, 2.0], vec![-0.8, 1.0]];
/// let drawn = colored_tokens_multi(["The", " keys"], values).names(["loss", "norm"]);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("norm"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn colored_tokens_multi(tokens: impl Words, values: impl Source) -> Widget {
    Widget::new(Text::of_one(Mode::Multi, &tokens, &values))
}

/// Text samples coloured by one neuron's activations, with layer and neuron to choose, as CircuitsVis'
/// `text_neuron_activations`.
///
/// # Shapes
/// Each sample is a pair of its tokens and its activations, `[position, layer, neuron]` (or `[position, neuron]`, or
/// any two other axes: results of this crate bring their names along).
///
/// # Errors
/// As [`colored_tokens`]; samples of unequal layers or neurons, or none.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
/// let neurons = cache.stack_activation("post", -1)?.squeeze(1)?.transpose(0, 1)?; // [position, layer, neuron]
/// let tokens = model.to_str_tokens("The keys on the cabinet")?;
/// let drawn = text_neuron_activations([(&tokens, neurons.narrow(2, 0, 16)?)]);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("cabinet"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn text_neuron_activations<W: Words, S: Source>(samples: impl IntoIterator<Item = (W, S)>) -> Widget {
    Widget::new(Text::of_samples(Mode::Neurons, samples))
}

/// For each sample the tokens at which a neuron is most and least active, as CircuitsVis' `topk_tokens`.
/// [`Widget::top_k`] says how many; 10 by default.
///
/// # Shapes, errors
/// As [`text_neuron_activations`].
///
/// ```
/// use candle_lens::prelude::*;
/// let drawn = topk_tokens([(["The", " keys"], vec![vec![0.1, 2.0], vec![-0.8, 1.0]])]).top_k(1);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("keys"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn topk_tokens<W: Words, S: Source>(samples: impl IntoIterator<Item = (W, S)>) -> Widget {
    Widget::new(Text::of_samples(Mode::TopTokens, samples))
}

/// For each neuron the samples in which it is most active, coloured, as CircuitsVis' `topk_samples`.
/// [`Widget::top_k`] says how many; 10 by default.
///
/// # Shapes, errors
/// As [`text_neuron_activations`].
///
/// ```
/// use candle_lens::prelude::*;
/// let samples = [(["The", " keys"], vec![vec![0.1], vec![-0.8]]), (["A", " key"], vec![vec![0.9], vec![0.2]])];
/// let drawn = topk_samples(samples);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("key"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn topk_samples<W: Words, S: Source>(samples: impl IntoIterator<Item = (W, S)>) -> Widget {
    Widget::new(Text::of_samples(Mode::TopSamples, samples))
}

/// What is shown of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    One,
    Multi,
    Neurons,
    TopTokens,
    TopSamples,
}

impl Mode {
    fn function(self) -> &'static str {
        match self {
            Self::One => "colored_tokens",
            Self::Multi => "colored_tokens_multi",
            Self::Neurons => "text_neuron_activations",
            Self::TopTokens => "topk_tokens",
            Self::TopSamples => "topk_samples",
        }
    }
}

/// How many tokens or samples are the top by default.
const TOP_K: usize = 10;

/// Samples, and the two axes of the numbers at each position.
#[derive(Debug)]
pub(super) struct Text {
    mode: Mode,
    title: String,
    axes: [Axis; 2],
    samples: Vec<Sample>,
}

impl Text {
    pub(super) fn of_one(mode: Mode, tokens: &dyn Words, values: &dyn Source) -> Result<Self> {
        let numbers = values.numbers()?;
        let expected = if mode == Mode::One { 1 } else { 2 };
        if numbers.values.ndim() != expected {
            return Err(Error::argument(format!(
                "`{}` takes numbers of the shape {}, but it was given {:?}.",
                mode.function(),
                if mode == Mode::One { "[position]" } else { "[position, value]" },
                numbers.values.shape()
            )));
        }
        let mut text = Self { mode, title: numbers.title.clone(), axes: unnamed(), samples: Vec::new() };
        text.add(tokens, numbers)?;
        Ok(text)
    }

    fn of_samples<W: Words, S: Source>(mode: Mode, samples: impl IntoIterator<Item = (W, S)>) -> Result<Self> {
        let mut text = Self { mode, title: String::new(), axes: unnamed(), samples: Vec::new() };
        for (tokens, values) in samples {
            text.add(&tokens, values.numbers()?)?;
        }
        if text.samples.is_empty() {
            return Err(Error::argument(format!("`{}` was given no samples: give at least one.", mode.function())));
        }
        Ok(text)
    }

    fn add(&mut self, tokens: &dyn Words, numbers: Numbers) -> Result<()> {
        let shape = numbers.values.shape().to_vec();
        let (positions, first, second) = match shape[..] {
            [positions] => (positions, 1, 1),
            [positions, second] => (positions, 1, second),
            [positions, first, second] => (positions, first, second),
            _ => {
                return Err(Error::argument(format!(
                    "`{}` takes numbers of the shape [position, layer, neuron] or less, but it was given {shape:?}.",
                    self.mode.function()
                )));
            }
        };
        let words = tokens.words(None)?;
        one_word_each(&words, positions)?;
        some_numbers(self.mode.function(), &numbers.values)?;
        let axes = names(&numbers, first, second);
        match self.samples.first() {
            None => self.axes = axes,
            Some(sample) if sample.values.dim().1 == first && sample.values.dim().2 == second => {}
            Some(sample) => {
                return Err(Error::argument(format!(
                    "the samples have numbers of unequal shapes, {:?} and {:?} behind the position: give all the same \
                     layers and neurons.",
                    &sample.values.shape()[1..],
                    [first, second]
                )));
            }
        }
        let values = Array3::from_shape_vec((positions, first, second), numbers.values.into_iter().collect())
            .map_err(|error| Error::argument(format!("the numbers do not have their own shape: {error}.")))?;
        self.samples.push(Sample { words, values });
        Ok(())
    }
}

impl Text {
    /// The samples and numbers that fit in this many bytes, and a note on the rest.
    fn within(&self, max_bytes: usize) -> (Vec<Sample>, usize, Option<String>) {
        let [first, second] = [self.axes[0].labels.len(), self.axes[1].labels.len()];
        let bytes = |sample: &Sample| {
            sample.words.len() * first * second * 4 / 3
                + sample.words.iter().map(|word| 2 * word.len() + 60).sum::<usize>()
        };
        let mut left = max_bytes;
        let fit = self.samples.iter().take_while(|sample| {
            let fits = bytes(sample) <= left;
            left = left.saturating_sub(bytes(sample));
            fits
        });
        let fit = fit.count().max(1);
        let mut kept = second;
        let positions = self.samples[0].words.len().max(1);
        if bytes(&self.samples[0]) > max_bytes {
            kept = (max_bytes * 3 / 4 / (positions * first)).clamp(1, second);
        }
        let mut said = Vec::new();
        if fit < self.samples.len() {
            said.push(format!("the first {fit} of {} samples", self.samples.len()));
        }
        if kept < second {
            said.push(format!("the first {kept} of {second} numbers"));
        }
        let note = (!said.is_empty()).then(|| {
            let whole = human_bytes(max_bytes as u64);
            format!(
                "Shown are {}: the whole would take more than {whole}. `max_bytes` allows more.",
                said.join(" and ")
            )
        });
        (self.samples[..fit].to_vec(), kept, note)
    }

    fn label_axes(&self, asked: &Asked, kept: usize) -> Result<Vec<Axis>> {
        let mut axes = self.axes.to_vec();
        if let Some(names) = &asked.names {
            if names.len() != axes[1].labels.len() {
                return Err(Error::argument(format!(
                    "{} numbers at each token need one name each, but `names` gives {}.",
                    axes[1].labels.len(),
                    names.len()
                )));
            }
            axes[1] = Axis::new("", names.clone());
        }
        axes[1].labels.truncate(kept);
        for axis in &mut axes {
            axis.labels.iter_mut().for_each(|label| *label = visible(label));
        }
        Ok(axes)
    }

    /// Without scripts: the text in the colours of its first numbers, or the tops as a table.
    fn still(&self, samples: &[Sample], axes: &[Axis], k: usize, range: Option<(f64, f64)>) -> Result<String> {
        const LINES: usize = 4;
        if self.mode == Mode::TopTokens {
            return tops_table(&samples[0], axes, k)?.html_of();
        }
        let mut chosen: Vec<&Sample> = samples.iter().collect();
        if self.mode == Mode::TopSamples {
            chosen.sort_by(|a, b| order(largest_of(b, 0)).total_cmp(&order(largest_of(a, 0))));
            chosen.truncate(k);
        }
        let numbers = if self.mode == Mode::Multi { axes[1].labels.len().min(LINES) } else { 1 };
        let mut html = String::new();
        for which in 0..numbers {
            let column = |sample: &Sample| sample.values.slice(ndarray::s![.., 0, which]).to_vec();
            let most = most(&samples.iter().flat_map(column).collect::<Vec<f32>>());
            let range = range.unwrap_or((-f64::from(most), f64::from(most)));
            let name = if axes[1].labels.len() > 1 {
                format!("{} {}", axes[1].name, axes[1].labels[which])
            } else {
                String::new()
            };
            for sample in chosen.iter().take(LINES) {
                html += &colored(name.trim(), &sample.words, sample.values.slice(ndarray::s![.., 0, which]), range);
            }
        }
        Ok(html)
    }

    fn text(&self, samples: &[Sample], axes: &[Axis], k: usize) -> Result<String> {
        match self.mode {
            Mode::One | Mode::Multi => token_table(&samples[0], axes),
            Mode::TopTokens => tops_table(&samples[0], axes, k),
            Mode::Neurons | Mode::TopSamples => samples_table(samples, axes, k),
        }?
        .text_of()
    }
}

impl Kind for Text {
    fn drawn(&self, asked: &Asked) -> Result<Drawn> {
        let function = self.mode.function();
        let tops = matches!(self.mode, Mode::TopTokens | Mode::TopSamples);
        not_for(
            function,
            &[
                ("mask_upper_tri", asked.mask_upper_tri.is_some()),
                ("scores", !asked.scores.is_empty()),
                ("names", asked.names.is_some() && self.mode == Mode::One),
                ("top_k", asked.top_k.is_some() && !tops),
            ],
        )?;
        let k = asked.top_k()?.unwrap_or(TOP_K);
        let range = checked_range(asked.range)?;
        let (samples, kept, note) = self.within(asked.max_bytes());
        let axes = self.label_axes(asked, kept)?;
        let block = |first: usize, second: usize| -> Vec<f32> {
            samples.iter().flat_map(|sample| sample.values.slice(ndarray::s![.., first, second]).to_vec()).collect()
        };
        let blocks: Vec<Vec<f32>> = (0..axes[0].labels.len())
            .flat_map(|first| (0..kept).map(move |second| (first, second)))
            .map(|(first, second)| block(first, second))
            .collect();
        let tokens: Vec<Vec<String>> =
            samples.iter().map(|sample| sample.words.iter().map(|word| visible(word)).collect()).collect();
        let dims: Vec<_> =
            axes.iter().map(|axis| json!({ "name": visible(&axis.name), "labels": axis.labels })).collect();
        let count: usize = samples.iter().map(|sample| sample.words.len()).sum();
        Ok(Drawn {
            title: asked.title.clone().unwrap_or_else(|| self.title.clone()),
            description: format!("{count} tokens coloured by numbers"),
            script: Script::Text,
            kind: "tokens",
            data: json!({
                "mode": function,
                "samples": tokens,
                "dims": dims,
                "values": pack(&blocks)?,
                "range": range.map(|(low, high)| [rounded(low.min(0.0) as f32), rounded(high.max(0.0) as f32)]),
                "k": k,
            }),
            still: self.still(&samples, &axes, k, range)?,
            text: self.text(&samples, &axes, k)?,
            note: both(gap_note(samples.iter().flat_map(|sample| sample.values.iter())), note),
        })
    }
}

/// A token and its number, as a note under the pointer says it.
pub(super) fn said(word: &str, value: f32) -> String {
    format!("{}: {}", visible(word), number(f64::from(value)))
}
