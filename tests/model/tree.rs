//! The printed module tree.

use candle_lens::hooks::HookPoint;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};

use crate::support::models::every_model;

/// Names of the hook points of a printed tree, with the modules that they stand in.
fn points(tree: &str) -> Vec<String> {
    let mut within: Vec<String> = Vec::new();
    let mut names = Vec::new();
    for line in tree.lines().skip(1) {
        let line = line.trim();
        let Some((name, what)) = line.strip_prefix('(').and_then(|line| line.split_once("): ")) else {
            assert_eq!(line, ")", "{tree}");
            within.pop();
            continue;
        };
        if what.ends_with('(') {
            // What stands for all blocks has no name of its own.
            let part = if name == "blocks" || name.starts_with("0-") { String::new() } else { format!("{name}.") };
            within.push(part);
        } else if what == "HookPoint()" {
            names.push(format!("{}{name}", within.concat()));
        }
    }
    assert!(within.is_empty(), "{tree}");
    names
}

#[test]
fn every_point_of_every_model_is_in_its_tree() {
    for (name, model) in every_model() {
        let mut printed = points(&format!("{model}"));
        let of_a_block = |point: &HookPoint| point.layer().is_none_or(|layer| layer == 0);
        let names = HookPoint::all(&model.dims()).into_iter().filter(of_a_block);
        let mut expected: Vec<String> =
            names.map(|point| point.to_string().trim_start_matches("blocks.0.").to_string()).collect();
        printed.sort();
        expected.sort();
        assert_eq!(printed, expected, "{name}");
    }
}

#[test]
fn the_tree_looks_as_pytorch_prints_it() -> candle_lens::Result<()> {
    let cfg = HookedTransformerConfig {
        n_layers: 3,
        d_model: 8,
        n_heads: 2,
        d_vocab: 10,
        n_ctx: 6,
        attn_only: true,
        use_qk_norm: true,
        ..Default::default()
    };
    let (model, _) = HookedTransformer::trainable(cfg, 0, &candle_lens::candle::Device::Cpu)?;
    let tree = format!("{model}");
    for part in [
        "HookedTransformer(\n  (hook_tokens): HookPoint()\n  (embed): Embed()\n  (hook_embed): HookPoint()\n",
        "  (blocks): ModuleList(\n    (0-2): 3 x TransformerBlock(\n      (ln1): LayerNorm(\n",
        "      (attn): Attention(\n        (q_norm): RMSNorm(\n          (hook_scale): HookPoint()\n",
        "  (ln_final): LayerNorm(\n    (hook_scale): HookPoint()\n",
        "  (unembed): Unembed(\n    (hook_in): HookPoint()\n    (hook_out): HookPoint()\n  )\n)",
    ] {
        assert!(tree.contains(part), "{part}\nis not in\n{tree}");
    }
    Ok(())
}
