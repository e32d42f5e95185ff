//! The still picture of a graph.

use std::collections::BTreeMap;

use super::plan::{Axis, BOX, Plan, RADIUS, SMALL, TOKEN, WORDS, label, size};
use super::scene::{Arrow, Mark, Scene, Shape};
use crate::error::Result;
use crate::feature_graphs::EdgeVia;
use crate::views::figure::{Color, INK};
use crate::views::html::visible;
use crate::views::picture::{Anchor, Canvas, Turn, png_by, svg_by};
use crate::views::widget::circuit::EdgeKind;
use crate::views::widget::circuit_still::{PIECES, curve, dashed};
use crate::views::widget::still::{NEGATIVE, POSITIVE};

/// The most edges of a small picture, and the fewest.
const MOST_ARROWS: usize = 300;
const FEWEST_ARROWS: usize = 40;
/// The names of rows.
const SIDE: f32 = 64.0;
/// The largest width, height and area of a picture, and by how much a larger one shrinks into it, so that its letters can be read.
const WIDEST: f32 = 1_300.0;
const HIGHEST: f32 = 4_000.0;
const LARGEST: f32 = 4_000_000.0;
const SMALLEST: f32 = 0.8;

/// The colour of edges into what an MLP's features read.
pub(super) const MLP: Color = Color(0xa9, 0x5c, 0xc4);

/// A picture, ready to be painted.
pub(super) struct Still<'a> {
    scene: &'a Scene,
    plan: Plan,
    arrows: Vec<&'a Arrow>,
    scale: f32,
    /// The strength of the strongest mark and edge.
    most: (f64, f64),
    /// How many positions have no room.
    left_out: usize,
}

/// The scale at which a picture of this size has room.
fn fitting(width: f32, height: f32) -> f32 {
    (WIDEST / width).min(HIGHEST / height).min((LARGEST / (width * height)).sqrt()).min(1.0)
}

impl<'a> Still<'a> {
    /// With as many edges as have room in these bytes, as a PNG file.
    pub fn within(scene: &'a Scene, axis: &Axis, share: f64, bytes: usize) -> Result<(Self, Vec<u8>)> {
        let mut still = Self::new(scene, axis, share, MOST_ARROWS);
        let mut picture = still.png()?;
        while picture.len() > bytes && still.arrows.len() > FEWEST_ARROWS {
            let part = (bytes as f64 / picture.len() as f64).min(0.8);
            still.arrows.truncate(((still.arrows.len() as f64 * part) as usize).max(FEWEST_ARROWS));
            picture = still.png()?;
        }
        Ok((still, picture))
    }

    /// Of the marks that the slider shows, at all positions or those with the most influence.
    pub fn new(scene: &'a Scene, axis: &Axis, share: f64, most_arrows: usize) -> Self {
        let is_shown = |mark: &Mark| mark.is_within(share);
        let mut positions: Vec<usize> = (0..axis.tokens.len()).collect();
        let mut strengths: BTreeMap<usize, f64> = BTreeMap::new();
        for mark in scene.marks.iter().filter(|mark| is_shown(mark)) {
            let own = if mark.shape == Shape::Target { f64::MAX } else { mark.strength.abs() };
            mark.pos.into_iter().for_each(|pos| *strengths.entry(pos).or_default() += own);
        }
        let strength = |pos: &usize| strengths.get(pos).copied().unwrap_or(0.0);
        let mut order = positions.clone();
        order.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
        let mut plan = Plan::new(scene, axis, &positions, &is_shown);
        while fitting(plan.width + SIDE, plan.height) < SMALLEST && positions.len() > 1 {
            order.truncate((positions.len() * 7 / 8).max(1));
            positions.retain(|pos| order.contains(pos));
            plan = Plan::new(scene, axis, &positions, &is_shown);
        }
        let arrows: Vec<&Arrow> = scene
            .arrows
            .iter()
            .filter(|arrow| plan.spots[arrow.from].is_some() && plan.spots[arrow.to].is_some())
            .take(most_arrows)
            .collect();
        let strengths = scene.marks.iter().filter(|mark| !mark.stays()).map(|mark| mark.strength.abs());
        let most = (
            strengths.fold(f64::MIN_POSITIVE, f64::max),
            arrows.first().map_or(1.0, |arrow| arrow.share).max(f64::MIN_POSITIVE),
        );
        let scale = fitting(plan.width + SIDE, plan.height);
        Self { scene, plan, arrows, scale, most, left_out: axis.tokens.len() - positions.len() }
    }

