//! How the values of the other rooms show themselves.

use std::collections::BTreeSet;

use candle_core::Device;
use candle_lens::hooks::HookPlan;
use candle_lens::labelled::{Axis, Labelled};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::tokens::Tokens;
use candle_lens::views::View;

fn text(view: &impl View) -> String {
    view.render().expect("this can be shown").text().to_owned()
}

fn config() -> HookedTransformerConfig {
    HookedTransformerConfig { n_layers: 3, d_model: 8, n_heads: 2, d_vocab: 11, n_ctx: 6, ..Default::default() }
}

fn numbered(title: &str, axes: &[(&str, usize)], values: Vec<f32>) -> Labelled {
    let axes: Vec<Axis> = axes.iter().map(|&(name, size)| Axis::numbered(name, size)).collect();
    Labelled::new(title, axes, values).expect("as many values as labels")
}

#[test]
fn a_config_lists_every_field() {
    let shown = text(&config());
    let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let listed: BTreeSet<String> = shown.lines().skip(3).map(first).collect();
    let json = serde_json::to_value(config()).expect("a config is JSON");
    let mut fields: BTreeSet<String> = json.as_object().expect("an object").keys().cloned().collect();
    fields.insert("n_params".into());
    assert_eq!(listed, fields);
    let order: Vec<String> = shown.lines().skip(3).take(3).map(first).collect();
    assert_eq!(order, ["model_name", "n_layers", "d_model"], "as the fields are declared");
    // What is left open is shown as it comes out; what is absent is none.
    for line in ["d_head 4", "act_fn gelu_new", "d_mlp 32", "n_key_value_heads 2", "attn_scale 2", "window_size none"] {
        let words = |shown: &str| shown.split_whitespace().collect::<Vec<_>>().join(" ") == line;
        assert!(shown.lines().any(words), "{line}\n{shown}");
    }
}

#[test]
fn a_cache_lists_sites_once_for_all_layers() -> candle_lens::Result<()> {
    let (model, _) = HookedTransformer::trainable(config(), 0, &Device::Cpu)?;
    let plan = HookPlan::new().capture("q").capture(("pattern", 0)).capture(("pattern", 2)).capture("embed");
    let (_, cache) = model.run_with_hooks(Tokens::from_rows(vec![vec![1, 2, 3, 4]; 2])?, &plan)?;
    assert_eq!(
        text(&cache),
        "ActivationCache of 6 points, 1.5 kB\n\
         hook point                  layers  shape         bytes\n\
         ──────────────────────────  ──────  ────────────  ─────\n\
         hook_embed                          [2, 4, 8]     256 B\n\
         blocks.*.attn.hook_q        0-2     [2, 4, 2, 4]  768 B\n\
         blocks.*.attn.hook_pattern  0, 2    [2, 2, 4, 4]  512 B"
    );
    let memory = plan.memory(&model.dims(), 2, 4, model.dtype())?;
    let (planned, kept) = (text(&memory), text(&cache));
    let rows = |shown: &str| shown.lines().skip(1).take(5).map(String::from).collect::<Vec<_>>();
    assert_eq!(rows(&planned), rows(&kept));
    assert!(planned.contains("352 B of logits"), "{planned}");
    Ok(())
}

#[test]
fn a_result_takes_the_form_that_suits_its_axes() {
    let one = numbered("logit difference", &[("prompt", 2)], vec![1.5, -0.25]);
    assert_eq!(
        text(&one),
        "prompt  logit difference\n──────  ────────────────\n0                  1.500\n1                 -0.250"
    );
    let none = one.mean_over("prompt").expect("it has prompts");
    assert_eq!(text(&none), "logit difference: 0.625");
    let two = numbered("scores", &[("layer", 2), ("head", 2)], vec![1.0, 2.0, 3.0, 4.0]);
    assert!(two.render().expect("a figure").html().contains("data-figure"));
    let infinite = numbered("scores", &[("q_pos", 1), ("k_pos", 2)], vec![1.0, f32::NEG_INFINITY]);
    let shown = infinite.render().expect("a figure with a gap");
    assert!(shown.html().contains("data-figure") && shown.text().contains("-inf"));
    assert!(shown.text().contains("gap: -inf (1 of 2 values)"), "{}", shown.text());
    let three = numbered("scores", &[("layer", 2), ("head", 2), ("pos", 6)], (0..24).map(|i| i as f32).collect());
    let listed = text(&three);
    assert!(listed.starts_with("scores (layer 2 x head 2 x pos 6)\nlayer  head  pos  value\n"), "{listed}");
    assert!(
        listed.ends_with("the 10 largest of 24 values") && listed.contains("\n1      1     5       23\n"),
        "{listed}"
    );
}

#[test]
fn a_model_shows_its_tree_and_tokens_their_ids() -> candle_lens::Result<()> {
    let (model, _) = HookedTransformer::trainable(config(), 0, &Device::Cpu)?;
    assert!(text(&model).contains("(0-2): 3 x TransformerBlock("));
    let html = Tokens::from_rows(vec![vec![7, 8]])?.render()?.html().to_owned();
    assert!(html.starts_with("<pre") && html.contains("[7, 8]"), "{html}");
    Ok(())
}
