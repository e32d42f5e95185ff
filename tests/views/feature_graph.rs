//! The view of graphs of features: what the slider shows is what pruning keeps, what is drawn is the graph's, hostile words stay words, and
//! it is small.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use candle_lens::prelude::*;
use candle_lens::views::{Rendered, Show};
use serde_json::Value;

/// The most that a graph of 300 nodes adds to a page.
const LARGEST: usize = 500_000;

/// Numbers are written with five digits.
const WRITTEN: f64 = 1e-4;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

fn set() -> candle_lens::Result<DictionarySet> {
    DictionarySet::open("tiny")?.only(["mlp0", "mlp1", "mlp2", "mlp3"])
}

/// A graph with more features and errors than are drawn.
fn whole() -> candle_lens::Result<AttributionGraph> {
    static GRAPH: OnceLock<AttributionGraph> = OnceLock::new();
    if let Some(graph) = GRAPH.get() {
        return Ok(graph.clone());
    }
    let model = HookedTransformer::from_pretrained("tiny")?;
    let graph = model.attribution_graph(set()?, PROMPT, GraphTargets::difference(" Mary", " John"))?;
    Ok(GRAPH.get_or_init(|| graph).clone())
}

/// What the browser looks at.
pub fn shown() -> candle_lens::Result<FeatureGraphView> {
    let graph = whole()?.prune(0.8, 0.98)?;
    let corrupted =
        HookedTransformer::from_pretrained("tiny")?.to_str_tokens(PROMPT.replace("John gave", "Mary gave"))?;
    Ok(feature_graph(&graph).title("feature_graph").corrupted_tokens(corrupted).dashboards(dashboards(&graph)))
}

/// What the script is given.
fn data(shown: &Rendered) -> Value {
    let json = shown.html().split("\",{").nth(1).and_then(|rest| rest.rsplit_once(")</script>")).expect("a call").0;
    serde_json::from_str(&format!("{{{json}")).expect("the script is given JSON")
}

/// The nodes of a form, as graphs call them.
fn names(form: &Value) -> Vec<String> {
    let nodes = form["nodes"].as_array().expect("nodes");
    let name = |node: &Value| {
        let name = node["name"].as_str().expect("a name");
        match node["pos"].as_u64() {
            Some(pos) if node["shape"] != "target" && node["shape"] != "position" => format!("{name} at {pos}"),
            _ => name.to_string(),
        }
    };
    nodes.iter().map(name).collect()
}

#[test]
fn the_slider_shows_what_pruning_keeps() -> candle_lens::Result<()> {
    let graph = whole()?;
    let data = data(&feature_graph(&graph).render()?);
    let form = &data["forms"][0];
    let names = names(form);
    for share in [0.8, 0.9] {
        let shown: BTreeSet<&str> = (0..names.len())
            .filter(|&at| form["nodes"][at]["stays"] != true)
            .filter(|&at| form["nodes"][at]["before"].as_f64().expect("a share") < share)
            .map(|at| names[at].as_str())
            .collect();
        let kept: Vec<String> = graph.prune(share, 1.0)?.sources().iter().map(ToString::to_string).collect();
        let is_free = |name: &&str| name.starts_with("feature") || name.starts_with("error");
        assert_eq!(shown, kept.iter().map(String::as_str).filter(is_free).collect(), "{share}");
        assert!(shown.len() >= 10, "{}", shown.len());
    }
    let share = data["share"].as_f64().expect("a share");
    let nodes = form["nodes"].as_array().expect("nodes");
    let is_first =
        |node: &&Value| node["stays"] != true && node["before"].as_f64().is_some_and(|before| before < share);
    assert_eq!(nodes.iter().filter(is_first).count(), 60, "those that are shown at first");
    Ok(())
}