    /// In pixels of the page.
    pub fn size(&self) -> (usize, usize) {
        let whole = |length: f32| (length * self.scale).ceil() as usize;
        (whole(self.plan.width + SIDE), whole(self.plan.height))
    }

    /// How many edges it has.
    pub fn arrows(&self) -> usize {
        self.arrows.len()
    }

    /// What it leaves out.
    pub fn note(&self) -> Option<String> {
        (self.left_out > 0)
            .then(|| format!("The still picture leaves out the {} positions with the least influence.", self.left_out))
    }

    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        png_by(width, height, |canvas| self.paint(canvas))
    }

    pub fn svg(&self, description: &str) -> String {
        svg_by(self.size(), description, |canvas| self.paint(canvas))
    }

    fn paint(&self, canvas: &mut Canvas) {
        let Plan { floors, lanes, width, height, .. } = &self.plan;
        let (tokens, corrupted, numbers) = self.plan.axis();
        for floor in floors {
            if floor.is_shaded {
                let (from, to) = (self.at((-SIDE, floor.top)), self.at((*width, floor.top + floor.height)));
                canvas.faint_rectangle(from, to, INK, 26);
            }
            let at = (4.0 - SIDE, floor.top + floor.height / 2.0);
            self.words(canvas, &floor.name, at, WORDS, Anchor::Start);
        }
        for lane in lanes.iter().filter(|lane| lane.pos.is_some()) {
            let pos = lane.pos.map_or(String::new(), |pos| pos.to_string());
            canvas.faint_line(self.at((lane.middle, 4.0)), self.at((lane.middle, tokens - 10.0)));
            self.words(canvas, &lane.token, (lane.middle, tokens), WORDS, Anchor::Middle);
            self.words(canvas, &lane.corrupted, (lane.middle, corrupted), WORDS, Anchor::Middle);
            self.words(canvas, &pos, (lane.middle, numbers), SMALL, Anchor::Middle);
        }
        if self.plan.is_contrast {
            self.words(canvas, "clean", (4.0 - SIDE, tokens), WORDS, Anchor::Start);
            self.words(canvas, "corrupted", (4.0 - SIDE, corrupted), WORDS, Anchor::Start);
        }
        self.words(canvas, "position", (4.0 - SIDE, height.min(numbers)), SMALL, Anchor::Start);
        self.arrows.iter().rev().for_each(|arrow| self.arrow(canvas, arrow));
        for (mark, spot) in self.scene.marks.iter().zip(&self.plan.spots) {
            spot.iter().for_each(|&spot| self.mark(canvas, mark, spot));
        }
    }

    /// From the plan to the picture.
    fn at(&self, (x, y): (f32, f32)) -> (f32, f32) {
        ((x + SIDE) * self.scale, y * self.scale)
    }

    fn words(&self, canvas: &mut Canvas, words: &str, at: (f32, f32), size: f32, anchor: Anchor) {
        canvas.text(words, self.at(at), size * self.scale, anchor, Turn::Level);
    }

    fn arrow(&self, canvas: &mut Canvas, arrow: &Arrow) {
        let (Some(from), Some(to)) = (self.plan.spots[arrow.from], self.plan.spots[arrow.to]) else { return };
        // Many edges of the same strength are thin and faint, so that they can be told apart.
        let part = (arrow.share / self.most.1).sqrt() as f32 * (15.0 / (self.arrows.len() as f32).sqrt()).min(1.0);
        let (width, alpha) = ((0.6 + 2.8 * part) * self.scale, 51 * (1 + (4.0 * part) as u8));
        let is_negative = arrow.weight < 0.0;
        let color = color(arrow.via, is_negative);
        // Edges of several kinds between the same nodes lie beside each other.
        let aside = arrow.via.map_or(0.0, |via| 2.0 * (via as usize as f32 - 2.0));
        let (from, to) = (self.at((from.0 + aside, from.1 - RADIUS)), self.at((to.0 + aside, to.1 + RADIUS)));
        if is_negative {
            let points = curve(from, to, PIECES);
            dashed(&points, 4.0 * self.scale + width).iter().for_each(|dash| canvas.stroke(dash, width, color, alpha));
        } else {
            canvas.stroke(&curve(from, to, PIECES / 5), width, color, alpha);
        }
    }

    fn mark(&self, canvas: &mut Canvas, mark: &Mark, (x, y): (f32, f32)) {
        let is_negative = mark.strength < 0.0;
        let part = (mark.strength.abs() / self.most.0).sqrt().min(1.0) as f32;
        let color = match mark.shape {
            Shape::Error | Shape::Token | Shape::Position | Shape::Margin | Shape::Target => INK,
            _ if is_negative => NEGATIVE,
            _ => POSITIVE,
        };
        let is_named = self.plan.is_named && !mark.shape.is_box() && !mark.label.is_empty();
        let (width, _) = size(mark, false);
        let middle = if self.plan.is_named && !mark.stays() { y - (SMALL + 2.0) / 2.0 } else { y };
        let corners: Vec<(f32, f32)> = match mark.shape {
            Shape::Mlp => ring((x, middle)),
            Shape::Attention => {
                vec![(x, middle - RADIUS), (x + RADIUS, middle + RADIUS), (x - RADIUS, middle + RADIUS)]
            }
            Shape::Error => square((x, middle), (2.0 * RADIUS - 1.0, 2.0 * RADIUS - 1.0)),
            Shape::Token | Shape::Position => square((x, y), TOKEN),
            Shape::Target | Shape::Margin | Shape::Group => square((x, y), (width, BOX)),
        };
        let mut corners: Vec<(f32, f32)> = corners.into_iter().map(|corner| self.at(corner)).collect();
        // Edges do not shine through.
        let alpha = if mark.shape.is_box() { 51 } else { 51 + (204.0 * part) as u8 };
        canvas.polygon(&corners, color, alpha);
        corners.extend_from_slice(&corners.clone()[..2]);
        let width = 1.2 * self.scale;
        if is_negative {
            dashed(&fine(&corners), 2.0 * self.scale).iter().for_each(|dash| canvas.line(dash, width, color));
        } else {
            canvas.line(&corners, width, color);
        }
        if mark.shape.is_box() {
            self.words(canvas, &label(mark), (x, y), WORDS, Anchor::Middle);
        } else if is_named && !mark.stays() {
            self.words(canvas, &visible(&mark.label), (x, middle + RADIUS + SMALL / 2.0 + 2.0), SMALL, Anchor::Middle);
        }
    }
}

