//! Still pictures: what a figure shows where no script runs. Drawn with tiny-skia on a transparent background, with ink
//! that can be read on a light and on a dark page.

mod font;
mod frame;
mod png;

pub(in crate::views) use frame::Frame;
pub(in crate::views) use png::indexed as indexed_png;

use tiny_skia::{FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};

use crate::error::{Error, Result};
use crate::views::figure::{Chart, Color, Drawing, INK};
use crate::views::html::{escape, visible};

/// Picture pixels for each pixel of the page, so that pictures are sharp on high-resolution screens.
const FINENESS: f32 = 2.0;

/// How many points of a line are drawn at once.
const PIECE: usize = 128;

/// The whole figure as a PNG file.
pub(in crate::views) fn png_of(chart: &dyn Chart, drawing: &Drawing) -> Result<Vec<u8>> {
    png_by(drawing.width, drawing.height, |canvas| paint_all(chart, drawing, canvas))
}

/// What `paint` paints on a picture of this size, as a PNG file.
pub(in crate::views) fn png_by(width: usize, height: usize, paint: impl FnOnce(&mut Canvas)) -> Result<Vec<u8>> {
    let mut canvas = Canvas::new(width, height)?;
    paint(&mut canvas);
    match canvas.surface {
        Surface::Pixels(pixels) => png::encode(&pixels),
        Surface::Svg(_) => Ok(Vec::new()),
    }
}

/// The whole figure as an SVG file.
pub(in crate::views) fn svg_of(chart: &dyn Chart, drawing: &Drawing) -> String {
    svg_by((drawing.width, drawing.height), &drawing.description(), |canvas| paint_all(chart, drawing, canvas))
}

/// What `paint` paints, as an SVG file. Its words are text, in whatever font the reader has.
pub(in crate::views) fn svg_by(
    (width, height): (usize, usize),
    description: &str,
    paint: impl FnOnce(&mut Canvas),
) -> String {
    let mut canvas = Canvas { surface: Surface::Svg(String::new()), origin: (0.0, 0.0) };
    paint(&mut canvas);
    let marks = match canvas.surface {
        Surface::Svg(marks) => marks,
        Surface::Pixels(_) => String::new(),
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" \
         font-family=\"DejaVu Sans, Verdana, sans-serif\">\n{marks}</svg>\n",
        escape(&visible(description))
    )
}

/// How wide a text is, in pixels of the page.
pub(in crate::views) fn text_width(text: &str, size: f32) -> f32 {
    font::width(text, size)
}

/// A figure, from the canvas' origin.
pub(in crate::views) fn paint_all(chart: &dyn Chart, drawing: &Drawing, canvas: &mut Canvas) {
    let frame = Frame::new(drawing);
    frame.paint_grid(drawing, canvas);
    chart.paint(drawing, canvas, &frame);
    frame.paint_words(drawing, canvas);
}

/// The alignment of a text relative to its point, which is always at half its height.
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
    surface: Surface,
    /// Where on the page its upper left corner is.
    origin: (f32, f32),
}

/// What is painted on.
enum Surface {
    Pixels(Pixmap),
    /// The elements so far, a line each.
    Svg(String),
}

impl Canvas {
    fn new(width: usize, height: usize) -> Result<Self> {
        let fine = |pixels: usize| (pixels as f32 * FINENESS) as u32;
        let pixels = Pixmap::new(fine(width), fine(height)).ok_or_else(|| {
            Error::argument(format!("there is no memory for a picture of {width} x {height} pixels: make it smaller."))
        })?;
        Ok(Self { surface: Surface::Pixels(pixels), origin: (0.0, 0.0) })
    }

    /// What `paint` paints, with `origin` as its upper left corner.
    pub fn at(&mut self, origin: (f32, f32), paint: impl FnOnce(&mut Self)) {
        if let Surface::Svg(marks) = &mut self.surface {
            *marks += &format!("<g transform=\"translate({:.2} {:.2})\">\n", origin.0, origin.1);
            paint(self);
        } else {
            let before = std::mem::replace(&mut self.origin, origin);
            paint(self);
            self.origin = before;
        }
        if let Surface::Svg(marks) = &mut self.surface {
            *marks += "</g>\n";
        }
    }

    fn transform(&self) -> Transform {
        Transform::from_scale(FINENESS, FINENESS).pre_translate(self.origin.0, self.origin.1)
    }

    /// A filled rectangle from its upper left to its lower right corner.
    pub fn rectangle(&mut self, from: (f32, f32), to: (f32, f32), color: Color) {
        self.faint_rectangle(from, to, color, 255);
    }

