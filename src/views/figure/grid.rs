//! The numbers of heat maps and animations, and how they are drawn.

use std::borrow::Cow;

use ndarray::{Array2, ArrayViewD, Ix2, Ix3};

use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::views::figure::drawing::{
    Axis as PlotAxis, Chart, ColorBar, Drawing, Extras, Looks, Scale, check_values, one_each,
};
use crate::views::figure::fewer::{NUMBER, block_labels, blocks, furthest};
use crate::views::figure::hover::HoverMode;
use crate::views::figure::interval::{self, GREYED, Intervals};
use crate::views::figure::notes::{GAP, Note};
use crate::views::figure::text::heat_map;
use crate::views::html::visible;
use crate::views::number::grouped;
use crate::views::picture::{Anchor, Canvas, Frame, Turn};
use crate::views::source::Source;

/// The room beside the cells: row labels, scale, axis titles.
const SIDES: usize = 160;
/// The room of an animation's slider.
const SLIDER: usize = 90;
/// The room above and below the cells: title, column labels, axis title.
const ENDS: usize = 130;

/// The numbers of a heat map or of an animation, and its options.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// `[row, column]`.
    pub values: Array2<f32>,
    /// What the numbers are.
    title: String,
    x: Axis,
    y: Axis,
    /// The frames of an animation, of which `values` is the first, and what they are; else none.
    pub frames: Vec<Array2<f32>>,
    pub along: Axis,
    /// The intervals of each frame, of `values` where there are none; empty where there are no intervals.
    pub intervals: Vec<Intervals>,
    pub asked: Asked,
}

/// The options of heat maps and animations.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub x_ticks: Option<Vec<String>>,
    pub y_ticks: Option<Vec<String>>,
    pub color_label: Option<String>,
    pub center: Option<f64>,
    pub limit: Option<f64>,
    pub one_sided: bool,
    pub cell_text: Option<Vec<String>>,
    pub frame_names: Option<Vec<String>>,
}

impl Grid {
    pub fn new(matrix: &impl Source) -> Result<Self> {
        let numbers = matrix.numbers()?;
        check_values("imshow", &numbers.values)?;
        let shape = numbers.values.shape().to_vec();
        let values = numbers.values.into_dimensionality::<Ix2>().map_err(|_| {
            Error::argument(format!(
                "`imshow` draws a matrix of rows and columns, but it was given the shape {shape:?}: \
                 take one index or a mean of the other axes first."
            ))
        })?;
        let mut axes = numbers.axes.into_iter();
        let mut axis = || axes.next().unwrap_or_else(|| Axis::numbered("", 0));
        let (y, x) = (axis(), axis());
        Ok(Self {
            intervals: Intervals::of_source(matrix, values.dim())?.into_iter().collect(),
            values,
            title: numbers.title,
            x,
            y,
            frames: Vec::new(),
            along: Axis::numbered("", 0),
            asked: Asked::default(),
        })
    }

    /// The grids of `[frame, row, column]`, one after another.
    pub fn animated(matrices: &impl Source) -> Result<Self> {
        let numbers = matrices.numbers()?;
        check_values("imshow_animation", &numbers.values)?;
        let shape = numbers.values.shape().to_vec();
        let values = numbers.values.into_dimensionality::<Ix3>().map_err(|_| {
            Error::argument(format!(
                "`imshow_animation` draws frames of rows and columns, but it was given the shape {shape:?}: \
                 give [frame, row, column]."
            ))
        })?;
        let mut axes = numbers.axes.into_iter();
        let mut axis = || axes.next().unwrap_or_else(|| Axis::numbered("", 0));
        let (along, y, x) = (axis(), axis(), axis());
        let frames: Vec<_> = values.outer_iter().map(|frame| frame.to_owned()).collect();
        let intervals = frame_intervals(matrices)?;
        let (title, values) = (numbers.title, frames[0].clone());
        Ok(Self { values, title, x, y, frames, along, intervals, asked: Asked::default() })
    }

