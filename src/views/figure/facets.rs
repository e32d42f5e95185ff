//! Heat maps side by side on one scale: plotly express' `imshow(facet_col=0)`, each facet with its own name.

use ndarray::{ArrayD, Axis as NdAxis};

use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::views::figure::drawing::{Drawing, Looks, check_values, one_each};
use crate::views::figure::{Figure, HeatMap, imshow, texts};
use crate::views::html::{escape, visible};
use crate::views::page::{Rendered, View};
use crate::views::picture::{self, Anchor, Canvas, Turn};
use crate::views::source::{Numbers, Source};

/// The largest width or height of a picture of all facets, in pixels.
const LARGEST: usize = 10_000;

/// The largest width of a picture of all facets, in pixels, unless a single facet is wider.
const SHEET: usize = 1200;

/// Heat maps side by side on one scale. Made by [`imshow_facets`]; its builder methods change how it looks: the title
/// is above all of them, the width and the height are each facet's, and `max_bytes` is the limit for all together.
///
/// ```
/// use candle_lens::prelude::*;
/// let two = ndarray::Array3::from_shape_fn((2, 3, 4), |(f, r, c)| (f + r) as f32 - c as f32);
/// let drawn = imshow_facets(&two).names(["resid_pre", "attn_out"]).x_label("Position").y_label("Layer");
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("attn_out"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "facets appear as the last expression of a cell or by their method `show`"]
pub struct Facets {
    /// The numbers, or the sentence that says why there are none.
    numbers: std::result::Result<Numbers, String>,
    /// The ends of their intervals, where there are intervals.
    intervals: Option<[ArrayD<f32>; 2]>,
    names: Option<Vec<String>>,
    x_ticks: Option<Vec<String>>,
    y_ticks: Option<Vec<String>>,
    /// Of each facet, but for the title, which is the line above all of them, and the size, which is that of all.
    pub(super) looks: Looks,
}

/// The default width of a facet, in pixels.
const WIDTH: usize = 380;

/// A heat map for each index of the first axis, in its order, on one scale.
///
/// # Shapes
/// `[facet, row, column]`.
///
/// # Errors
/// Reported when the facets are shown: another shape, no numbers.
pub fn imshow_facets(matrices: impl Source) -> Facets {
    let both = matrices.numbers().and_then(|numbers| Ok((numbers, matrices.intervals()?)));
    let (numbers, intervals) = match both {
        Ok((numbers, intervals)) => (Ok(numbers), intervals),
        Err(error) => (Err(error.sentence()), None),
    };
    Facets { numbers, intervals, names: None, x_ticks: None, y_ticks: None, looks: Looks::default() }
}

