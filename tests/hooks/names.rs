//! Names of hook points: TransformerLens' own, its shorthands, and what is refused.

use candle_lens::dims::Dims;
use candle_lens::hooks::{HookPoint, HookQuery, Site, hooks_markdown};

const DIMS: Dims = Dims {
    n_layers: 5,
    n_heads: 4,
    d_model: 16,
    d_head: 4,
    d_mlp: 32,
    d_vocab: 50,
    d_vocab_out: 50,
    n_ctx: 12,
    n_key_value_heads: 4,
    parallel_attn_mlp: false,
    gated_mlp: false,
    norms_after: false,
    reads_unnormed: false,
    rotary: false,
    shortformer: false,
    alibi: false,
    qk_norm: false,
    neuron_norm: false,
    attn_only: false,
    has_norm: true,
};

fn resolve(query: impl Into<HookQuery>) -> String {
    query.into().resolve(&DIMS).map_or_else(|error| error.to_string(), |point| point.to_string())
}

/// What TransformerLens 3.9's `get_act_name` answers to the same arguments.
#[test]
fn shorthands_mean_what_they_mean_in_transformer_lens() {
    let cases: [(HookQuery, &str); 19] = [
        ("k3".into(), "blocks.3.attn.hook_k"),
        (("k", 3).into(), "blocks.3.attn.hook_k"),
        (("scale", 4, "ln1").into(), "blocks.4.ln1.hook_scale"),
        ("scale4ln1".into(), "blocks.4.ln1.hook_scale"),
        ("normalized2ln2".into(), "blocks.2.ln2.hook_normalized"),
        ("pre1".into(), "blocks.1.mlp.hook_pre"),
        (("mlp_post", 0).into(), "blocks.0.mlp.hook_post"),
        (("attn", 2).into(), "blocks.2.attn.hook_pattern"),
        (("attn_logits", 2).into(), "blocks.2.attn.hook_attn_scores"),
        (("query", 1).into(), "blocks.1.attn.hook_q"),
        (("resid_pre", 0).into(), "blocks.0.hook_resid_pre"),
        (("result", 1, "attn").into(), "blocks.1.attn.hook_result"),
        ("embed".into(), "hook_embed"),
        ("pos_embed".into(), "hook_pos_embed"),
        ("scale".into(), "ln_final.hook_scale"),
        ("normalized".into(), "ln_final.hook_normalized"),
        ("unembed".into(), "unembed.hook_out"),
        ("logits".into(), "unembed.hook_out"),
        ("unembed_in".into(), "unembed.hook_in"),
    ];
    for (query, name) in cases {
        assert_eq!(resolve(query.clone()), name, "{query:?}");
    }
    assert_eq!(resolve(("resid_post", -1)), "blocks.4.hook_resid_post");
    assert_eq!(resolve((Site::Z, 2)), "blocks.2.attn.hook_z");
}

#[test]
fn every_point_reads_back_from_its_own_name() {
    let points = HookPoint::all(&DIMS);
    assert_eq!(points.len(), 7 + 5 * 24);
    for point in points {
        assert_eq!(point.to_string().parse::<HookPoint>().unwrap(), point);
        assert_eq!(point.shape(&DIMS, 2, 7)[0], 2);
    }
}

#[test]
fn a_wrong_name_is_refused_with_the_nearest_valid_one() {
    for (name, nearest) in [
        ("blocks.2.attn.hook_paterns", "blocks.2.attn.hook_pattern"),
        ("resid_prr3", "resid_pre3"),
        ("blocks.1.hook_mlp_output", "blocks.1.hook_mlp_out"),
        ("scale2", "scale2ln1"),
        ("hook_embd", "hook_embed"),
    ] {
        let message = resolve(name);
        assert!(message.contains("no hook point") && message.contains(&format!("{nearest:?}")), "{name}: {message}");
    }
}

#[test]
fn layers_outside_the_model_and_missing_layers_are_refused() {
    assert!(resolve("blocks.5.hook_resid_pre").contains("layer 5 does not exist: the model has 5 layers"));
    assert!(resolve(("q", -6)).contains("layer -6"));
    assert!(resolve("pattern").contains("needs a layer"));
    assert_eq!(HookQuery::from("pattern").resolve_all(&DIMS).unwrap().len(), 5);
}

#[test]
fn points_that_an_architecture_lacks_say_why() {
    let attn_only = Dims { attn_only: true, d_mlp: 0, ..DIMS };
    let message = HookQuery::from(("post", 0)).resolve(&attn_only).unwrap_err().to_string();
    assert!(message.contains("blocks.0.mlp.hook_post") && message.contains("attention only"), "{message}");
    let no_norm = Dims { has_norm: false, ..DIMS };
    assert!(HookQuery::from("scale").resolve(&no_norm).unwrap_err().to_string().contains("no layer norms"));
    assert!(HookPoint::all(&no_norm).iter().all(|point| !point.to_string().contains("ln")));
}

#[test]
fn hooks_md_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/HOOKS.md");
    let made = hooks_markdown();
    if std::env::var_os("UPDATE_HOOKS_MD").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == made, "HOOKS.md is stale: run UPDATE_HOOKS_MD=1 cargo test --test suite hooks_md");
}

#[test]
fn points_of_several_kinds_are_one_list() -> candle_lens::Result<()> {
    use candle_lens::hooks::{HookQueries, HookQuery, Site};
    let model = crate::support::fixture::tiny_model(candle_lens::model::Processing::NONE);
    let names = |queries: HookQueries| -> Vec<String> { queries.queries().iter().map(HookQuery::to_string).collect() };
    assert_eq!(names("z".into()), ["z"]);
    assert_eq!(names(("z", 1).into()), ["z1"]);
    assert_eq!(names(("normalized", 1, "ln2").into()), ["normalized1ln2"]);
    assert_eq!(names(["z", "q"].into()), ["z", "q"]);
    assert_eq!(names(vec![("z", 0), ("q", 1)].into()), ["z0", "q1"]);
    assert_eq!(names([String::from("z")].as_slice().into()), ["z"]);
    let mixed: HookQueries = ("z", ("post", -1), "embed", ("scale", 0, "ln1"), HookPoint::Block(0, Site::Q)).into();
    let points = mixed.resolve_all(&model.dims())?;
    assert_eq!(points.len(), 6);
    assert!(points.is_sorted(), "{points:?}");
    assert!(mixed.to_string().starts_with("z, post-1, embed"), "{mixed}");
    let twice: HookQueries = ("z", ("z", 1)).into();
    assert_eq!(twice.resolve_all(&model.dims())?.len(), 2);
    // A list that is used again, and one that is computed.
    let list = vec![("z", 0), ("q", 1)];
    assert_eq!([names((&list).into()), names((&["z", "q"]).into())], [["z0", "q1"], ["z", "q"]]);
    assert_eq!(names(HookQueries::from(&twice)), ["z", "z1"]);
    assert_eq!(names((0..2).map(|layer| ("z", layer)).collect()), ["z0", "z1"]);
    // The same in a plan.
    let (_, cache) = model
        .run_with_hooks(vec![vec![1u32, 2, 3]], candle_lens::hooks::HookPlan::new().capture(("z", ("post", 1))))?;
    assert_eq!(cache.len(), 3);
    Ok(())
}
