//! What the script draws.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::FeatureGraphView;
use super::brief::{brief, by_feature, key};
use super::plan::{Axis, is_shaded, label, row_name, rows, size};
use super::scene::{Arrow, Mark, Scene};
use super::still::color;
use crate::feature_graphs::EdgeVia;
use crate::views::html::visible;
use crate::views::widget::pack::rounded;

/// The most bytes of dashboards.
const DASHBOARDS: usize = 140_000;

/// Members of a group that are listed.
const MEMBERS: usize = 40;

pub(super) fn via_name(via: Option<EdgeVia>) -> String {
    via.map_or("linear".into(), |via| via.to_string())
}

/// Short dashboards of the features that are drawn, and which of them each feature has.
pub(super) struct Briefs {
    pub all: Vec<Value>,
    of: BTreeMap<super::brief::Key, usize>,
    /// How many belong to no feature that is drawn, and how many have no room.
    pub strange: usize,
    pub left_out: usize,
}

impl Briefs {
    /// Those of the strongest features first.
    pub fn new(view: &FeatureGraphView, scene: &Scene) -> Self {
        let mut there = by_feature(&view.dashboards);
        let mut briefs = Self { all: Vec::new(), of: BTreeMap::new(), strange: 0, left_out: 0 };
        let mut bytes = DASHBOARDS;
        for key in scene.marks.iter().flat_map(|mark| &mark.nodes).filter_map(|&node| key(node)) {
            let Some(dashboard) = there.remove(&key) else { continue };
            let brief = brief(dashboard);
            match bytes.checked_sub(brief.to_string().len()) {
                None => briefs.left_out += 1,
                Some(rest) => {
                    bytes = rest;
                    briefs.of.insert(key, briefs.all.len());
                    briefs.all.push(brief);
                }
            }
        }
        briefs.strange = view.dashboards.len() - briefs.all.len() - briefs.left_out;
        briefs
    }
}

/// A scene: the script arranges what its slider shows as [`Plan`](super::plan::Plan) does.
pub(super) fn form(scene: &Scene, axis: &Axis, arrows: &[Arrow], view: &FeatureGraphView, briefs: &Briefs) -> Value {
    let rows = rows(scene, &|_| true);
    let round = |value: f32| f64::from((value * 10.0).round()) / 10.0;
    let node = |mark: &Mark| {
        let (width, _) = size(mark, true);
        let floor = rows.iter().position(|row| *row == mark.row);
        let token = mark.pos.and_then(|pos| axis.tokens.get(pos)).map_or(String::new(), |token| visible(token));
        let numbers: Vec<(&str, f64)> =
            mark.numbers.iter().map(|(name, value)| (*name, rounded(*value as f32))).collect();
        let groups: Vec<usize> = (0..view.groups.len())
            .filter(|&group| mark.nodes.iter().any(|node| view.groups[group].1.contains(node)))
            .collect();
        let brief = match &mark.nodes[..] {
            [node] => key(*node).and_then(|key| briefs.of.get(&key)),
            _ => None,
        };
        let members = mark.nodes.iter().take(MEMBERS).map(ToString::to_string);
        let mut all = json!({
            "name": name(mark), "label": label(mark), "shape": mark.shape.name(),
            "width": round(width), "floor": floor, "value": rounded(mark.strength as f32), "before": rounded(mark.before as f32),
        });
        let mut add = |name: &str, value: Value, is_there: bool| {
            if is_there {
                all[name] = value;
            }
        };
        add("token", json!(token), mark.pos.is_some());
        add("pos", json!(mark.pos), mark.pos.is_some());
        add("stays", json!(true), mark.stays());
        add("numbers", json!(numbers), !numbers.is_empty());
        add("groups", json!(groups), !groups.is_empty());
        add("brief", json!(brief), brief.is_some());
        add("members", json!(members.collect::<Vec<_>>()), mark.nodes.len() > 1);
        all
    };
    let kinds = kinds(arrows);
    let most = arrows.first().map_or(1.0, |arrow| arrow.share).max(f64::MIN_POSITIVE);
    let edge = |arrow: &Arrow| {
        let kind = kinds.iter().position(|kind| *kind == arrow.via);
        let share = (arrow.share / most * 1e4).round() / 1e4;
        json!([arrow.from, arrow.to, kind, rounded(arrow.weight), share])
    };
    let colors = |kind: &Option<EdgeVia>| json!({ "name": via_name(*kind), "color": color(*kind, false).to_hex(), "negative": color(*kind, true).to_hex() });
    let lane = |pos: usize| {
        let (token, corrupted, width) = axis.words(pos);
        json!({ "token": token, "corrupted": corrupted, "width": round(width) })
    };
    json!({
        "nodes": scene.marks.iter().map(node).collect::<Vec<_>>(),
        "edges": arrows.iter().map(edge).collect::<Vec<_>>(),
        "kinds": kinds.iter().map(colors).collect::<Vec<_>>(),
        "lanes": (0..axis.tokens.len()).map(lane).collect::<Vec<_>>(),
        "floors": rows.iter().map(|&row| json!({ "name": row_name(row, &rows), "shaded": is_shaded(row) })).collect::<Vec<_>>(),
    })
}

/// A node without its position, which the script writes with its token.
fn name(mark: &Mark) -> String {
    let at = mark.pos.map_or(String::new(), |pos| format!(" at {pos}"));
    let name = mark.name.strip_suffix(')').and_then(|name| Some(format!("{})", name.strip_suffix(&at)?)));
    visible(&name.unwrap_or_else(|| mark.name.strip_suffix(&at).unwrap_or(&mark.name).to_string()))
}

/// The kinds of edges that there are, in order.
fn kinds(arrows: &[Arrow]) -> Vec<Option<EdgeVia>> {
    let kinds: std::collections::BTreeSet<Option<EdgeVia>> = arrows.iter().map(|arrow| arrow.via).collect();
    kinds.into_iter().collect()
}
