//! Graphs of features, linear and chained, over positions and layers.

mod brief;
mod data;
mod plan;
mod scene;
mod still;

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::error::{Error, Result};
use crate::feature_graphs::{AttributionGraph, ChainedGraph, GraphNode, Supernodes};
use crate::features::FeatureDashboard;
use crate::views::html::{escape, visible};
use crate::views::loader::Script;
use crate::views::page::{Rendered, View};
use crate::views::table::Table;
use crate::views::widget::{Drawn, written};
use data::{Briefs, form, via_name};
use plan::Axis;
use scene::{Arrow, Mark, Scene, Shape};
use still::Still;

/// The most edges that the script is given.
const MOST_ARROWS: usize = 1_500;

/// With more features and errors than these, the slider hides the others at first.
const AT_FIRST: usize = 60;

/// The most bytes of the still picture of a notebook.
const STILL: usize = 160_000;

/// How many nodes and edges the text form lists.
const ROWS: usize = 20;

/// The view of a graph of features ([`feature_graph`]), and its appearance.
///
/// As the last expression of a cell it shows itself; in a loop or a program call [`show`](Self::show). What does not fit is
/// reported there.
#[derive(Clone)]
#[must_use = "a view appears as the last expression of a cell or by its method `show`"]
pub struct FeatureGraphView {
    scene: Scene,
    axis: Axis,
    /// What the graph says of itself.
    about: String,
    title: Option<String>,
    share: Option<f64>,
    has_margin: bool,
    dashboards: Vec<FeatureDashboard>,
    groups: Vec<(String, Vec<GraphNode>)>,
}

/// A graph of features as a picture, of an [`AttributionGraph`], a [`ChainedGraph`] or [`Supernodes`]: positions to the right, layers upwards, the tokens below, targets above the last position.
///
/// Features of MLPs are circles, features of attention triangles in a row of their own below the MLP's, errors squares; the number
/// below a feature is its index. The stronger a mark, the more influence it has; in a chained graph, the more it moves the metric. Edges
/// are wide where they carry much and **dashed where they are negative**; their colours are their kinds, and their signs in a linear
/// graph, which has one kind.
///
/// Pointing at a node, or moving the focus there by the arrow keys, shows its numbers and highlights its largest edges; a click
/// or Enter pins it and lists its edges, Escape lets it go. A slider hides the nodes with the least influence: at 80 % it shows
/// those that [`AttributionGraph::prune`] would keep at 0.8. At most 300 features and errors and 1,500 edges are drawn, those with the
/// most influence.
///
/// # Errors
/// Reported when the view is shown: a share outside 0 to 1, corrupted tokens for another number of positions.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let set = DictionarySet::open("tiny")?;
/// let transcoders = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
/// let graph = model.attribution_graph(&transcoders, "The capital of France is", GraphTargets::top())?;
/// let view = feature_graph(&graph.prune(0.8, 0.98)?).title("Where the answer comes from").influence(0.6);
/// view.show()?;
/// assert!(view.render()?.text().contains("of the influence"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn feature_graph(graph: impl Into<FeatureGraphView>) -> FeatureGraphView {
    graph.into()
}

impl From<&AttributionGraph> for FeatureGraphView {
    fn from(graph: &AttributionGraph) -> Self {
        Self::new(scene::linear(graph, &BTreeSet::new()), graph.tokens(), graph.to_string())
    }
}

impl From<&Supernodes> for FeatureGraphView {
    /// With each group as one node, which the reader can take apart, and nodes by their labels. Pinned nodes, which members of groups
    /// are, stay whatever the slider says.
    fn from(supernodes: &Supernodes) -> Self {
        let graph = supernodes.graph();
        let mut scene = scene::linear(&graph, &supernodes.pinned().into_iter().collect());
        scene.label(&supernodes.labels());
        let groups = supernodes.groups().into_iter().map(|group| (group.name, group.nodes)).collect();
        Self { groups, ..Self::new(scene, graph.tokens(), supernodes.to_string()) }
    }
}

impl From<&ChainedGraph> for FeatureGraphView {
    fn from(graph: &ChainedGraph) -> Self {
        let about = format!("chained graph of {}", visible(&graph.metric()));
        Self::new(scene::chained(graph), graph.tokens(), about)
    }
}