    /// The intervals of a frame as they are drawn, with whether 0 is within, where there are intervals; `frame` counts from 0.
    pub fn greyed(&self, frame: usize, drawing: &Drawing) -> Option<Array2<bool>> {
        let flags = self.intervals.get(frame)?.hold_zero();
        let values = self.frames.get(frame).unwrap_or(&self.values);
        // What is not finite is a gap already.
        let flags = ndarray::Zip::from(&flags).and(values).map_collect(|&flag, value| flag && value.is_finite());
        let columns = values.ncols();
        Some(match Self::places(values, drawing) {
            None => flags,
            Some(places) => places.mapv(|place| flags[(place / columns, place % columns)]),
        })
    }

    /// The intervals of a frame in words, as they are drawn.
    pub fn interval_words(&self, frame: usize, drawing: &Drawing) -> Option<Array2<String>> {
        let intervals = self.intervals.get(frame)?;
        let values = self.frames.get(frame).unwrap_or(&self.values);
        let columns = values.ncols();
        let places = Self::places(values, drawing)
            .unwrap_or_else(|| Array2::from_shape_fn(values.dim(), |(row, column)| row * columns + column));
        Some(places.mapv(|place| intervals.words((place / columns, place % columns))))
    }

    /// By default the scale goes as far on both sides of its centre as the numbers do.
    fn color_bar(&self, looks: &Looks) -> Result<ColorBar> {
        let center = self.asked.center.unwrap_or(0.0);
        let most = self
            .all()
            .filter(|value| value.is_finite())
            .fold(0.0_f64, |most, &value| most.max((f64::from(value) - center).abs()));
        let limit = self.asked.limit.unwrap_or(if most > 0.0 { most } else { 1.0 });
        if !(center.is_finite() && limit.is_finite() && limit > 0.0) {
            return Err(Error::argument(format!(
                "the colours cannot go {limit} around {center}: give `limit` a number above 0 and `center` a finite \
                 one."
            )));
        }
        let title = looks.value_label(self.asked.color_label.as_ref(), &self.title);
        Ok(ColorBar { title, center, limit, one_sided: self.asked.one_sided })
    }

    /// About square cells, neither too flat nor longer than a screen.
    fn height(&self, width: usize) -> usize {
        let (rows, columns) = self.values.dim();
        let side = width.saturating_sub(SIDES) as f64 / columns as f64;
        (rows as f64 * side).clamp(120.0, 720.0) as usize + ENDS
    }
}

impl Grid {
    /// The numbers of all frames.
    fn all(&self) -> impl Iterator<Item = &f32> + Clone {
        // `values` repeats the first frame of an animation.
        let single = if self.frames.is_empty() { Some(&self.values) } else { None };
        single.into_iter().chain(&self.frames).flat_map(|frame| frame.iter())
    }

    /// How many rows and columns become one cell, so that the numbers fit.
    fn blocks(&self, looks: &Looks) -> Option<(usize, usize)> {
        let (rows, columns) = self.values.dim();
        // A category has invisible marks around its label; a block has the labels of both its ends.
        let label = |asked: &Option<Vec<String>>, own: &Vec<String>, count: usize| {
            2 * asked.as_ref().unwrap_or(own).iter().map(String::len).sum::<usize>() / count + 20
        };
        let (tall, wide) =
            (label(&self.asked.y_ticks, &self.y.labels, rows), label(&self.asked.x_ticks, &self.x.labels, columns));
        let words = self.asked.cell_text.iter().flatten().map(|word| word.len() + 3).sum::<usize>();
        let cell = NUMBER * self.frames.len().max(1) + words / self.values.len();
        // Gaps are a second map with its own labels.
        let gaps = if self.all().all(|value| value.is_finite()) { 0 } else { 1 };
        // Grey cells are a map as well, and an interval is two numbers and a few words.
        let maps = 1 + gaps + if self.intervals.is_empty() { 0 } else { 3 };
        let fits =
            |rows: usize, columns: usize| maps * (rows * columns * cell + rows * tall + columns * wide) <= looks.room();
        let blocks = blocks((rows, columns), fits);
        (blocks != (1, 1)).then_some(blocks)
    }

