//! What an edge says is what happens in a run whose patterns, scales and MLPs are held: there, adding to what one source writes
//! moves every pre-activation and every logit by its edge.

use candle_lens::Result;
use candle_lens::feature_graphs::{GraphNode, GraphTargets};
use candle_lens::prelude::*;

use super::sums::{Kind, transcoder};

/// Pre-activations are below 10, in f32.
const ROUNDING: f32 = 5e-5;

/// A run of the prompt in which everything nonlinear keeps its value of the clean run, and one MLP writes something more.
fn held(
    model: &HookedTransformer,
    clean: &ActivationCache,
    layer: usize,
    pos: usize,
    more: &Tensor,
) -> Result<ActivationCache> {
    let mut plan =
        HookPlan::new().capture_all().edit("ln_final.hook_scale", Edit::replace(clean.get("ln_final.hook_scale")?));
    for block in 0..model.cfg().n_layers {
        for site in ["attn.hook_pattern", "ln1.hook_scale", "ln2.hook_scale", "hook_mlp_out"] {
            let name = format!("blocks.{block}.{site}");
            let mut value = clean.get(name.as_str())?;
            if site == "hook_mlp_out" && block == layer {
                let shift = more.reshape((1, 1, more.elem_count()))?;
                let shift = shift.pad_with_zeros(1, pos, value.dim(1)? - pos - 1)?;
                value = (value + shift)?;
            }
            plan = plan.edit(name, Edit::replace(value));
        }
    }
    Ok(model.run_with_hooks(clean.tokens(), plan.capture(("mlp_hook_in", "unembed_in")))?.1)
}

#[test]
fn a_source_added_once_more_moves_every_target_by_its_edge() -> Result<()> {
    for processing in [Processing::NONE, Processing::default()] {
        let model = HookedTransformer::from_pretrained_with("tiny", processing)?;
        let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "mlp.hook_in", Kind::Plain));
        let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
        let prompt = "When John and Mary went to the shops";
        let target = GraphTargets::difference(" Mary", " John");
        let graph = model.attribution_graph(&dictionaries, prompt, target)?;
        let plan = HookPlan::new().capture_all().capture(("mlp_hook_in", "unembed_in"));
        let clean = model.run_with_hooks(prompt, plan)?.1;
        let direction = Target::from((" Mary", " John")).directions(&model)?;
        let last = clean.tokens().pos() - 1;
        let mut moved = 0;
        for &source in graph.sources().iter().step_by(31) {
            let GraphNode::Feature { layer, pos, feature } = source else { continue };
            let row = dictionaries[layer].w_dec().get(feature)?;
            let more = (row * f64::from(graph.activation(source)?))?;
            let run = held(&model, &clean, layer, pos, &more)?;
            for edge in graph.edges_out_of(source)? {
                let change = |point: &str, pos: usize, along: &Tensor| -> Result<f32> {
                    let change = (run.get(point)? - clean.get(point)?)?.get(0)?.get(pos)?;
                    Ok((change * along)?.sum_all()?.to_scalar::<f32>()?)
                };
                let seen = match edge.target {
                    GraphNode::Feature { layer, pos, feature } => {
                        let reads = dictionaries[layer].w_enc().t()?.get(feature)?;
                        change(&format!("blocks.{layer}.mlp.hook_in"), pos, &reads)?
                    }
                    _ => change("unembed.hook_in", last, &direction)?,
                };
                assert!((seen - edge.weight).abs() < ROUNDING, "{edge}: the held run moves by {seen}");
                moved += 1;
            }
        }
        assert!(moved > 100, "{moved} edges");
    }
    Ok(())
}