impl FeatureGraphView {
    fn new(scene: Scene, mut tokens: Vec<String>, about: String) -> Self {
        // A file may say at which positions nodes are, but not their tokens.
        tokens.resize(tokens.len().max(scene.positions()), String::new());
        Self {
            scene,
            axis: Axis { tokens, corrupted: Vec::new() },
            about,
            title: None,
            share: None,
            has_margin: false,
            dashboards: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// The line above the view.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Which nodes are shown at first: the fewest that have this share of the influence, 0 to 1. The reader can move it. By default 1,
    /// or what the 60 strongest features and errors have.
    pub fn influence(mut self, share: f64) -> Self {
        self.share = Some(share);
        self
    }

    /// What features are of, in short: the logits that they raise and lower and the texts in which they are most active, shown with
    /// each node of a feature. Dashboards belong to the layer that their dictionary reads.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let transcoders = [set.get("mlp0")?, set.get("mlp1")?, set.get("mlp2")?, set.get("mlp3")?];
    /// let prompt = "The capital of France is";
    /// let graph = model.attribution_graph(&transcoders, prompt, GraphTargets::top())?.prune(0.5, 0.9)?;
    /// let strongest = graph.influence().ranked().into_iter().find_map(|(node, _)| match node {
    ///     GraphNode::Feature { layer, feature, .. } => Some((layer, feature)),
    ///     _ => None,
    /// });
    /// let (layer, feature) = strongest.expect("a feature is active");
    /// let dashboard = model.feature_dashboard(&transcoders[layer], feature, ["France is old", "The capital"], prompt)?;
    /// let view = feature_graph(&graph).dashboards([dashboard]);
    /// view.show()?;
    /// assert!(view.render()?.html().contains("\"briefs\":[{"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn dashboards(mut self, dashboards: impl IntoIterator<Item = FeatureDashboard>) -> Self {
        self.dashboards.extend(dashboards);
        self
    }

    /// The tokens of the corrupted prompt, one for each position; they are written below the clean ones.
    pub fn corrupted_tokens<T: ToString>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.axis.corrupted = tokens.into_iter().map(|token| token.to_string()).collect();
        self
    }

    /// Draws what has no position in a margin, and embeddings of positions beside the tokens: biases, features left out.
    pub fn biases(mut self) -> Self {
        self.has_margin = true;
        self
    }

    /// Saves the still picture as an SVG file, whose words are text, with a transparent background.
    ///
    /// # Errors
    /// As showing it; a file that cannot be written.
    pub fn save_svg(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let (scene, share) = self.checked()?;
        let picture = Still::new(&scene, &self.axis, share, MOST_ARROWS).svg(&self.about);
        crate::files::write_whole(path.as_ref(), |file| file.write_all(picture.as_bytes()))
    }

    /// Saves the still picture as a PNG file, with a transparent background.
    ///
    /// # Errors
    /// As showing it; a file that cannot be written.
    pub fn save_png(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let (scene, share) = self.checked()?;
        let picture = Still::new(&scene, &self.axis, share, MOST_ARROWS).png()?;
        crate::files::write_whole(path.as_ref(), |file| file.write_all(&picture))
    }

    /// What is drawn at first, and which share of the influence that is.
    ///
    /// # Errors
    /// What cannot be drawn.
    fn checked(&self) -> Result<(Scene, f64)> {
        let scene = if self.has_margin { self.scene.clone() } else { self.scene.without_margin() };
        if scene.marks.is_empty() {
            return Err(Error::argument("the graph has no nodes, so there is nothing to draw."));
        }
        let (clean, corrupted) = (self.axis.tokens.len(), self.axis.corrupted.len());
        if corrupted != 0 && corrupted != clean {
            return Err(Error::argument(format!(
                "{corrupted} corrupted tokens were given for a graph of {clean} positions: give one for each."
            )));
        }
        let share = match self.share {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                return Err(Error::argument(format!("`influence` was given {share}: give a share from 0 to 1.")));
            }
            Some(share) => share,
            None => at_first(&scene),
        };
        let scene = if self.groups.is_empty() { scene } else { scene.grouped(&self.groups) };
        Ok((scene, share))
    }

    /// What is not drawn.
    fn notes(&self, scene: &Scene, arrows: usize, briefs: &Briefs, still: Option<String>) -> Option<String> {
        let mut notes = Vec::new();
        let free = scene.marks.iter().filter(|mark| !mark.stays()).map(|mark| mark.nodes.len()).sum::<usize>();
        if free < scene.all_nodes {
            notes.push(format!(
                "Only the {free} of {} features and errors with {} are drawn.",
                scene.all_nodes, scene.most
            ));
        }
        if arrows < scene.arrows.len() {
            notes.push(format!(
                "Of the {} edges between them, the {arrows} with {} are drawn.",
                scene.arrows.len(),
                scene.most
            ));
        }
        if briefs.strange > 0 {
            notes.push(format!(
                "{} of {} dashboards are of features that are not drawn.",
                briefs.strange,
                self.dashboards.len()
            ));
        }
        if briefs.left_out > 0 {
            notes.push(format!("For {} more dashboards there is no room.", briefs.left_out));
        }
        notes.extend(still);
        (!notes.is_empty()).then(|| notes.join(" "))
    }
}