#[test]
fn the_edges_are_the_graphs_and_the_most_influential_come_first() -> candle_lens::Result<()> {
    let graph = whole()?.prune(0.8, 0.98)?;
    let data = data(&feature_graph(&graph).biases().render()?);
    let form = &data["forms"][0];
    let names = names(form);
    let drawn: Vec<(&str, &str, f64)> = form["edges"]
        .as_array()
        .expect("edges")
        .iter()
        .map(|edge| {
            let name = |at: usize| names[edge[at].as_u64().expect("a node") as usize].as_str();
            (name(0), name(1), edge[3].as_f64().expect("a weight"))
        })
        .collect();
    let edges = graph.edges();
    assert_eq!(drawn.len(), edges.len(), "all of them have room");
    let name = |node| graph.name_of(node);
    for (edge, &(from, to, weight)) in edges.iter().zip(&drawn) {
        // Edges of equal influence may change places.
        let same = drawn.iter().find(|(a, b, _)| *a == name(edge.source) && *b == name(edge.target));
        let (_, _, own) = same.unwrap_or_else(|| panic!("{edge} is not drawn"));
        assert!((own - f64::from(edge.weight)).abs() <= WRITTEN * own.abs(), "{edge}: {own}; {from} {to} {weight}");
    }
    let first: Vec<&str> = drawn[..10].iter().map(|(from, ..)| *from).collect();
    assert_eq!(first, edges[..10].iter().map(|edge| name(edge.source)).collect::<Vec<_>>());
    // The sign is in the picture and in the numbers.
    assert!(drawn.iter().any(|(.., weight)| *weight < 0.0) && drawn.iter().any(|(.., weight)| *weight > 0.0));
    Ok(())
}

/// A dashboard for each feature of the graph.
fn dashboards(graph: &AttributionGraph) -> Vec<FeatureDashboard> {
    let one = super::features::feature();
    let of = |node: GraphNode| match node {
        GraphNode::Feature { layer, feature, .. } => Some((layer, feature)),
        _ => None,
    };
    let features: BTreeSet<(usize, usize)> = graph.sources().into_iter().filter_map(of).collect();
    let dashboard = |(layer, feature)| FeatureDashboard {
        dictionary: format!("mlp{layer}"),
        feature,
        reads_at: format!("blocks.{layer}.ln2.hook_normalized"),
        ..one.clone()
    };
    features.into_iter().map(dashboard).collect()
}

