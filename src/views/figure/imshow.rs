//! `imshow`: a matrix as a heat map, as ARENA's `plotly_utils.imshow`.

use ndarray::{Array2, Ix2, Ix3};
use plotly::common::{ColorBar as Bar, ColorScale, ColorScaleElement, Side, Title};
use plotly::layout::HoverMode;
use plotly::{HeatMap, Trace};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::views::figure::Figure;
use crate::views::figure::color::RED_BLUE;
use crate::views::figure::drawing::{
    Axis as PlotAxis, Chart, ColorBar, Drawing, Extras, Looks, Scale, check_values, not_for, one_each,
};
use crate::views::figure::plot::{categories, plain};
use crate::views::figure::text::heat_map;
use crate::views::html::visible;
use crate::views::picture::{Anchor, Canvas, Frame, Turn};
use crate::views::source::Source;

/// What stands beside the cells: row labels, scale, axis titles.
const SIDES: usize = 160;
/// The slider of an animation.
const SLIDER: usize = 90;
/// What stands above and below the cells: title, column labels, axis title.
const ENDS: usize = 130;

/// A matrix as a heat map: the first row at the top, red below zero, blue above, white at zero.
///
/// A result of this crate brings its title, axis names and labels along; for everything else rows and columns are
/// numbered until [`Figure::x_ticks`] and [`Figure::y_ticks`] give labels.
///
/// # Shapes
/// `[row, column]`.
///
/// # Errors
/// Reported when the figure is shown: another shape, no numbers, values that are not finite.
///
/// ```
/// use candle_lens::views::imshow;
/// let per_head = vec![vec![0.1, -0.2], vec![0.0, 1.9]];
/// let figure = imshow(&per_head).title("Logit Difference From Each Head").x_label("Head").y_label("Layer").width(600);
/// figure.show()?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn imshow(matrix: impl Source) -> Figure {
    Figure::new(Grid::new(&matrix))
}

/// Heat maps one after another on one scale, with a slider to go through them and a button to play them; where no
/// script runs, the first stands still. [`Figure::names`] names the frames.
///
/// # Shapes
/// `[frame, row, column]`.
///
/// # Errors
/// As [`imshow`].
///
/// ```
/// use candle_lens::prelude::*;
/// let frames = ndarray::Array3::from_shape_fn((4, 2, 3), |(f, r, c)| (f * r) as f32 - c as f32);
/// imshow_animation(&frames).names(["start", "early", "late", "end"]).show()?;
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn imshow_animation(matrices: impl Source) -> Figure {
    Figure::new(Grid::animated(&matrices))
}

/// The numbers of a heat map.
#[derive(Debug)]
struct Grid {
    /// `[row, column]`.
    values: Array2<f32>,
    /// What the numbers are.
    title: String,
    x: Axis,
    y: Axis,
    /// The frames of an animation, of which `values` is the first, and what they are; else none.
    frames: Vec<Array2<f32>>,
    along: Axis,
}

impl Grid {
    fn new(matrix: &impl Source) -> Result<Self> {
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
        Ok(Self { values, title: numbers.title, x, y, frames: Vec::new(), along: Axis::numbered("", 0) })
    }

    /// The grids of `[frame, row, column]`, one after another.
    fn animated(matrices: &impl Source) -> Result<Self> {
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
        Ok(Self { values: frames[0].clone(), title: numbers.title, x, y, frames, along })
    }

    /// The scale goes as far on both sides of its centre as the numbers do, unless told otherwise.
    fn color_bar(&self, looks: &Looks) -> Result<ColorBar> {
        let center = looks.center.unwrap_or(0.0);
        let all = self.values.iter().chain(self.frames.iter().flatten());
        let most = all.fold(0.0_f64, |most, &value| most.max((f64::from(value) - center).abs()));
        let limit = looks.limit.unwrap_or(if most > 0.0 { most } else { 1.0 });
        if !(center.is_finite() && limit.is_finite() && limit > 0.0) {
            return Err(Error::argument(format!(
                "the colours cannot go {limit} around {center}: give `limit` a number above 0 and `center` a finite one."
            )));
        }
        let title = looks.value_label(looks.color_label.as_ref(), &self.title);
        Ok(ColorBar { title, center, limit, one_sided: looks.one_sided })
    }