    /// The flat indices of the numbers of a frame that are drawn, where each cell represents several.
    fn places(frame: &Array2<f32>, drawing: &Drawing) -> Option<Array2<usize>> {
        let center = drawing.color_bar.as_ref().map_or(0.0, |bar| bar.center);
        Some(furthest(frame.view(), center, drawing.extras.blocks?))
    }

    /// The numbers of a frame as they are drawn.
    pub fn shown<'a>(frame: &'a Array2<f32>, drawing: &Drawing) -> Cow<'a, Array2<f32>> {
        let columns = frame.ncols();
        match Self::places(frame, drawing) {
            None => Cow::Borrowed(frame),
            Some(places) => Cow::Owned(places.mapv(|place| frame[(place / columns, place % columns)])),
        }
    }

    fn notes(&self, blocks: Option<(usize, usize)>, looks: &Looks) -> Vec<Note> {
        let (rows, columns) = self.values.dim();
        let fewer = blocks.map(|(tall, wide)| {
            let cell =
                format!("the number furthest from the centre of the colours for each block of {tall} x {wide} cells");
            let frames = if self.frames.is_empty() { String::new() } else { format!("{} x ", self.frames.len()) };
            let all = format!("all {frames}{} x {}", grouped(rows), grouped(columns));
            Note::of_size(&cell, &all, looks.max_bytes())
        });
        let flags = self.intervals.iter().map(Intervals::hold_zero);
        let greyed = flags.map(|flags| flags.iter().filter(|flag| **flag).count()).reduce(|a, b| a + b);
        let greyed = greyed.filter(|greyed| *greyed > 0).map(|greyed| interval::note(greyed, self.all().count()));
        Note::of_gaps(self.all(), true, |_| None).into_iter().chain(greyed).chain(fewer).collect()
    }

    /// The words in the cells that are drawn.
    pub fn words(&self, drawing: &Drawing) -> Vec<String> {
        let words = &drawing.extras.words;
        match Self::places(&self.values, drawing) {
            Some(places) if !words.is_empty() => places.iter().map(|&place| words[place].clone()).collect(),
            _ => words.clone(),
        }
    }

    /// A name for each frame: as requested, or the labels of their axis.
    fn frame_names(&self) -> Result<Vec<String>> {
        if self.frames.is_empty() {
            return Ok(Vec::new());
        }
        match labels(self.asked.frame_names.as_ref(), &self.along.labels, self.frames.len(), "names", "frames", 1)? {
            Scale::Labels(names) => Ok(names),
            Scale::Numbers(..) => Ok(Vec::new()),
        }
    }
}

/// The intervals of each frame of a source `[frame, row, column]`.
fn frame_intervals(source: &impl Source) -> Result<Vec<Intervals>> {
    let Some(ends) = source.intervals()? else { return Ok(Vec::new()) };
    let [low, high] = ends;
    let frame = |(low, high): (ArrayViewD<f32>, ArrayViewD<f32>)| {
        let (rows, columns) = (low.shape()[0], low.shape()[1]);
        Intervals::new(low.to_owned(), high.to_owned(), (rows, columns))
    };
    low.outer_iter().zip(high.outer_iter()).map(frame).collect()
}