#[test]
fn three_hundred_nodes_with_their_dashboards_are_small() -> candle_lens::Result<()> {
    let graph = whole()?;
    let view = feature_graph(&graph).biases().dashboards(dashboards(&graph));
    let shown = view.render()?;
    let of = data(&shown);
    let free = of["forms"][0]["nodes"].as_array().expect("nodes").iter().filter(|node| node["stays"] != true).count();
    assert_eq!(free, 300);
    let path = std::env::temp_dir().join(format!("candle-lens-graph-{}.html", std::process::id()));
    view.save_html(&path)?;
    let page = std::fs::read_to_string(&path).expect("the page");
    std::fs::remove_file(&path).expect("the page");
    println!("{} bytes, the page {}", shown.html().len(), page.len());
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    assert!(!page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org/").count());
    assert!(!page.contains("https://") && !page.contains("src=\"//"), "nothing is fetched");
    for words in [
        "300 of",
        "features and errors with the most influence",
        "the 1500 with",
        "dashboards are of features that are not drawn",
    ] {
        assert!(shown.text().contains(words) && shown.html().contains(words), "{words}: {}", &shown.text()[..600]);
    }
    assert!(of["briefs"].as_array().expect("briefs").len() > 100);
    Ok(())
}

#[test]
fn a_dashboard_belongs_to_its_layer_and_is_short() -> candle_lens::Result<()> {
    let graph = whole()?.prune(0.8, 0.98)?;
    let all = dashboards(&graph);
    let of = data(&feature_graph(&graph).dashboards(all.clone()).render()?);
    let mut seen = 0;
    for node in of["forms"][0]["nodes"].as_array().expect("nodes").iter().filter(|node| node["shape"] == "mlp") {
        let (layer, feature) =
            node["name"].as_str().and_then(|name| name.strip_prefix("feature ")?.split_once('/')).expect("a feature");
        let brief = &of["briefs"][node["brief"].as_u64().expect("each has one") as usize];
        assert_eq!(brief["of"], format!("mlp{layer} {feature}"));
        assert_eq!((brief["up"][0][0].as_str(), brief["up"].as_array().map(Vec::len)), (Some(" John"), Some(6)));
        assert_eq!(brief["texts"].as_array().map(Vec::len), Some(3));
        seen += 1;
    }
    assert_eq!(seen, graph.features());
    let strange = feature_graph(&graph).dashboards([super::features::feature()]).render()?;
    assert!(strange.text().contains("1 of 1 dashboards are of features that are not drawn"), "{}", strange.text());
    Ok(())
}

#[test]
fn groups_are_one_node_and_their_edges_are_sums() -> candle_lens::Result<()> {
    let graph = whole()?.prune(0.85, 0.98)?;
    let of = |layer: usize| {
        let own = move |node: &GraphNode| matches!(node, GraphNode::Feature { layer: own, .. } if *own == layer);
        graph.sources().into_iter().filter(own).collect::<Vec<_>>()
    };
    let groups = graph.supernodes().group("late", of(3))?.group("early", of(0))?.label(of(2)[0], "</b> a name")?;
    let shown = feature_graph(&groups).influence(0.0).render()?;
    let of_page = data(&shown);
    let [together, apart] = [&of_page["forms"][0], &of_page["forms"][1]];
    let drawn = names(together);
    let at = |name: &str| {
        drawn.iter().position(|own| own.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in {drawn:?}"))
    };
    let weight = |from: usize, to: usize| {
        let mut edges = together["edges"].as_array().expect("edges").iter();
        let own = edges.find(|edge| edge[0].as_u64() == Some(from as u64) && edge[1].as_u64() == Some(to as u64));
        own.map_or(0.0, |edge| edge[3].as_f64().expect("a weight"))
    };
    let target = GraphNode::Target { number: 0 };
    let collapsed = groups.pin([target])?.collapse();
    let sums = [
        (weight(at("early"), at("late")), collapsed.edge("early", "late")?.weight),
        (weight(at("early"), at(" Mary")), collapsed.edge("early", target)?.weight),
        (weight(at("late"), at(" Mary")), collapsed.edge("late", target)?.weight),
    ];
    for (own, sum) in sums {
        assert!(own != 0.0 && (own - f64::from(sum)).abs() <= WRITTEN * f64::from(sum.abs()), "{own} {sum}");
    }
    let late = &together["nodes"][at("late")];
    assert_eq!(late["shape"], "group");
    assert_eq!(late["members"].as_array().map(Vec::len), Some(of(3).len()));
    // Members of groups stay whatever the slider says, and a label is a name.
    let nodes = apart["nodes"].as_array().expect("nodes");
    let members: Vec<&Value> = nodes.iter().filter(|node| !node["groups"].is_null()).collect();
    assert_eq!(members.len(), of(0).len() + of(3).len());
    assert!(members.iter().all(|node| node["before"].as_f64() == Some(0.0)));
    assert_eq!(nodes.iter().filter(|node| node["label"] == "</b> a name").count(), 1);
    assert!(!shown.html().contains("</b>"));
    Ok(())
}

#[test]
fn a_chained_graph_has_its_kinds_of_edges_and_features_of_attention() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = DictionarySet::open("tiny")?.only(["z0", "z1", "mlp0", "mlp1"])?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let graph =
        model.chained_graph(dictionaries, "When John and Mary went, John gave it to", Baseline::Zero, metric)?;
    let shown = feature_graph(&graph).render()?;
    let of = data(&shown);
    let form = &of["forms"][0];
    let names = names(form);
    let words = |list: &Value, key: &str| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|one| one[key].as_str().expect("words").to_string()).collect()
    };
    let kinds = words(&form["kinds"], "name");
    assert_eq!(kinds, ["mlp", "ov", "q", "k", "direct"]);
    let name = |node: GraphNode| match node {
        GraphNode::Target { .. } => graph.metric(),
        node => node.to_string(),
    };
    let key = |from: &str, to: &str, kind: &str| format!("{from} -> {to} ({kind})");
    let edges: HashMap<String, f32> = graph
        .edges()
        .iter()
        .map(|edge| (key(&name(edge.source), &name(edge.target), &edge.via.to_string()), edge.metric))
        .collect();
    let drawn = form["edges"].as_array().expect("edges");
    assert_eq!(drawn.len(), 1500);
    for edge in drawn {
        let part = |at: usize| edge[at].as_u64().expect("an index") as usize;
        let own = edges[&key(&names[part(0)], &names[part(1)], &kinds[part(2)])];
        let weight = edge[3].as_f64().expect("a weight");
        assert!((weight - f64::from(own)).abs() <= WRITTEN * weight.abs(), "{edge} {own}");
    }
    let (shapes, called) = (words(&form["nodes"], "shape"), words(&form["nodes"], "name"));
    let has = |shape: &str, name: &str| shapes.iter().zip(&called).any(|(s, n)| s == shape && n.starts_with(name));
    assert!(has("attention", "attention feature") && has("mlp", "feature") && has("error", "attention error"));
    assert_eq!(words(&form["floors"], "name")[..3], ["tokens", "L0 attn", "L0 MLP"]);
    assert!(shown.text().contains("of the scores") && shown.html().len() < LARGEST);
    Ok(())
}

/// Words that must not act as markup.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\u{202e}\" onload=\"x\nEVCXR_END_CONTENT\n";

