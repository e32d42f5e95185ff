//! Plots that are common in the field's notebooks, each as one call.

use crate::error::{Error, Result};
use crate::head::Head;
use crate::views::figure::facets::{Facets, imshow_facets};
use crate::views::figure::{HeatMap, Line, imshow, line};
use crate::views::html::visible;
use crate::views::source::{Numbers, Source};
use crate::views::widget::Words;

/// The result of activation patching over layers and positions, the columns labelled `token_index`.
///
/// # Shapes
/// `[layer, position]`; `tokens` has one text for each position.
///
/// # Errors
/// Reported when the figure is shown: another shape, or not one token for each position.
///
/// ```
/// use candle_lens::prelude::*;
/// let drawn = imshow_patching_result(vec![vec![0.0, 0.9], vec![0.1, 0.2]], ["The", " keys"]);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("keys"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn imshow_patching_result(result: impl Source, tokens: impl Words) -> HeatMap {
    let figure = imshow(result).x_label("Position").y_label("Layer");
    match indexed(&tokens) {
        Ok(labels) => figure.x_ticks(labels),
        Err(error) => HeatMap { chart: Err(error.sentence()), ..figure },
    }
}

/// The results of activation patching for several answer tokens, one facet for each; those that are zero everywhere
/// are left out.
///
/// # Shapes
/// `[answer, layer, position]`; `tokens` has one text for each position, `answers` one for each answer.
///
/// # Errors
/// Results that cannot be read or do not have three axes, not one text for each answer, or zeros everywhere.
///
/// ```
/// use candle_lens::prelude::*;
/// let results = ndarray::Array3::from_shape_fn((2, 2, 2), |(a, l, p)| (a * (l + p)) as f32);
/// let drawn = imshow_patching_results(&results, ["The", " keys"], [" are", " is"])?;
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("keys"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn imshow_patching_results(results: impl Source, tokens: impl Words, answers: impl Words) -> Result<Facets> {
    let Numbers { title, axes, values } = results.numbers()?;
    let answers = answers.words(None)?;
    if values.ndim() != 3 || values.shape()[0] != answers.len() {
        return Err(Error::argument(format!(
            "`imshow_patching_results` was given {} answers and results of the shape {:?}: give [answer, layer, \
             position].",
            answers.len(),
            values.shape()
        )));
    }
    let whole = |answer: usize| values.index_axis(ndarray::Axis(0), answer);
    let kept: Vec<usize> =
        (0..answers.len()).filter(|&answer| whole(answer).iter().any(|&value| value != 0.0)).collect();
    if kept.is_empty() {
        return Err(Error::argument("the results are zero for every answer, so there is nothing to see."));
    }
    let names: Vec<String> = kept.iter().map(|&answer| answers[answer].clone()).collect();
    let values = values.select(ndarray::Axis(0), &kept);
    let axes = axes.into_iter().enumerate().map(|(i, axis)| match i {
        0 => crate::labelled::Axis::new(axis.name, names.clone()),
        _ => axis,
    });
    let facets = imshow_facets(Fixed(Numbers { title, axes: axes.collect(), values })).names(&names);
    Ok(facets.x_label("Position").y_label("Layer").x_ticks(indexed(&tokens)?))
}

/// Numbers that have been read.
struct Fixed(Numbers);

impl Source for Fixed {
    fn numbers(&self) -> Result<Numbers> {
        Ok(self.0.clone())
    }
}

/// Composition scores of heads with heads, as ARENA's `plot_comp_scores`: red and blue around the score of random
/// matrices where that is given, shades of blue from zero otherwise.
///
/// # Shapes
/// `[head of the earlier layer, head of the later layer]`.
///
/// # Errors
/// Reported when the figure is shown, as [`imshow`].
///
/// ```
/// use candle_lens::prelude::*;
/// let drawn = plot_comp_scores(vec![vec![0.1, 0.4], vec![0.2, 0.1]], Some(0.12)).title("K composition");
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("K composition"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn plot_comp_scores(scores: impl Source, baseline: Option<f64>) -> HeatMap {
    let named = scores.numbers().map(|mut numbers| {
        for (place, axis) in numbers.axes.iter_mut().enumerate() {
            let size = numbers.values.shape()[place];
            if axis.labels.len() != size {
                *axis = crate::labelled::Axis::new("", (0..size).map(|head| Head::new(place, head).to_string()));
            }
        }
        numbers
    });
    match named {
        Err(error) => HeatMap::new(Err(error)),
        Ok(numbers) => {
            let figure = imshow(Fixed(numbers)).color_label("score");
            match baseline {
                Some(baseline) => figure.center(baseline),
                None => figure.one_sided(),
            }
        }
    }
}

/// What each component adds to the logit of the next token, as ARENA's `plot_logit_attribution`: a row for each
/// position, labelled by its token, and a column for each component.
///
/// # Shapes
/// `[position, component]`; `tokens` has one text for each position.
///
/// # Errors
/// Reported when the figure is shown, as [`imshow`].
///
/// ```
/// use candle_lens::prelude::*;
/// let shares = vec![vec![0.5, 0.1, -0.2], vec![0.0, 0.9, 0.3]];
/// let drawn = plot_logit_attribution(shares, ["The", " keys"]).x_ticks(["Direct", "L0H0", "L0H1"]);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("L0H1"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn plot_logit_attribution(attribution: impl Source, tokens: impl Words) -> HeatMap {
    let shape = attribution.numbers().map(|numbers| numbers.values.shape().to_vec());
    let figure = imshow(attribution).x_label("Term").y_label("Position").color_label("logit");
    let labels = tokens
        .words(None)
        .map(|words| words.iter().enumerate().map(|(i, word)| format!("|{}|_{i}", visible(word))).collect::<Vec<_>>());
    match (shape.as_deref(), labels) {
        (Ok(&[positions, terms]), Ok(labels)) => {
            let size = ((24 * terms + 220).clamp(360, 3000), (18 * positions + 170).clamp(240, 3000));
            figure.y_ticks(labels).width(size.0).height(size.1)
        }
        (_, Err(error)) => HeatMap { chart: Err(error.sentence()), ..figure },
        _ => figure,
    }
}

/// The log probability of each next token of a text that is repeated, as ARENA's `plot_loss_difference`: the first and
/// the second half have their own backgrounds, and the points are labelled with their tokens.
///
/// # Shapes
/// `log_probs [2 * seq_len]`, or one more or less; `tokens` one text for each of them.
///
/// # Errors
/// Reported when the figure is shown, as [`line()`](crate::views::line()); a `seq_len` that is longer than the text.
///
/// ```
/// use candle_lens::prelude::*;
/// let log_probs = [-8.0, -7.5, -8.2, -0.1, -0.2, -0.1];
/// let drawn = plot_loss_difference(log_probs, ["a", "b", "c", "a", "b", "c"], 3);
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("data-figure"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn plot_loss_difference(log_probs: impl Source, tokens: impl Words, seq_len: usize) -> Line {
    let points = log_probs.numbers().map_or(0, |numbers| numbers.values.len());
    let figure = line(log_probs).x_label("Sequence position").y_label("Log probability of the next token");
    let middle = seq_len as f64 - 0.5;
    let figure = figure.band(-0.5, middle, "First half").band(middle, points as f64 - 0.5, "Second half");
    match tokens.words(None) {
        Ok(words) => figure.x_ticks(words),
        Err(error) => Line { chart: Err(error.sentence()), ..figure },
    }
}

/// `token_index` for each token.
fn indexed(tokens: &impl Words) -> Result<Vec<String>> {
    let words = tokens.words(None)?;
    Ok(words.iter().enumerate().map(|(i, word)| format!("{word}_{i}")).collect())
}
