//! Words on a picture: DejaVu Sans, reduced to the letters of European languages and the usual signs.

use std::sync::OnceLock;

use tiny_skia::{Path, PathBuilder};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

static FONT: &[u8] = include_bytes!("../assets/DejaVuSans-subset.ttf");

/// What is drawn for a letter that the font lacks.
const MISSING: char = '\u{fffd}';

fn face() -> &'static Face<'static> {
    static FACE: OnceLock<Face<'static>> = OnceLock::new();
    FACE.get_or_init(|| Face::parse(FONT, 0).expect("the font of the library is sound; a test reads it"))
}

fn glyphs(text: &str) -> impl Iterator<Item = GlyphId> {
    let of = |c: char| face().glyph_index(c);
    text.chars().map(move |c| of(c).or_else(|| of(MISSING)).unwrap_or_default())
}

fn advance(glyph: GlyphId) -> f32 {
    f32::from(face().glyph_hor_advance(glyph).unwrap_or(0))
}

/// Pixels for each unit of the font.
fn scale(size: f32) -> f32 {
    size / f32::from(face().units_per_em())
}

/// How wide `text` is, in pixels.
pub(super) fn width(text: &str, size: f32) -> f32 {
    glyphs(text).map(advance).sum::<f32>() * scale(size)
}

/// `text` as one outline that starts at the origin on the horizontal axis; `None` where nothing is visible.
pub(super) fn outline(text: &str, size: f32) -> Option<Path> {
    let mut pen = Pen { path: PathBuilder::new(), x: 0.0, scale: scale(size) };
    for glyph in glyphs(text) {
        face().outline_glyph(glyph, &mut pen);
        pen.x += advance(glyph) * pen.scale;
    }
    pen.path.finish()
}

/// Draws glyphs one beside the other; the font's vertical axis points up, the picture's down.
struct Pen {
    path: PathBuilder,
    x: f32,
    scale: f32,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_a_width_and_an_outline() {
        assert!(width("ww", 12.0) > 1.9 * width("w", 12.0));
        assert_eq!(width("", 12.0), 0.0);
        let box_of = outline("L", 100.0).expect("a letter shows").bounds();
        assert!((box_of.height() - 72.9).abs() < 0.1, "capital letters of DejaVu Sans are 0.729 em high");
        assert!(outline(" ", 12.0).is_none());
        assert!(width("猫", 12.0) > 0.0, "a letter that the font lacks still takes a place");
    }
}
