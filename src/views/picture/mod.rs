//! Still pictures: what a figure shows where no script runs. Drawn with tiny-skia on a transparent ground, with ink
//! that can be read on a light and on a dark page.

mod font;
mod frame;
mod png;

pub(in crate::views) use frame::Frame;
pub(in crate::views) use png::indexed as indexed_png;

use tiny_skia::{FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};

use crate::error::{Error, Result};
use crate::views::figure::{Chart, Color, Drawing, INK};

/// Picture pixels for each pixel of the page: sharp on fine screens too.
const FINENESS: f32 = 2.0;

/// The whole figure as a PNG file.
pub(in crate::views) fn png_of(chart: &dyn Chart, drawing: &Drawing) -> Result<Vec<u8>> {
    let mut canvas = Canvas::new(drawing.width, drawing.height)?;
    let frame = Frame::new(drawing);
    frame.paint_grid(&mut canvas);
    chart.paint(drawing, &mut canvas, &frame);
    frame.paint_words(drawing, &mut canvas);
    png::encode(&canvas.pixels)
}

/// Where a text stands relative to its point, which is always at half its height.
#[derive(Clone, Copy)]
pub(in crate::views) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text is turned.
#[derive(Clone, Copy)]
pub(in crate::views) enum Turn {
    Level,
    /// Read from top to bottom.
    Down,
    /// Read from bottom to top.
    Up,
}

/// A picture under work. All measures are pixels of the page, from its upper left corner.
pub(in crate::views) struct Canvas {
    pixels: Pixmap,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Result<Self> {
        let fine = |pixels: usize| (pixels as f32 * FINENESS) as u32;
        let pixels = Pixmap::new(fine(width), fine(height)).ok_or_else(|| {
            Error::argument(format!("there is no memory for a picture of {width} x {height} pixels: make it smaller."))
        })?;
        Ok(Self { pixels })
    }

    /// A filled rectangle from its upper left to its lower right corner.
    pub fn rectangle(&mut self, from: (f32, f32), to: (f32, f32), color: Color) {
        if let Some(rectangle) = Rect::from_ltrb(from.0, from.1, to.0, to.1) {
            // Edges fall between pixels; smoothed, they would leave a seam between cells that touch.
            let paint = Paint { anti_alias: false, ..paint(color, 255) };
            self.pixels.fill_rect(rectangle, &paint, transform(), None);
        }
    }

    /// A line through `points`.
    pub fn line(&mut self, points: &[(f32, f32)], width: f32, color: Color) {
        self.stroke(points, width, color, 255);
    }

    /// A line that stays in the background.
    pub fn faint_line(&mut self, from: (f32, f32), to: (f32, f32)) {
        self.stroke(&[from, to], 1.0, INK, 68);
    }

    fn stroke(&mut self, points: &[(f32, f32)], width: f32, color: Color, alpha: u8) {
        let mut path = PathBuilder::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        if let Some(path) = path.finish() {
            self.pixels.stroke_path(&path, &paint(color, alpha), &stroke, transform(), None);
        }
    }

    /// A filled circle.
    pub fn dot(&mut self, center: (f32, f32), radius: f32, color: Color) {
        if let Some(path) = PathBuilder::from_circle(center.0, center.1, radius) {
            self.pixels.fill_path(&path, &paint(color, 255), FillRule::Winding, transform(), None);
        }
    }

    /// `text` at `at`, in ink.
    pub fn text(&mut self, text: &str, at: (f32, f32), size: f32, anchor: Anchor, turn: Turn) {
        let width = font::width(text, size);
        let shift = match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let degrees = match turn {
            Turn::Level => 0.0,
            Turn::Down => 90.0,
            Turn::Up => -90.0,
        };
        // Capital letters are about 0.72 of the size high.
        let place = transform().pre_translate(at.0, at.1).pre_concat(Transform::from_rotate(degrees));
        if let Some(path) = font::outline(text, size) {
            let place = place.pre_translate(shift, 0.36 * size);
            self.pixels.fill_path(&path, &paint(INK, 255), FillRule::Winding, place, None);
        }
    }
}

fn transform() -> Transform {
    Transform::from_scale(FINENESS, FINENESS)
}

fn paint(color: Color, alpha: u8) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(color.0, color.1, color.2, alpha);
    paint
}