/// The colour of an edge: its kind where there are several, otherwise its sign.
pub(super) fn color(via: Option<EdgeVia>, is_negative: bool) -> Color {
    match via {
        None if is_negative => NEGATIVE,
        None => POSITIVE,
        Some(EdgeVia::Mlp) => MLP,
        Some(EdgeVia::Ov) => EdgeKind::Ov.color(),
        Some(EdgeVia::Q) => EdgeKind::Q.color(),
        Some(EdgeVia::K) => EdgeKind::K.color(),
        Some(EdgeVia::Direct) => EdgeKind::Other.color(),
    }
}

/// The same outline in pieces small enough to be dashed.
fn fine(corners: &[(f32, f32)]) -> Vec<(f32, f32)> {
    let between = |two: &[(f32, f32)]| {
        let (from, to) = (two[0], two[1]);
        let pieces = ((to.0 - from.0).hypot(to.1 - from.1) * 2.0).ceil().max(1.0);
        let at = move |part: f32| (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
        (0..pieces as usize).map(move |piece| at(piece as f32 / pieces))
    };
    corners.windows(2).flat_map(between).collect()
}

/// A circle around a point.
fn ring((x, y): (f32, f32)) -> Vec<(f32, f32)> {
    let at = |part: f32| (x + RADIUS * part.cos(), y + RADIUS * part.sin());
    (0..24).map(|step| at(step as f32 * std::f32::consts::TAU / 24.0)).collect()
}

fn square((x, y): (f32, f32), (width, height): (f32, f32)) -> Vec<(f32, f32)> {
    let (w, h) = (width / 2.0, height / 2.0);
    vec![(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]
}