/// Labels as requested, or those of the numbers, or 0, 1, 2 and so on; where `side` is above 1, one for each block.
fn labels(
    asked: Option<&Vec<String>>,
    own: &[String],
    count: usize,
    method: &str,
    places: &str,
    side: usize,
) -> Result<Scale> {
    let labels = match asked {
        Some(asked) => asked.clone(),
        None if own.is_empty() => (0..count).map(|place| place.to_string()).collect(),
        None => own.to_vec(),
    };
    one_each(&labels, count, method, places)?;
    Ok(Scale::Labels(if side > 1 { block_labels(&labels, side) } else { labels }))
}

impl Chart for Grid {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        if let Some(words) = &self.asked.cell_text {
            one_each(words, self.values.len(), "cell_text", "cells")?;
        }
        let (rows, columns) = self.values.dim();
        let width = looks.width.unwrap_or(600);
        let blocks = self.blocks(looks);
        let (tall, wide) = blocks.unwrap_or((1, 1));
        let or_own = |asked: &Option<String>, own: &String| asked.clone().unwrap_or_else(|| own.clone());
        Drawing {
            what: match self.frames.len() {
                0 => format!("heat map of {rows} rows and {columns} columns"),
                frames => format!("{frames} heat maps of {rows} rows and {columns} columns"),
            },
            title: or_own(&looks.title, &self.title),
            x: PlotAxis {
                title: or_own(&looks.x_label, &self.x.name),
                scale: labels(self.asked.x_ticks.as_ref(), &self.x.labels, columns, "x_ticks", "columns", wide)?,
            },
            y: PlotAxis {
                title: or_own(&looks.y_label, &self.y.name),
                scale: labels(self.asked.y_ticks.as_ref(), &self.y.labels, rows, "y_ticks", "rows", tall)?,
            },
            names: Vec::new(),
            color_bar: Some(self.color_bar(looks)?),
            hovermode: looks.hovermode.unwrap_or(HoverMode::Closest),
            width,
            height: looks
                .height
                .unwrap_or_else(|| self.height(width) + if self.frames.is_empty() { 0 } else { SLIDER }),
            notes: self.notes(blocks, looks),
            extras: Extras {
                words: self.asked.cell_text.clone().unwrap_or_default(),
                frames: self.frame_names()?,
                blocks,
                ..Extras::default()
            },
        }
        .check_size()
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let Some(bar) = &drawing.color_bar else { return };
        let (values, words) = (Self::shown(&self.values, drawing), self.words(drawing));
        let greyed = self.greyed(0, drawing);
        for ((row, column), &value) in values.indexed_iter() {
            let (left, right) = (frame.x(column as f64 - 0.5), frame.x(column as f64 + 0.5));
            let (top, bottom) = (frame.y(row as f64 - 0.5), frame.y(row as f64 + 0.5));
            let gap = if right - left > 12.0 && bottom - top > 12.0 { 0.5 } else { 0.0 };
            let color = match greyed.as_ref().is_some_and(|greyed| greyed[(row, column)]) {
                _ if !value.is_finite() => GAP,
                true => GREYED,
                false => bar.color(f64::from(value)),
            };
            canvas.rectangle((left + gap, top + gap), (right - gap, bottom - gap), color);
            if let Some(text) = words.get(row * values.ncols() + column) {
                let size = 11.0_f32.min((right - left) / text.chars().count().max(1) as f32 * 1.5);
                let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
                canvas.colored_text(&visible(text), middle, size, Anchor::Middle, Turn::Level, color.ink());
            }
        }
    }

    fn text(&self, drawing: &Drawing) -> Result<String> {
        let (Scale::Labels(x), Scale::Labels(y)) = (&drawing.x.scale, &drawing.y.scale) else {
            return Ok(String::new());
        };
        let limit = drawing.color_bar.as_ref().map_or(1.0, |bar| bar.limit + bar.center.abs());
        let values = Self::shown(&self.values, drawing);
        let greyed = self.greyed(0, drawing).unwrap_or_else(|| Array2::from_elem(values.dim(), false));
        heat_map((values.view(), greyed.view()), limit, (&drawing.y.title, y), (&drawing.x.title, x))
    }
}