/// The share of the influence that the strongest features and errors have, all of it where there are few.
fn at_first(scene: &Scene) -> f64 {
    let mut free: Vec<f64> = scene.marks.iter().filter(|mark| !mark.stays()).map(|mark| mark.before).collect();
    free.sort_by(f64::total_cmp);
    free.get(AT_FIRST).copied().unwrap_or(1.0)
}

/// The nodes and edges as tables.
fn text(scene: &Scene) -> Result<String> {
    let mut order: Vec<&Mark> = scene.marks.iter().filter(|mark| mark.shape != Shape::Target).collect();
    order.sort_by(|a, b| b.strength.abs().total_cmp(&a.strength.abs()));
    let mut nodes = Table::new(["node", scene.strength]);
    for mark in order.into_iter().take(ROWS) {
        nodes = nodes.row((mark.name.clone(), mark.strength));
    }
    let mut edges = Table::new(["from", "to", "through", scene.weight]);
    for arrow in scene.arrows.iter().take(ROWS) {
        let name = |at: usize| scene.marks[at].name.clone();
        edges = edges.row((name(arrow.from), name(arrow.to), via_name(arrow.via), arrow.weight));
    }
    Ok(format!("{}\n\n{}", nodes.text_of()?, edges.text_of()?))
}

impl View for FeatureGraphView {
    /// A still picture, and the script that replaces it.
    fn render(&self) -> Result<Rendered> {
        let (scene, share) = self.checked()?;
        let briefs = Briefs::new(self, &scene);
        let arrows: Vec<Arrow> = scene.arrows.iter().take(MOST_ARROWS).copied().collect();
        let shown = scene.marks.iter().filter(|mark| mark.is_within(share) && !mark.stays()).count();
        let (still, picture) = Still::within(&scene, &self.axis, share, STILL)?;
        let (width, _) = still.size();
        let description = format!(
            "{}; {shown} features and errors with {:.0} % of {} and {} edges are drawn",
            self.about,
            100.0 * share,
            scene.all,
            still.arrows()
        );
        let image = format!(
            "<div style=\"overflow-x:auto\"><img alt=\"{}\" width=\"{width}\" style=\"max-width:100%\" \
             src=\"data:image/png;base64,{}\"></div>",
            escape(&visible(&description)),
            BASE64.encode(picture)
        );
        let mut forms = vec![form(&scene, &self.axis, &arrows, self, &briefs)];
        if !self.groups.is_empty() {
            let apart = if self.has_margin { self.scene.clone() } else { self.scene.without_margin() };
            let arrows: Vec<Arrow> = apart.arrows.iter().take(MOST_ARROWS).copied().collect();
            forms.push(form(&apart, &self.axis, &arrows, self, &briefs));
        }
        let names: Vec<String> = self.groups.iter().map(|(name, _)| visible(name)).collect();
        Ok(written(Drawn {
            title: self.title.clone().unwrap_or_else(|| "Feature graph".into()),
            note: self.notes(&scene, arrows.len(), &briefs, still.note()),
            text: format!("{description}\n\n{}", text(&scene)?),
            description,
            script: Script::Graph,
            kind: "graph",
            data: json!({
                "forms": forms, "briefs": briefs.all, "groups": names, "share": share,
                "strength": scene.strength, "all": scene.all,
            }),
            still: image,
        }))
    }
}

crate::views::show::shown!(FeatureGraphView);
crate::views::show::drawn_by_debug!(FeatureGraphView);