impl Facets {
    /// A name for each facet; the default is the labels of the result's first axis.
    pub fn names<T: ToString>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.names = Some(texts(names));
        self
    }

    /// A label for each column.
    pub fn x_ticks<T: ToString>(mut self, labels: impl IntoIterator<Item = T>) -> Self {
        self.x_ticks = Some(texts(labels));
        self
    }

    /// A label for each row, from the top.
    pub fn y_ticks<T: ToString>(mut self, labels: impl IntoIterator<Item = T>) -> Self {
        self.y_ticks = Some(texts(labels));
        self
    }

    /// All of them as one still picture: the bytes of a PNG file.
    ///
    /// # Errors
    /// Whatever makes them impossible to draw.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let sheet = self.sheet()?;
        picture::png_by(sheet.size.0, sheet.size.1, |canvas| sheet.paint(canvas))
    }

    /// All of them as one picture in SVG, whose words are text.
    ///
    /// # Errors
    /// As [`Facets::to_png`].
    pub fn to_svg(&self) -> Result<String> {
        let sheet = self.sheet()?;
        Ok(picture::svg_by(sheet.size, &sheet.title, |canvas| sheet.paint(canvas)))
    }

    fn heading(&self) -> String {
        let own = self.numbers.as_ref().map(|numbers| numbers.title.as_str()).unwrap_or_default();
        visible(self.looks.title.as_deref().unwrap_or(own))
    }

    /// The width of each facet in pixels.
    fn each(&self) -> usize {
        self.looks.width.unwrap_or(WIDTH)
    }

    fn sheet(&self) -> Result<Sheet> {
        let figures: Vec<Figure> = self.figures()?.into_iter().map(Figure::from).collect();
        let drawings =
            figures.iter().map(|figure| Ok(figure.drawing()?.1.by_itself())).collect::<Result<Vec<Drawing>>>()?;
        let height = drawings.iter().map(|drawing| drawing.height).max().unwrap_or(0);
        let columns = (SHEET / self.each().max(1)).clamp(1, figures.len());
        let title = self.heading();
        let top = if title.is_empty() { 0 } else { 32 };
        let size = (columns * drawings[0].width, top + figures.len().div_ceil(columns) * height);
        if size.0.max(size.1) > LARGEST {
            return Err(Error::argument(format!(
                "{} facets make a picture of {} x {} pixels, but {LARGEST} is the maximum: save some of them, or each \
                 separately (Facets::figures), or make them smaller (width).",
                figures.len(),
                size.0,
                size.1
            )));
        }
        let place = |i: usize| ((i % columns * drawings[0].width) as f32, (top + i / columns * height) as f32);
        Ok(Sheet { size, title, figures: figures.into_iter().enumerate().map(|(i, f)| (place(i), f)).collect() })
    }

    /// One figure for each facet, to save or to change.
    ///
    /// # Errors
    /// Whatever makes them impossible to draw.
    pub fn figures(&self) -> Result<Vec<HeatMap>> {
        let numbers = self.numbers.as_ref().map_err(Error::argument)?;
        check_values("imshow_facets", &numbers.values)?;
        let [facets, ..] = numbers.values.shape()[..] else { return Err(wrong_shape(numbers)) };
        if numbers.values.ndim() != 3 {
            return Err(wrong_shape(numbers));
        }
        let own = &numbers.axes[0];
        let names = match &self.names {
            Some(names) => names.clone(),
            None if own.labels.is_empty() => (0..facets).map(|facet| facet.to_string()).collect(),
            None => own.labels.iter().map(|label| format!("{} {label}", own.name).trim().to_owned()).collect(),
        };
        one_each(&names, facets, "names", "facets")?;
        let most =
            numbers.values.iter().filter(|value| value.is_finite()).fold(0.0_f32, |most, value| most.max(value.abs()));
        let facet = |(i, name): (usize, &String)| {
            let values = numbers.values.index_axis(NdAxis(0), i).to_owned();
            let axes = numbers.axes[1..].to_vec();
            let labelled = axes.iter().zip(values.shape()).all(|(axis, &size)| axis.labels.len() == size);
            let flat: Vec<f32> = values.iter().copied().collect();
            let figure = if labelled { imshow(Labelled::new("", axes, flat)?) } else { imshow(values) };
            let figure = match &self.intervals {
                Some(ends) => {
                    let [low, high] = ends.each_ref().map(|ends| ends.index_axis(NdAxis(0), i).to_owned());
                    figure.intervals(low, high)
                }
                None => figure,
            };
            let limit = if most > 0.0 { f64::from(most) } else { 1.0 };
            let looks = Looks {
                title: Some(name.clone()),
                width: Some(self.each()),
                max_bytes: Some(self.looks.max_bytes() / facets),
                ..self.looks.clone()
            };
            let figure = HeatMap { looks, ..figure.limit(limit) };
            let figure = self.x_ticks.iter().fold(figure, HeatMap::x_ticks);
            Ok(self.y_ticks.iter().fold(figure, HeatMap::y_ticks))
        };
        names.iter().enumerate().map(facet).collect()
    }
}

/// All facets on one picture.
struct Sheet {
    size: (usize, usize),
    title: String,
    figures: Vec<((f32, f32), Figure)>,
}

impl Sheet {
    fn paint(&self, canvas: &mut Canvas) {
        canvas.text(&self.title, (12.0, 16.0), 16.0, Anchor::Start, Turn::Level);
        for (place, figure) in &self.figures {
            // All are drawings of one shape: what the first can be, the others can.
            let Ok((chart, drawing)) = figure.drawing() else { continue };
            canvas.at(*place, |canvas| picture::paint_all(chart, &drawing.by_itself(), canvas));
        }
    }
}

fn wrong_shape(numbers: &Numbers) -> Error {
    Error::argument(format!(
        "`imshow_facets` draws heat maps side by side, but it was given the shape {:?}: give [facet, row, column].",
        numbers.values.shape()
    ))
}

impl View for Facets {
    fn render(&self) -> Result<Rendered> {
        let figures = self.figures()?;
        let title = self.heading();
        let mut all = Rendered::default();
        for figure in &figures {
            let mut part = figure.render()?;
            part.html = format!("<div style=\"flex:0 1 {}px;min-width:0\">{}</div>", self.each(), part.html);
            all.append(&part);
        }
        let heading = match &*title {
            "" => String::new(),
            title => format!("<div style=\"font-weight:600;font-size:16px;margin:4px 0\">{}</div>", escape(title)),
        };
        all.html = format!("{heading}<div style=\"display:flex;flex-wrap:wrap\">{}</div>", all.html);
        all.text = format!("{title}\n{}", all.text).trim_start_matches('\n').to_owned();
        Ok(all)
    }
}
