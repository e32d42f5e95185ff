use candle_lens::prelude::*;
fn main() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    let mlps = set.only(["mlp0", "mlp1", "mlp2", "mlp3"])?;
    let mut page = Page::new();
    let graph = model.attribution_graph(mlps, prompt, GraphTargets::difference(" Mary", " John"))?.prune(0.85, 0.98)?;
    let of = |layer: usize| graph.sources().into_iter().filter(move |node| matches!(node, GraphNode::Feature { layer: own, pos: 14, .. } if *own == layer)).collect::<Vec<_>>();
    let name = of(2)[0];
    let groups = graph.supernodes().group("the answer is a name", of(3))?.group("early at the end", of(1).into_iter().chain(of(0)))?.label(name, "not John")?;
    page = page.with(&feature_graph(&groups).title("groups"))?;
    println!("{}", groups.collapse());
    let all = set.only(["z0", "z1", "z2", "z3", "mlp0", "mlp1", "mlp2", "mlp3"])?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let chained = model.chained_graph(all.clone(), prompt, Baseline::Zero, metric.clone())?;
    let view = feature_graph(&chained).title("chained, zero");
    println!("{} edges {} bytes", chained.edges().len(), view.render()?.html().len());
    page = page.with(&view)?;
    let chained = model.chained_graph(all, prompt, corrupted, metric)?;
    let view = feature_graph(&chained).title("chained, contrast").corrupted_tokens(model.to_str_tokens(corrupted)?).influence(0.6).biases();
    println!("{} edges {} bytes", chained.edges().len(), view.render()?.html().len());
    println!("{}", view.render()?.text());
    page = page.with(&view)?;
    page.save_html("/tmp/view/page.html")?;
    Ok(())
}
