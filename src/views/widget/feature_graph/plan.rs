//! Where each mark is: positions to the right, layers upwards, the tokens below.

use std::collections::{BTreeMap, BTreeSet};

use super::scene::{Mark, Row, Scene, Shape};
use crate::views::html::visible;
use crate::views::picture::text_width;

/// Half the size of a mark.
pub(super) const RADIUS: f32 = 6.0;
/// Letter sizes of the index below a mark, and of words in boxes and on the axis.
pub(super) const SMALL: f32 = 9.0;
pub(super) const WORDS: f32 = 11.0;
/// The height of a box with words.
pub(super) const BOX: f32 = 19.0;
/// The size of a token's mark.
pub(super) const TOKEN: (f32, f32) = (22.0, 9.0);
/// Room between a row's marks and its neighbours', in which edges can be seen.
const BETWEEN: f32 = 24.0;
/// A row without marks.
const EMPTY: f32 = 16.0;
/// The height of a line of the token axis.
const LINE: f32 = 15.0;
const EDGE: f32 = 8.0;
/// How far apart boxes in the margin are.
const MARGIN: f32 = BOX + 7.0;
/// With more marks than these, features are drawn without their indices, and closer.
const NAMED: usize = 120;
/// The most characters of a token on the axis, and of the words of a box.
const LONGEST_TOKEN: usize = 12;
const LONGEST_NAME: usize = 28;

/// A position's column.
pub(super) struct Lane {
    /// None for the margin.
    pub pos: Option<usize>,
    pub middle: f32,
    pub left: f32,
    pub width: f32,
    pub token: String,
    pub corrupted: String,
}

/// A row with its name.
pub(super) struct Floor {
    pub name: String,
    pub top: f32,
    pub height: f32,
    pub is_shaded: bool,
}

/// The coordinates of a scene, in pixels from the upper left corner.
pub(super) struct Plan {
    /// None for marks that are not drawn.
    pub spots: Vec<Option<(f32, f32)>>,
    pub lanes: Vec<Lane>,
    pub floors: Vec<Floor>,
    pub width: f32,
    pub height: f32,
    /// Whether features have their indices.
    pub is_named: bool,
    /// Whether a second line of tokens is below the first.
    pub is_contrast: bool,
}

/// The tokens below a graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    pub tokens: Vec<String>,
    /// Empty where there is one run only.
    pub corrupted: Vec<String>,
}

impl Axis {
    /// What is written at a position: the token, the corrupted one, and how wide they are.
    pub fn words(&self, pos: usize) -> (String, String, f32) {
        let word = |of: &[String]| of.get(pos).map_or(String::new(), |token| short(token, LONGEST_TOKEN));
        let (token, corrupted) = (word(&self.tokens), word(&self.corrupted));
        let width = 1.1 * text_width(&token, WORDS).max(text_width(&corrupted, WORDS));
        (token, corrupted, width)
    }
}

/// Words short enough for their place.
pub(super) fn short(words: &str, longest: usize) -> String {
    let words = visible(words);
    match words.chars().count() > longest {
        true => words.chars().take(longest - 1).chain(['…']).collect(),
        false => words,
    }
}

/// The words in the picture.
pub(super) fn label(mark: &Mark) -> String {
    short(&mark.label, LONGEST_NAME)
}

/// How large a mark is, with its words.
pub(super) fn size(mark: &Mark, is_named: bool) -> (f32, f32) {
    match mark.shape {
        Shape::Token | Shape::Position => TOKEN,
        // Readers' fonts may be wider than ours.
        _ if mark.shape.is_box() => (1.1 * text_width(&label(mark), WORDS) + 12.0, BOX),
        _ if is_named => ((1.1 * text_width(&label(mark), SMALL)).max(2.0 * RADIUS), 2.0 * RADIUS + SMALL + 2.0),
        _ => (2.0 * RADIUS, 2.0 * RADIUS),
    }
}

/// Marks of one row and position, in lines.
struct Cell {
    marks: Vec<usize>,
    pitch: (f32, f32),
    in_line: usize,
}

impl Cell {
    fn new(marks: Vec<usize>, scene: &Scene, is_named: bool) -> Self {
        let sizes = marks.iter().map(|&at| size(&scene.marks[at], is_named));
        let most = sizes.fold((0.0_f32, 0.0_f32), |most, size| (most.0.max(size.0), most.1.max(size.1)));
        let is_wide = most.0 > 40.0;
        let count = marks.len() as f32;
        let in_line = match is_wide {
            true => (count / 2.0).sqrt().ceil().clamp(1.0, 3.0),
            false => (count * 1.6).sqrt().ceil().clamp(count.min(3.0), 8.0),
        };
        Self { marks, pitch: (most.0 + 6.0, most.1 + 6.0), in_line: in_line as usize }
    }