    /// About square cells, neither too flat nor longer than a screen.
    fn height(&self, width: usize) -> usize {
        let (rows, columns) = self.values.dim();
        let side = width.saturating_sub(SIDES) as f64 / columns as f64;
        (rows as f64 * side).clamp(120.0, 720.0) as usize + ENDS
    }
}

impl Grid {
    /// A name for each frame: as asked for, or the labels of their axis.
    fn frame_names(&self, looks: &Looks) -> Result<Vec<String>> {
        if self.frames.is_empty() {
            return Ok(Vec::new());
        }
        match labels(looks.names.as_ref(), &self.along.labels, self.frames.len(), "names", "frames")? {
            Scale::Labels(names) => Ok(names),
            Scale::Numbers(..) => Ok(Vec::new()),
        }
    }
}

/// The frames for plotly.js, and the slider and button that go through them.
fn animate(frames: &[Array2<f32>], names: &[String], along: &str, spec: &mut Value) {
    let at_once = |milliseconds: usize| {
        json!({ "mode": "immediate", "transition": { "duration": 0 },
            "frame": { "duration": milliseconds, "redraw": true } })
    };
    let rows = |frame: &Array2<f32>| frame.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
    // Names of frames are places: two labels may be equal.
    let each = frames.iter().enumerate();
    spec["frames"] = each.map(|(i, frame)| json!({ "name": i.to_string(), "data": [{ "z": rows(frame) }] })).collect();
    let step = |(i, name): (usize, &String)| json!({ "label": plain(name), "method": "animate", "args": [[i.to_string()], at_once(0)] });
    let prefix = if along.is_empty() { String::new() } else { format!("{}: ", plain(along)) };
    spec["layout"]["sliders"] = json!([{
        "steps": names.iter().enumerate().map(step).collect::<Vec<_>>(),
        "currentvalue": { "prefix": prefix }, "pad": { "t": 60 }, "x": 0.12, "len": 0.88,
    }]);
    spec["layout"]["updatemenus"] = json!([{
        "type": "buttons", "showactive": false, "x": 0.08, "y": 0, "xanchor": "right", "yanchor": "top",
        "pad": { "t": 70 }, "bgcolor": "rgba(128,128,128,0.2)",
        "buttons": [{ "label": "▶", "method": "animate", "args": [null, at_once(500)] }],
    }]);
}

/// Labels as asked for or as the numbers bring them, else 0, 1, 2 and so on.
fn labels(asked: Option<&Vec<String>>, own: &[String], count: usize, method: &str, places: &str) -> Result<Scale> {
    let labels = match asked {
        Some(asked) => asked.clone(),
        None if own.is_empty() => (0..count).map(|place| place.to_string()).collect(),
        None => own.to_vec(),
    };
    one_each(&labels, count, method, places)?;
    Ok(Scale::Labels(labels))
}

