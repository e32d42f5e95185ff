//! The axes of a still picture: where the marks go, and the words around them.

use crate::views::figure::{Axis, Drawing, Scale, band_color, half_room, notes_height, paint_notes, series_color};
use crate::views::html::visible;
use crate::views::number::{number, round_steps};
use crate::views::picture::{Anchor, Canvas, Turn, font};

/// Letter size of labels and of the title.
const SIZE: f32 = 12.0;
const TITLE_SIZE: f32 = 16.0;
/// Room that a line of labels needs.
const LINE: f32 = 15.0;
/// Labels longer than this end in "…".
const LONGEST: usize = 20;

/// The rectangle of the marks, and what is along its sides.
pub(in crate::views) struct Frame {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
    x_range: (f64, f64),
    y_range: (f64, f64),
    x_ticks: Vec<(f64, String)>,
    y_ticks: Vec<(f64, String)>,
    /// The axis at the right.
    y2_range: (f64, f64),
    y2_ticks: Vec<(f64, String)>,
    /// Whether the labels below are turned, because they are wider than their places.
    turned: bool,
    /// Lines at the ticks, for axes with numbers.
    x_lines: bool,
    y_lines: bool,
}

impl Frame {
    /// Makes room for everything around the marks.
    pub fn new(drawing: &Drawing) -> Self {
        let (width, height) = (drawing.width as f32, drawing.height as f32);
        let title = if drawing.title.is_empty() { 14.0 } else { 46.0 };
        let top = title + notes_height(&drawing.notes, drawing.width) as f32;
        let title_room = |axis: &Axis| if axis.title.is_empty() { 4.0 } else { 24.0 };
        let y_ticks = ticks(&drawing.y.scale, height - top - 60.0, LINE, 50.0);
        let left = title_room(&drawing.y) + widest(&y_ticks) + 10.0;
        let y2_ticks = drawing
            .extras
            .y2
            .as_ref()
            .map_or_else(Vec::new, |axis| ticks(&axis.scale, height - top - 60.0, LINE, 50.0));
        let y2_room = if y2_ticks.is_empty() { 0.0 } else { widest(&y2_ticks) + 28.0 };
        let right = (width - side_room(drawing) - y2_room).max(left + 20.0);
        let flat = ticks(&drawing.x.scale, right - left, 0.0, 80.0);
        let turned = matches!(&drawing.x.scale, Scale::Labels(labels)
            if widest(&flat) + 6.0 > (right - left) / labels.len() as f32);
        let x_ticks = if turned { ticks(&drawing.x.scale, right - left, LINE, 80.0) } else { flat };
        let label_room = if turned { widest(&x_ticks) + 10.0 } else { LINE + 6.0 };
        let bottom = (height - title_room(&drawing.x) - label_room).max(top + 20.0);
        let (y_low, y_high) = range(&drawing.y.scale);
        Self {
            left,
            top,
            right,
            bottom,
            x_range: range(&drawing.x.scale),
            // Rows count from the top, numbers from the bottom.
            y_range: if is_labels(&drawing.y) { (y_high, y_low) } else { (y_low, y_high) },
            x_ticks,
            y_ticks,
            y2_range: drawing.extras.y2.as_ref().map_or((0.0, 1.0), |axis| range(&axis.scale)),
            y2_ticks,
            turned,
            x_lines: !is_labels(&drawing.x),
            y_lines: !is_labels(&drawing.y),
        }
    }

    /// Left, top, right and bottom of the marks' rectangle.
    pub fn area(&self) -> [f32; 4] {
        [self.left, self.top, self.right, self.bottom]
    }

    /// Where `value` is on the horizontal axis.
    pub fn x(&self, value: f64) -> f32 {
        place(value, self.x_range, self.left, self.right)
    }

    /// Where `value` is on the vertical axis.
    pub fn y(&self, value: f64) -> f32 {
        place(value, self.y_range, self.bottom, self.top)
    }

    /// Where `value` is on the vertical axis at the right.
    pub fn y2(&self, value: f64) -> f32 {
        place(value, self.y2_range, self.bottom, self.top)
    }

    /// The bands and lines behind the marks.
    pub(super) fn paint_grid(&self, drawing: &Drawing, canvas: &mut Canvas) {
        for (i, band) in drawing.extras.bands.iter().enumerate() {
            let (left, right) = (self.x(band.from).max(self.left), self.x(band.to).min(self.right));
            canvas.faint_rectangle((left, self.top), (right, self.bottom), band_color(i), 51);
            let middle = ((left + right) / 2.0, self.top + 10.0);
            canvas.text(&short(&band.name), middle, SIZE, Anchor::Middle, Turn::Level);
        }
        if self.y_lines {
            for &(value, _) in &self.y_ticks {
                canvas.faint_line((self.left, self.y(value)), (self.right, self.y(value)));
            }
        }
        if self.x_lines {
            for &(value, _) in &self.x_ticks {
                canvas.faint_line((self.x(value), self.top), (self.x(value), self.bottom));
            }
        }
    }

