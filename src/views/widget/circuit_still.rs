//! The still picture of a circuit, which has a largest size: of a larger circuit it shows the strongest nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::Result;
use crate::views::figure::Color;
use crate::views::html::visible;
use crate::views::picture::{Anchor, Turn, png_by};
use crate::views::widget::circuit::{Circuit, CircuitEdge, Part, Plan, lane, size};

/// The largest width, height and area of a picture: a notebook keeps it, and a page must show it. Its file has twice
/// as many pixels in each direction.
const WIDEST: usize = 2_400;
const HIGHEST: usize = 4_000;
const LARGEST: usize = 5_000_000;

/// Pieces of a curve whose dashes leave gaps.
pub(super) const PIECES: usize = 200;

fn fits(width: usize, height: usize) -> bool {
    width <= WIDEST && height <= HIGHEST && width * height <= LARGEST
}

impl Circuit {
    /// The part of the circuit that fits into a picture: all of it, or the most important nodes, by themselves or by an edge,
    /// with their positions and layers.
    fn fitting(&self, edges: &[&CircuitEdge]) -> Part {
        let whole = self.whole();
        let Plan { width, height, .. } = self.plan(&whole);
        if fits(width, height) {
            return whole;
        }
        let nodes = &self.0.nodes;
        let mut strength: Vec<f32> = nodes.iter().map(|node| node.score.abs()).collect();
        for edge in edges {
            for end in [edge.from, edge.to] {
                strength[end] = strength[end].max(edge.score.abs());
            }
        }
        let mut order = whole.nodes;
        order.sort_by_key(|&i| Reverse(strength[i].to_bits()));
        let mut crowds: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut lanes: BTreeMap<usize, usize> = BTreeMap::new();
        let mut floors = BTreeSet::new();
        let (mut wide, mut kept) = (0, Vec::new());
        for i in order {
            let (floor, pos) = (nodes[i].layer, nodes[i].pos);
            let crowd = crowds.get(&(floor, pos)).unwrap_or(&0) + 1;
            let before = lanes.get(&pos).copied().unwrap_or(0);
            let after = before.max(lane(crowd));
            let (width, height) = size(wide - before + after, floors.len() + usize::from(!floors.contains(&floor)));
            if fits(width, height) {
                wide += after - before;
                crowds.insert((floor, pos), crowd);
                lanes.insert(pos, after);
                floors.insert(floor);
                kept.push(i);
            }
        }
        kept.sort_unstable();
        Part { nodes: kept, positions: lanes.into_keys().collect(), floors: floors.into_iter().collect() }
    }

    /// The still picture, and what it leaves out.
    pub(super) fn still(&self, edges: &[&CircuitEdge]) -> Result<(String, Option<String>)> {
        let part = self.fitting(edges);
        let Plan { nodes: places, lanes, width, height } = self.plan(&part);
        let places: BTreeMap<usize, (usize, usize)> = part.nodes.iter().copied().zip(places).collect();
        let all = self.0.edges.len();
        let edges: Vec<&&CircuitEdge> = edges.iter().filter(|edge| drawn(&places, edge)).collect();
        let most = edges.iter().fold(f32::MIN_POSITIVE, |most, edge| most.max(edge.score.abs()));
        let place = |i: usize| (places[&i].0 as f32, places[&i].1 as f32);
        let picture = png_by(width, height, |canvas| {
            for (&pos, &x) in part.positions.iter().zip(&lanes) {
                canvas.faint_line((x as f32, 14.0), (x as f32, height as f32 - 34.0));
                let at = (x as f32, height as f32 - 20.0);
                canvas.text(&self.lane_name(pos), at, 11.0, Anchor::Middle, Turn::Level);
            }
            for edge in edges.iter().rev() {
                let points = curve(place(edge.from), place(edge.to), PIECES);
                let width = 1.0 + 5.0 * edge.score.abs() / most;
                let dashes = if edge.score < 0.0 { dashed(&points, 5.0 + width) } else { vec![points] };
                dashes.iter().for_each(|dash| canvas.line(dash, width, edge.kind.color()));
            }
            for &i in &part.nodes {
                let ((x, y), name) = (place(i), visible(&self.0.nodes[i].name));
                let half = 7.0 + 3.6 * name.chars().count() as f32;
                canvas.rectangle((x - half, y - 12.0), (x + half, y + 12.0), Color(0xe8, 0xee, 0xf4));
                let black = Color(0x11, 0x11, 0x11);
                canvas.colored_text(&name, (x, y), 12.0, Anchor::Middle, Turn::Level, black);
            }
        })?;
        let cut = (places.len() < self.0.nodes.len()).then(|| {
            format!(
                "The still picture holds the {} strongest of {} nodes and {} of {all} edges between them: the rest has \
                 no room in a picture.",
                places.len(),
                self.0.nodes.len(),
                edges.len()
            )
        });
        let image = format!(
            "<img alt=\"a circuit of {} nodes and {} edges\" width=\"{width}\" style=\"max-width:100%\" \
             src=\"data:image/png;base64,{}\">",
            places.len(),
            edges.len(),
            BASE64.encode(picture)
        );
        Ok((image, cut))
    }
}

/// The dashes of a line, each about so long, as far from each other as the round ends of a dash of this length need.
pub(super) fn dashed(points: &[(f32, f32)], length: f32) -> Vec<Vec<(f32, f32)>> {
    let (mut dashes, mut along, mut is_open) = (Vec::new(), 0.0, false);
    for two in points.windows(2) {
        let is_on = along % (2.5 * length) < length;
        if is_on && !is_open {
            dashes.push(vec![two[0]]);
        }
        if let (true, Some(dash)) = (is_on, dashes.last_mut()) {
            dash.push(two[1]);
        }
        is_open = is_on;
        along += (two[1].0 - two[0].0).hypot(two[1].1 - two[0].1);
    }
    dashes
}

/// Whether both ends of an edge are drawn.
fn drawn(places: &BTreeMap<usize, (usize, usize)>, edge: &CircuitEdge) -> bool {
    places.contains_key(&edge.from) && places.contains_key(&edge.to)
}

/// From one node to another, upright at both ends, in so many pieces.
pub(super) fn curve(from: (f32, f32), to: (f32, f32), pieces: usize) -> Vec<(f32, f32)> {
    let middle = if from.1 == to.1 { from.1 - 40.0 } else { (from.1 + to.1) / 2.0 };
    let at = |t: f32| {
        let s = 1.0 - t;
        let weights = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
        let sum = |points: [f32; 4]| points.iter().zip(weights).map(|(point, weight)| point * weight).sum::<f32>();
        (sum([from.0, from.0, to.0, to.0]), sum([from.1, middle, middle, to.1]))
    };
    (0..=pieces).map(|i| at(i as f32 / pieces as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_leave_gaps_that_round_ends_do_not_close() {
        for (to, width) in [((0.0, 74.0), 6.0), ((900.0, 74.0), 6.0), ((300.0, 400.0), 1.0)] {
            let dashes = dashed(&curve((0.0, 0.0), to, PIECES), 5.0 + width);
            assert!(dashes.len() >= 2, "{to:?}");
            for two in dashes.windows(2) {
                let (end, start) = (two[0][two[0].len() - 1], two[1][0]);
                assert!((start.0 - end.0).hypot(start.1 - end.1) > width + 1.0, "{end:?} {start:?}");
            }
        }
    }
}