#[test]
fn hostile_words_stay_words() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let graph = model.attribution_graph(set()?, HOSTILE, GraphTargets::top())?.prune(0.5, 0.8)?;
    let hostile = |of: FeatureDashboard| FeatureDashboard {
        dictionary: HOSTILE.into(),
        logits: FeatureLogits {
            top: vec![TokenValue { token: 1, text: HOSTILE.into(), value: f32::NAN }; 3],
            ..of.logits.clone()
        },
        ..of
    };
    let corrupted = vec![HOSTILE; graph.tokens().len()];
    let view = feature_graph(&graph)
        .title(HOSTILE)
        .corrupted_tokens(corrupted)
        .dashboards(dashboards(&graph).into_iter().map(hostile));
    let shown = view.render()?;
    data(&shown);
    for tag in shown.html().split('<').skip(1) {
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(["div", "img", "script"].contains(&name.as_str()), "<{}", &tag[..tag.len().min(60)]);
    }
    assert_eq!((shown.html().matches("<script>").count(), shown.html().matches("</script").count()), (1, 1));
    for text in [shown.html(), shown.text()] {
        assert!(!text.contains(['\0', '\u{202e}']));
        assert!(!text.lines().any(|line| line == "EVCXR_END_CONTENT"));
    }
    assert_eq!(shown, view.render()?, "the same graph is the same view");
    Ok(())
}

/// Nodes without any influence have nothing before all of it.
#[test]
fn at_its_end_the_slider_shows_all() -> candle_lens::Result<()> {
    let graph = whole()?.prune(0.8, 0.98)?;
    let silent = graph.influence().ranked().iter().filter(|(_, influence)| *influence == 0.0).count();
    let drawn = names(&data(&feature_graph(&graph).render()?)["forms"][0]).len();
    let at_end = feature_graph(&graph).influence(1.0).render()?;
    let alt = at_end.html().split("alt=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a picture");
    let free = graph
        .sources()
        .iter()
        .filter(|node| matches!(node, GraphNode::Feature { .. } | GraphNode::Error { .. }))
        .count();
    assert!(
        alt.contains(&format!("{free} features and errors with 100 %")),
        "{alt} of {drawn}, {silent} of them silent"
    );
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error_in_a_sentence() -> candle_lens::Result<()> {
    let graph = whole()?;
    let cases = [
        (feature_graph(&graph).influence(1.5), "`influence` was given 1.5: give a share from 0 to 1"),
        (feature_graph(&graph).influence(f64::NAN), "give a share from 0 to 1"),
        (feature_graph(&graph).corrupted_tokens(["a"]), "1 corrupted tokens were given for a graph of 15 positions"),
    ];
    for (view, words) in cases {
        let sentence = view.render().expect_err("it cannot be drawn").to_string();
        assert!(sentence.contains(words), "{sentence}");
    }
    Ok(())
}

#[test]
fn a_graph_of_a_long_prompt_has_a_still_picture_that_fits() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let long = ["The keys on the cabinet and the letters in the old house are"; 6].join(", ");
    let options = GraphOptions { most_features: Some(200), ..GraphOptions::default() };
    let graph = model.attribution_graph_with(set()?, long, GraphTargets::top(), options)?;
    let shown = feature_graph(&graph).render()?;
    let width: usize =
        shown.html().split("width=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok()).expect("a width");
    assert!(width <= 1_300, "{width}");
    assert!(shown.text().contains("The still picture leaves out the "), "{}", &shown.text()[..300]);
    assert_eq!(data(&shown)["forms"][0]["lanes"].as_array().map(Vec::len), Some(graph.tokens().len()));
    assert!(shown.html().len() < LARGEST);
    Ok(())
}

#[test]
fn it_is_saved_as_a_picture() -> candle_lens::Result<()> {
    let view = feature_graph(&whole()?.prune(0.8, 0.98)?);
    let path = |ending: &str| std::env::temp_dir().join(format!("candle-lens-graph-{}.{ending}", std::process::id()));
    view.save_svg(path("svg"))?;
    view.save_png(path("png"))?;
    let svg = std::fs::read_to_string(path("svg")).expect("the picture");
    assert!(svg.starts_with("<svg ") && svg.contains(">Mary<") || svg.contains("> Mary<"), "{}", &svg[..200]);
    assert!(std::fs::read(path("png")).expect("the picture").starts_with(b"\x89PNG"));
    ["svg", "png"].iter().for_each(|ending| std::fs::remove_file(path(ending)).expect("the picture"));
    Ok(())
}