    /// A filled rectangle that lets through what is behind it.
    pub fn faint_rectangle(&mut self, from: (f32, f32), to: (f32, f32), color: Color, alpha: u8) {
        let transform = self.transform();
        match &mut self.surface {
            Surface::Svg(marks) => {
                let (width, height) = (to.0 - from.0, to.1 - from.1);
                *marks += &format!(
                    "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" {}/>\n",
                    from.0,
                    from.1,
                    fill(color, alpha)
                );
            }
            Surface::Pixels(pixels) => {
                if let Some(rectangle) = Rect::from_ltrb(from.0, from.1, to.0, to.1) {
                    // Edges fall between pixels; smoothed, they would leave a seam between cells that touch.
                    let paint = Paint { anti_alias: false, ..paint(color, alpha) };
                    pixels.fill_rect(rectangle, &paint, transform, None);
                }
            }
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

    /// A line through `points` that lets through what is behind it.
    pub fn stroke(&mut self, points: &[(f32, f32)], width: f32, color: Color, alpha: u8) {
        let transform = self.transform();
        match &mut self.surface {
            Surface::Svg(marks) => {
                let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
                *marks += &format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-opacity=\"{:.2}\" \
                     stroke-width=\"{width}\" stroke-linejoin=\"round\" stroke-linecap=\"round\"/>\n",
                    points.join(" "),
                    color.to_hex(),
                    f32::from(alpha) / 255.0
                );
            }
            Surface::Pixels(pixels) => {
                let stroke =
                    Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
                // The time of a path grows with the square of its points where these go up and down.
                let mut start = 0;
                while start + 1 < points.len() {
                    let end = (start + PIECE).min(points.len() - 1);
                    let mut path = PathBuilder::new();
                    path.move_to(points[start].0, points[start].1);
                    points[start + 1..=end].iter().for_each(|&(x, y)| path.line_to(x, y));
                    if let Some(path) = path.finish() {
                        pixels.stroke_path(&path, &paint(color, alpha), &stroke, transform, None);
                    }
                    start = end;
                }
            }
        }
    }

    /// A filled polygon that lets through what is behind it.
    pub fn polygon(&mut self, corners: &[(f32, f32)], color: Color, alpha: u8) {
        let transform = self.transform();
        match &mut self.surface {
            Surface::Svg(marks) => {
                let corners: Vec<String> = corners.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
                *marks += &format!("<polygon points=\"{}\" {}/>\n", corners.join(" "), fill(color, alpha));
            }
            Surface::Pixels(pixels) => {
                let mut path = PathBuilder::new();
                for (number, &(x, y)) in corners.iter().enumerate() {
                    if number == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
                }
                path.close();
                if let Some(path) = path.finish() {
                    pixels.fill_path(&path, &paint(color, alpha), FillRule::Winding, transform, None);
                }
            }
        }
    }

    /// A filled circle.
    pub fn dot(&mut self, center: (f32, f32), radius: f32, color: Color) {
        let transform = self.transform();
        match &mut self.surface {
            Surface::Svg(marks) => {
                let (x, y) = center;
                *marks += &format!("<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius}\" {}/>\n", fill(color, 255));
            }
            Surface::Pixels(pixels) => {
                if let Some(path) = PathBuilder::from_circle(center.0, center.1, radius) {
                    pixels.fill_path(&path, &paint(color, 255), FillRule::Winding, transform, None);
                }
            }
        }
    }

    /// `text` at `at`, in ink.
    pub fn text(&mut self, text: &str, at: (f32, f32), size: f32, anchor: Anchor, turn: Turn) {
        self.colored_text(text, at, size, anchor, turn, INK);
    }

    /// `text` at `at`.
    pub fn colored_text(&mut self, text: &str, at: (f32, f32), size: f32, anchor: Anchor, turn: Turn, color: Color) {
        let degrees = match turn {
            Turn::Level => 0.0,
            Turn::Down => 90.0,
            Turn::Up => -90.0,
        };
        let transform = self.transform();
        match &mut self.surface {
            Surface::Svg(marks) => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                *marks += &format!(
                    "<text transform=\"translate({:.2} {:.2}) rotate({degrees})\" y=\"{:.2}\" font-size=\"{size}\" \
                     text-anchor=\"{anchor}\" xml:space=\"preserve\" {}>{}</text>\n",
                    at.0,
                    at.1,
                    0.36 * size,
                    fill(color, 255),
                    escape(text)
                );
            }
            Surface::Pixels(pixels) => {
                let width = font::width(text, size);
                let shift = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => -width / 2.0,
                    Anchor::End => -width,
                };
                // Capital letters are about 0.72 of the size high.
                let place = transform.pre_translate(at.0, at.1).pre_concat(Transform::from_rotate(degrees));
                if let Some(path) = font::outline(text, size) {
                    let place = place.pre_translate(shift, 0.36 * size);
                    pixels.fill_path(&path, &paint(color, 255), FillRule::Winding, place, None);
                }
            }
        }
    }
}

/// A colour as an attribute of an SVG element.
fn fill(color: Color, alpha: u8) -> String {
    format!("fill=\"{}\" fill-opacity=\"{:.2}\"", color.to_hex(), f32::from(alpha) / 255.0)
}

fn paint(color: Color, alpha: u8) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(color.0, color.1, color.2, alpha);
    paint
}