    /// Title, labels, and the legend or colour scale.
    pub(super) fn paint_words(&self, drawing: &Drawing, canvas: &mut Canvas) {
        let (middle_x, middle_y) = ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0);
        let (width, height) = (drawing.width as f32, drawing.height as f32);
        let title = visible(&drawing.title);
        let size = TITLE_SIZE.min(TITLE_SIZE * (width - 20.0) / font::width(&title, TITLE_SIZE).max(1.0));
        let start = self.left.min(width - 10.0 - font::width(&title, size));
        canvas.text(&title, (start, 24.0), size, Anchor::Start, Turn::Level);
        let below = if drawing.title.is_empty() { 4.0 } else { 36.0 };
        paint_notes(&drawing.notes, drawing.width, below, canvas);
        canvas.text(&visible(&drawing.x.title), (middle_x, height - 12.0), SIZE, Anchor::Middle, Turn::Level);
        canvas.text(&visible(&drawing.y.title), (12.0, middle_y), SIZE, Anchor::Middle, Turn::Up);
        for (value, label) in &self.y_ticks {
            canvas.text(label, (self.left - 6.0, self.y(*value)), SIZE, Anchor::End, Turn::Level);
        }
        for (value, label) in &self.x_ticks {
            if self.turned {
                canvas.text(label, (self.x(*value), self.bottom + 6.0), SIZE, Anchor::Start, Turn::Down);
            } else {
                canvas.text(label, (self.x(*value), self.bottom + 13.0), SIZE, Anchor::Middle, Turn::Level);
            }
        }
        for (value, label) in &self.y2_ticks {
            canvas.text(label, (self.right + 6.0, self.y2(*value)), SIZE, Anchor::Start, Turn::Level);
        }
        if let Some(axis) = &drawing.extras.y2 {
            let at = (self.right + widest(&self.y2_ticks) + 18.0, middle_y);
            canvas.text(&visible(&axis.title), at, SIZE, Anchor::Middle, Turn::Up);
        }
        self.paint_legend(drawing, canvas);
        self.paint_color_bar(drawing, canvas);
    }

    fn paint_legend(&self, drawing: &Drawing, canvas: &mut Canvas) {
        let lines = ((self.bottom - self.top) / 18.0) as usize;
        let side = if self.y2_ticks.is_empty() { self.right } else { self.right + widest(&self.y2_ticks) + 28.0 };
        for (i, name) in drawing.names.iter().take(lines).enumerate() {
            let y = self.top + 10.0 + 18.0 * i as f32;
            canvas.line(&[(side + 14.0, y), (side + 32.0, y)], 2.0, series_color(i));
            canvas.text(&short(name), (side + 38.0, y), SIZE, Anchor::Start, Turn::Level);
        }
    }

    fn paint_color_bar(&self, drawing: &Drawing, canvas: &mut Canvas) {
        let Some(bar) = &drawing.color_bar else { return };
        const STEPS: usize = 64;
        let (low, high) = bar.range();
        let step = (self.bottom - self.top) / STEPS as f32;
        let (left, right) = (self.right + 16.0, self.right + 30.0);
        for i in 0..STEPS {
            let value = high - (high - low) * (i as f64 + 0.5) / STEPS as f64;
            let top = self.top + step * i as f32;
            canvas.rectangle((left, top), (right, top + step), bar.color(value));
        }
        for (value, y) in
            [(high, self.top + 5.0), ((low + high) / 2.0, (self.top + self.bottom) / 2.0), (low, self.bottom - 5.0)]
        {
            canvas.text(&number(value), (right + 6.0, y), SIZE, Anchor::Start, Turn::Level);
        }
        let end = (drawing.width as f32 - 6.0, self.top - 10.0);
        canvas.text(&short(&bar.title), end, SIZE, Anchor::End, Turn::Level);
    }
}

fn is_labels(axis: &Axis) -> bool {
    matches!(axis.scale, Scale::Labels(_))
}

/// Half a place beyond the first and last label, so that cells fit.
fn range(scale: &Scale) -> (f64, f64) {
    match scale {
        Scale::Labels(labels) => (-0.5, labels.len() as f64 - 0.5),
        Scale::Numbers(low, high) if high > low => (*low, *high),
        Scale::Numbers(low, _) => (low - half_room(*low), low + half_room(*low)),
    }
}

fn place(value: f64, range: (f64, f64), from: f32, to: f32) -> f32 {
    let part = (value - range.0) / (range.1 - range.0);
    from + part as f32 * (to - from)
}

/// What is written along an axis of `length`: labels at least `apart` from each other, or round numbers about
/// `spread` apart.
fn ticks(scale: &Scale, length: f32, apart: f32, spread: f32) -> Vec<(f64, String)> {
    match scale {
        Scale::Labels(labels) => {
            let step = (apart * labels.len() as f32 / length.max(1.0)).ceil().max(1.0) as usize;
            labels.iter().enumerate().step_by(step).map(|(i, label)| (i as f64, short(label))).collect()
        }
        Scale::Numbers(..) => {
            let (low, high) = range(scale);
            let (values, decimals) = round_steps(low, high, (length / spread) as usize);
            let is_long = decimals > 6 || low.abs().max(high.abs()) >= 1e7;
            let written = |value: f64| if is_long { number(value) } else { format!("{value:.decimals$}") };
            values.into_iter().map(|value| (value, written(value))).collect()
        }
    }
}

fn widest(ticks: &[(f64, String)]) -> f32 {
    ticks.iter().map(|(_, label)| font::width(label, SIZE)).fold(0.0, f32::max)
}

/// What is at the right: the legend, the colour scale or a margin.
fn side_room(drawing: &Drawing) -> f32 {
    let names = drawing.names.iter().map(|name| font::width(&short(name), SIZE)).fold(0.0, f32::max);
    let bar = drawing.color_bar.as_ref().map(|bar| 42.0 + font::width(&number(bar.range().0), SIZE).max(24.0));
    if drawing.names.is_empty() { bar.unwrap_or(20.0) } else { 50.0 + names }
}

/// A label on one line, not too long.
fn short(label: &str) -> String {
    let label = visible(label);
    if label.chars().count() <= LONGEST {
        return label;
    }
    label.chars().take(LONGEST - 1).chain(['…']).collect()
}