    fn size(&self) -> (f32, f32) {
        let lines = self.marks.len().div_ceil(self.in_line);
        (self.marks.len().min(self.in_line) as f32 * self.pitch.0, lines as f32 * self.pitch.1)
    }

    /// Where its marks are around this middle.
    fn spots(&self, (x, y): (f32, f32)) -> impl Iterator<Item = (usize, (f32, f32))> + '_ {
        let (_, height) = self.size();
        let lines = self.marks.chunks(self.in_line).enumerate();
        lines.flat_map(move |(line, marks)| {
            let left = x - marks.len() as f32 * self.pitch.0 / 2.0;
            let y = y - height / 2.0 + (line as f32 + 0.5) * self.pitch.1;
            let at = move |place: usize| (left + (place as f32 + 0.5) * self.pitch.0, y);
            marks.iter().enumerate().map(move |(place, &mark)| (mark, at(place)))
        })
    }
}

/// All rows from the lowest, those without marks between others too.
pub(super) fn rows(scene: &Scene, is_shown: &dyn Fn(&Mark) -> bool) -> Vec<Row> {
    let there: BTreeSet<Row> =
        scene.marks.iter().filter(|mark| is_shown(mark) && mark.pos.is_some()).map(|mark| mark.row).collect();
    let layers = scene.marks.iter().filter_map(|mark| match mark.row {
        Row::Layer(layer, _) => Some(layer + 1),
        _ => None,
    });
    let has = |is_mlp: bool| there.iter().any(|row| matches!(row, Row::Layer(_, mlp) if *mlp == is_mlp));
    let kinds: Vec<bool> = [false, true].into_iter().filter(|&is_mlp| has(is_mlp)).collect();
    let layers = (0..layers.max().unwrap_or(0)).flat_map(|layer| kinds.iter().map(move |&mlp| Row::Layer(layer, mlp)));
    std::iter::once(Row::Tokens).chain(layers).chain([Row::Targets]).collect()
}

pub(super) fn row_name(row: Row, rows: &[Row]) -> String {
    let has_both = rows.contains(&Row::Layer(0, false)) && rows.contains(&Row::Layer(0, true));
    match row {
        Row::Tokens => "tokens".into(),
        Row::Targets => "targets".into(),
        Row::Layer(layer, true) if has_both => format!("L{layer} MLP"),
        Row::Layer(layer, false) if has_both => format!("L{layer} attn"),
        Row::Layer(layer, _) => format!("layer {layer}"),
    }
}

/// Every second layer has a ground.
pub(super) fn is_shaded(row: Row) -> bool {
    matches!(row, Row::Layer(layer, _) if layer % 2 == 0)
}

/// The columns: a margin where anything has no position, then positions.
fn lanes(scene: &Scene, axis: &Axis, positions: &[usize], cells: &BTreeMap<(Row, usize), Cell>) -> Vec<Lane> {
    let loose = scene.marks.iter().filter(|mark| mark.pos.is_none());
    let margin = loose.map(|mark| size(mark, false).0).fold(0.0, f32::max);
    let mut lanes = Vec::new();
    let mut left = 0.0;
    let mut add = |pos: Option<usize>, width: f32, token: String, corrupted: String| {
        lanes.push(Lane { pos, middle: left + width / 2.0, left, width, token, corrupted });
        left += width;
    };
    if margin > 0.0 {
        add(None, margin + 16.0, String::new(), String::new());
    }
    for &pos in positions {
        let (token, corrupted, words) = axis.words(pos);
        let own = cells.iter().filter(|((_, at), _)| *at == pos);
        let marks = own.map(|(_, cell)| cell.size().0).fold(TOKEN.0, f32::max);
        add(Some(pos), words.max(marks) + EDGE, token, corrupted);
    }
    lanes
}

