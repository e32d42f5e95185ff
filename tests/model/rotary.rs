//! How configs say that rotary frequencies change, and what a run with kept keys does where they depend on the length.

use std::fs;

use candle_lens::Result;
use candle_lens::hooks::HookPlan;
use candle_lens::model::{HookedTransformerConfig, Processing, RotaryScaling, RunOptions};
use serde_json::{Value, json};

use crate::support::fixture::{Agreement, path};
use crate::support::models::pretrained;
use crate::support::scratch;
use crate::support::sentence::sentence;

/// The config of a small model with these fields besides.
fn read(fields: Value) -> Result<HookedTransformerConfig> {
    let mut all = json!({
        "n_layers": 2, "d_model": 16, "n_heads": 2, "d_vocab": 20, "n_ctx": 32, "positional_embedding_type": "rotary",
    });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let file = scratch("rotary_fields").join(format!("{:?}.json", std::thread::current().id()));
    fs::write(&file, all.to_string()).unwrap();
    HookedTransformerConfig::from_file(&file)
}

const LLAMA3: RotaryScaling =
    RotaryScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_n_ctx: 8192 };

#[test]
fn scaling_of_older_files_and_of_transformer_lens() -> Result<()> {
    // Written before there were other kinds than Llama 3's.
    let older = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_n_ctx": 8192});
    assert_eq!(read(json!({ "rotary_scaling": older }))?.rotary_scaling, Some(LLAMA3));
    assert_eq!(read(json!({"use_NTK_by_parts_rope": true}))?.rotary_scaling, Some(LLAMA3));
    assert_eq!(read(json!({"use_NTK_by_parts_rope": false, "NTK_by_parts_factor": 4.0}))?.rotary_scaling, None);

    let locals = json!({
        "use_local_attn": true, "window_size": 4, "attn_types": ["local", "global"], "rotary_base": 500.0,
    });
    let with = |fields: Value| {
        let mut all = locals.clone();
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        read(all)
    };
    let linear = with(json!({"rotary_scaling_factor": 8.0}))?;
    assert_eq!(linear.rotary_scaling, Some(RotaryScaling::Linear { factor: 8.0 }));
    assert_eq!(linear.rotary_base_local, Some(500.0), "TransformerLens scales global attention only");
    let own = with(json!({"rotary_scaling_factor": 8.0, "rotary_base_local": 10.0}))?;
    assert_eq!(own.rotary_base_local, Some(10.0));
    assert_eq!(read(json!({"rotary_scaling_factor": 1.0, "rotary_base_local": null}))?.rotary_scaling, None);

    let yarn = json!({"use_yarn_rope": true, "yarn_factor": 4.0, "yarn_beta_fast": 16.0, "yarn_truncate": false});
    let expected = RotaryScaling::Yarn {
        factor: 4.0,
        attention_factor: 1.0,
        beta_fast: 16.0,
        beta_slow: 1.0,
        truncate: false,
        original_n_ctx: 4096,
    };
    let everywhere = with(yarn.clone())?;
    assert_eq!((everywhere.rotary_scaling, everywhere.rotary_base_local), (Some(expected), None));
    let mut global = yarn.clone();
    global["yarn_global_attn_only"] = true.into();
    assert_eq!(with(global)?.rotary_base_local, Some(500.0));
    let mut both = yarn;
    both["rotary_base_local"] = 10.0.into();
    sentence(with(both), &["rotary_base_local", "not supported"]);
    sentence(read(json!({"use_dynamic_ntk_rope": true})), &["use_dynamic_ntk_rope", "not understood"]);
    sentence(read(json!({"rotary_scaling": {"kind": "unheard"}})), &["unheard", "linear"]);
    sentence(
        read(json!({"rotary_scaling": {"kind": "linear", "factor": 0.0}})),
        &["rotary_scaling", "positive factor"],
    );
    sentence(read(json!({"rotary_base_local": -1.0})), &["rotary_base_local", "positive"]);
    // It reads its blocks differently without a field that says so.
    let olmo = json!({"original_architecture": "Olmo2ForCausalLM"});
    sentence(read(olmo), &["Olmo2ForCausalLM", "norms behind attention"]);
    assert!(read(json!({"original_architecture": "LlamaForCausalLM"})).is_ok());
    Ok(())
}

/// Beyond the context of its training, this model rotates all tokens anew with each that is added.
#[test]
fn kept_keys_of_a_text_that_rotates_by_its_length() -> Result<()> {
    let folder = path("families/llama_dynamic");
    let model = pretrained(folder.to_str().expect("the path is UTF-8"), Some(Processing::NONE))?;
    let Some(RotaryScaling::Dynamic { original_n_ctx, factor }) = model.cfg().rotary_scaling else {
        panic!("{:?}", model.cfg().rotary_scaling);
    };
    assert_eq!(model.cfg().n_ctx, (original_n_ctx as f64 * factor) as usize);
    let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
    let row = |from: usize, to: usize| vec![(from..to).map(|i| (i * 7 % 37) as u32 + 1).collect::<Vec<_>>()];
    let mut agreement = Agreement::default();
    // Up to that length nothing changes, so what was computed holds.
    let past = model.run(row(0, 5), HookPlan::new(), &keep)?.kv_cache;
    let on = RunOptions { past_kv_cache: past, ..Default::default() };
    let continued = model.run(row(5, original_n_ctx), HookPlan::new(), &on)?.logits()?;
    let whole = model.forward(row(0, original_n_ctx))?.narrow(1, 5, original_n_ctx - 5)?;
    agreement.check("a text within the context of the training", &continued, &whole);
    agreement.finish("kept keys");
    let next = model.run(row(5, original_n_ctx + 1), HookPlan::new(), &on);
    sentence(next, &["rotary_scaling", "run the whole text"]);
    Ok(())
}