impl Chart for Grid {
    fn drawing(&self, looks: &Looks) -> Result<Drawing> {
        if self.frames.is_empty() {
            not_for(looks.names.as_ref(), "names", "imshow", "`x_ticks` and `y_ticks` label its columns and rows")?;
            looks.only("imshow", &["cell_text", "center", "limit"])?;
        } else {
            looks.only("imshow_animation", &["center", "limit"])?;
        }
        if let Some(texts) = &looks.cell_text {
            one_each(texts, self.values.len(), "cell_text", "cells")?;
        }
        let (rows, columns) = self.values.dim();
        let width = looks.width.unwrap_or(600);
        let or_own = |asked: &Option<String>, own: &String| asked.clone().unwrap_or_else(|| own.clone());
        Drawing {
            what: match self.frames.len() {
                0 => format!("heat map of {rows} rows and {columns} columns"),
                frames => format!("{frames} heat maps of {rows} rows and {columns} columns"),
            },
            title: or_own(&looks.title, &self.title),
            x: PlotAxis {
                title: or_own(&looks.x_label, &self.x.name),
                scale: labels(looks.x_ticks.as_ref(), &self.x.labels, columns, "x_ticks", "columns")?,
            },
            y: PlotAxis {
                title: or_own(&looks.y_label, &self.y.name),
                scale: labels(looks.y_ticks.as_ref(), &self.y.labels, rows, "y_ticks", "rows")?,
            },
            names: Vec::new(),
            color_bar: Some(self.color_bar(looks)?),
            hovermode: looks.hovermode.clone().unwrap_or(HoverMode::Closest),
            width,
            height: looks
                .height
                .unwrap_or_else(|| self.height(width) + if self.frames.is_empty() { 0 } else { SLIDER }),
            extras: Extras {
                words: looks.cell_text.clone().unwrap_or_default(),
                frames: self.frame_names(looks)?,
                ..Extras::default()
            },
        }
        .check_size()
    }

    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let (Scale::Labels(x), Scale::Labels(y)) = (&drawing.x.scale, &drawing.y.scale) else { return Vec::new() };
        let z: Vec<Vec<f32>> = self.values.rows().into_iter().map(|row| row.to_vec()).collect();
        let Some(bar) = drawing.color_bar.clone() else { return Vec::new() };
        let (low, high) = bar.range();
        let colors = if bar.one_sided { &RED_BLUE[RED_BLUE.len() / 2..] } else { &RED_BLUE[..] };
        let last = (colors.len() - 1) as f64;
        let stops = colors.iter().enumerate().map(|(i, color)| ColorScaleElement(i as f64 / last, color.to_hex()));
        let named = |title: &str, otherwise: &str| plain(if title.is_empty() { otherwise } else { title });
        let hover = format!(
            "{} %{{y}}<br>{} %{{x}}<br>{} %{{z:.4~g}}<extra></extra>",
            named(&drawing.y.title, "row"),
            named(&drawing.x.title, "column"),
            named(&bar.title, "value"),
        );
        let gap = if self.values.len() <= 24 * 24 { 1.0 } else { 0.0 };
        vec![
            HeatMap::new(categories(x), categories(y), z)
                .zmin(low)
                .zmax(high)
                .color_scale(ColorScale::Vector(stops.collect()))
                .color_bar(
                    Bar::new()
                        .title(Title::with_text(plain(&bar.title)).side(Side::Right))
                        .outline_width(0)
                        .thickness(14),
                )
                .hover_template(hover)
                .x_gap(gap)
                .y_gap(gap),
        ]
    }

    fn finish(&self, drawing: &Drawing, spec: &mut Value) {
        if !self.frames.is_empty() {
            animate(&self.frames, &drawing.extras.frames, &self.along.name, spec);
        }
        if !drawing.extras.words.is_empty() {
            let rows = drawing.extras.words.chunks(self.values.ncols());
            spec["data"][0]["text"] = rows.map(|row| row.iter().map(|text| plain(text)).collect::<Vec<_>>()).collect();
            spec["data"][0]["texttemplate"] = json!("%{text}");
        }
    }

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let Some(bar) = &drawing.color_bar else { return };
        for ((row, column), &value) in self.values.indexed_iter() {
            let (left, right) = (frame.x(column as f64 - 0.5), frame.x(column as f64 + 0.5));
            let (top, bottom) = (frame.y(row as f64 - 0.5), frame.y(row as f64 + 0.5));
            let gap = if right - left > 12.0 && bottom - top > 12.0 { 0.5 } else { 0.0 };
            let color = bar.color(f64::from(value));
            canvas.rectangle((left + gap, top + gap), (right - gap, bottom - gap), color);
            if let Some(text) = drawing.extras.words.get(row * self.values.ncols() + column) {
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
        heat_map(self.values.view(), limit, (&drawing.y.title, y), (&drawing.x.title, x))
    }
}