impl Plan {
    /// Of the marks that are shown, at these positions.
    pub fn new(scene: &Scene, axis: &Axis, positions: &[usize], is_shown: &dyn Fn(&Mark) -> bool) -> Self {
        let free = scene.marks.iter().filter(|mark| is_shown(mark) && !mark.stays()).count();
        let is_named = free <= NAMED;
        let mut members: BTreeMap<(Row, usize), Vec<usize>> = BTreeMap::new();
        for (at, mark) in scene.marks.iter().enumerate().filter(|(_, mark)| is_shown(mark)) {
            if let Some(pos) = mark.pos.filter(|pos| positions.contains(pos)) {
                members.entry((mark.row, pos)).or_default().push(at);
            }
        }
        let cells: BTreeMap<(Row, usize), Cell> =
            members.into_iter().map(|(key, marks)| (key, Cell::new(marks, scene, is_named))).collect();
        let lanes = lanes(scene, axis, positions, &cells);
        let rows = rows(scene, is_shown);
        let loose: Vec<usize> = (0..scene.marks.len()).filter(|&at| scene.marks[at].pos.is_none()).collect();
        let height = |row: Row| {
            let own = cells.iter().filter(|((at, _), _)| *at == row);
            own.map(|(_, cell)| cell.size().1 + BETWEEN).fold(EMPTY, f32::max)
        };
        let all: f32 = rows.iter().map(|&row| height(row)).sum();
        let mut floors = Vec::new();
        let mut top = EDGE.max(loose.len() as f32 * MARGIN - all);
        for &row in rows.iter().rev() {
            let height = height(row);
            floors.push(Floor { name: row_name(row, &rows), top, height, is_shaded: is_shaded(row) });
            top += height;
        }
        let mut spots = vec![None; scene.marks.len()];
        for ((row, pos), cell) in &cells {
            let lane = lanes.iter().find(|lane| lane.pos == Some(*pos));
            let floor = rows.iter().rev().position(|at| at == row).map(|at| &floors[at]);
            let (Some(lane), Some(floor)) = (lane, floor) else { continue };
            for (mark, spot) in cell.spots((lane.middle, floor.top + floor.height / 2.0)) {
                spots[mark] = Some(spot);
            }
        }
        for (place, &mark) in loose.iter().enumerate() {
            spots[mark] = Some((lanes[0].middle, top - (place as f32 + 0.5) * MARGIN));
        }
        let is_contrast = !axis.corrupted.is_empty();
        let width = lanes.last().map_or(0.0, |lane| lane.left + lane.width) + EDGE;
        let height = top + LINE * if is_contrast { 3.0 } else { 2.0 } + 4.0;
        Self { spots, lanes, floors, width, height, is_named, is_contrast }
    }

    /// The y of the lines of the axis: tokens, corrupted tokens, positions.
    pub fn axis(&self) -> (f32, f32, f32) {
        let lines = if self.is_contrast { 3.0 } else { 2.0 };
        let first = self.height - 4.0 - LINE * lines + LINE / 2.0;
        (first, first + LINE, first + LINE * (lines - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature_graphs::GraphNode;

    fn scene(of: &[(usize, bool, usize, usize)]) -> Scene {
        let mark = |&(layer, is_mlp, pos, count): &(usize, bool, usize, usize)| {
            (0..count).map(move |feature| Mark {
                nodes: vec![GraphNode::Feature { layer, pos, feature }],
                shape: if feature % 7 == 6 { Shape::Group } else { Shape::Mlp },
                name: String::new(),
                label: (feature * 997).to_string(),
                row: Row::Layer(layer, is_mlp),
                pos: Some(pos),
                strength: 1.0,
                before: 0.0,
                numbers: Vec::new(),
            })
        };
        let marks: Vec<Mark> = of.iter().flat_map(mark).collect();
        Scene { all_nodes: marks.len(), marks, arrows: Vec::new(), strength: "", weight: "", all: "", most: "" }
    }

    #[test]
    fn no_mark_lies_on_another_or_outside() {
        let crowds = [
            vec![(0, true, 0, 1)],
            vec![(0, true, 0, 40), (0, false, 0, 3), (1, true, 0, 2), (3, true, 2, 90)],
            vec![(2, false, 1, 300)],
            vec![(0, true, 3, 5), (0, true, 4, 6), (1, true, 3, 17), (1, false, 3, 16)],
        ];
        for crowd in crowds {
            let scene = scene(&crowd);
            let axis = Axis { tokens: vec![" token".into(); 5], corrupted: Vec::new() };
            let plan = Plan::new(&scene, &axis, &[0, 1, 2, 3, 4], &|_| true);
            let corners: Vec<[f32; 4]> = (0..scene.marks.len())
                .map(|at| {
                    let ((x, y), (w, h)) = (plan.spots[at].expect("drawn"), size(&scene.marks[at], plan.is_named));
                    [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
                })
                .collect();
            for (at, one) in corners.iter().enumerate() {
                assert!(one[0] >= 0.0 && one[1] >= 0.0 && one[2] <= plan.width && one[3] <= plan.axis().0, "{one:?}");
                for other in &corners[..at] {
                    let apart = one[0] >= other[2] || other[0] >= one[2] || one[1] >= other[3] || other[1] >= one[3];
                    assert!(apart, "{one:?} lies on {other:?}");
                }
            }
        }
    }
}
