//! `imshow`: a matrix as a heat map, as ARENA's `plotly_utils.imshow`.

use ndarray::{Array2, Ix2};
use plotly::common::{ColorBar as Bar, ColorScale, ColorScaleElement, Side, Title};
use plotly::layout::HoverMode;
use plotly::{HeatMap, Trace};

use crate::error::{Error, Result};
use crate::labelled::Axis;
use crate::views::figure::Figure;
use crate::views::figure::color::{RED_BLUE, red_blue};
use crate::views::figure::drawing::{
    Axis as PlotAxis, Chart, ColorBar, Drawing, Looks, Scale, check_values, not_for, one_each,
};
use crate::views::figure::plot::{categories, plain};
use crate::views::figure::text::heat_map;
use crate::views::picture::{Canvas, Frame};
use crate::views::source::Source;

/// What stands beside the cells: row labels, scale, axis titles.
const SIDES: usize = 160;
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

/// The numbers of a heat map.
#[derive(Debug)]
struct Grid {
    /// `[row, column]`.
    values: Array2<f32>,
    /// What the numbers are.
    title: String,
    x: Axis,
    y: Axis,
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
        Ok(Self { values, title: numbers.title, x, y })
    }

    /// The largest size of a value: the scale goes as far on both sides of zero.
    fn limit(&self) -> f64 {
        let most = self.values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        if most > 0.0 { f64::from(most) } else { 1.0 }
    }

    /// About square cells, neither too flat nor longer than a screen.
    fn height(&self, width: usize) -> usize {
        let (rows, columns) = self.values.dim();
        let side = width.saturating_sub(SIDES) as f64 / columns as f64;
        (rows as f64 * side).clamp(120.0, 720.0) as usize + ENDS
    }
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
        not_for(looks.names.as_ref(), "names", "imshow", "`x_ticks` and `y_ticks` label its columns and rows")?;
        let (rows, columns) = self.values.dim();
        let width = looks.width.unwrap_or(600);
        let or_own = |asked: &Option<String>, own: &String| asked.clone().unwrap_or_else(|| own.clone());
        Drawing {
            what: format!("heat map of {rows} rows and {columns} columns"),
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
            color_bar: Some(ColorBar {
                title: looks.value_label(looks.color_label.as_ref(), &self.title),
                limit: self.limit(),
            }),
            hovermode: looks.hovermode.clone().unwrap_or(HoverMode::Closest),
            width,
            height: looks.height.unwrap_or_else(|| self.height(width)),
        }
        .check_size()
    }

    fn traces(&self, drawing: &Drawing) -> Vec<Box<dyn Trace>> {
        let (Scale::Labels(x), Scale::Labels(y)) = (&drawing.x.scale, &drawing.y.scale) else { return Vec::new() };
        let z: Vec<Vec<f32>> = self.values.rows().into_iter().map(|row| row.to_vec()).collect();
        let last = (RED_BLUE.len() - 1) as f64;
        let stops = RED_BLUE.iter().enumerate().map(|(i, color)| ColorScaleElement(i as f64 / last, color.to_hex()));
        let bar = drawing.color_bar.clone().unwrap_or(ColorBar { title: String::new(), limit: self.limit() });
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
                .zmin(-bar.limit)
                .zmax(bar.limit)
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

    fn paint(&self, drawing: &Drawing, canvas: &mut Canvas, frame: &Frame) {
        let limit = drawing.color_bar.as_ref().map_or(1.0, |bar| bar.limit);
        for ((row, column), &value) in self.values.indexed_iter() {
            let (left, right) = (frame.x(column as f64 - 0.5), frame.x(column as f64 + 0.5));
            let (top, bottom) = (frame.y(row as f64 - 0.5), frame.y(row as f64 + 0.5));
            let gap = if right - left > 12.0 && bottom - top > 12.0 { 0.5 } else { 0.0 };
            let color = red_blue(f64::from(value) / limit);
            canvas.rectangle((left + gap, top + gap), (right - gap, bottom - gap), color);
        }
    }

    fn text(&self, drawing: &Drawing) -> Result<String> {
        let (Scale::Labels(x), Scale::Labels(y)) = (&drawing.x.scale, &drawing.y.scale) else {
            return Ok(String::new());
        };
        let limit = drawing.color_bar.as_ref().map_or(1.0, |bar| bar.limit);
        heat_map(self.values.view(), limit, (&drawing.y.title, y), (&drawing.x.title, x))
    }
}
