//! What GGUF files say of positions and windows in more than one way, or in a way that contradicts itself.

use candle_lens::model::{AttentionType, Processing};

use super::gguf::{changed_of, file, load, logits};
use crate::support::assert_close;
use crate::support::fixture::{Reference, TOLERANCE};
use crate::support::gguf::{f32_value, list_value, text_value, u32_value};
use crate::support::sentence::sentence;

/// llama.cpp divides by the factors and by the keys; either alone would be another model.
#[test]
fn positions_that_are_stretched_twice_are_refused() {
    let by = |kind: &str, factor: f32| {
        changed_of("llama3", "twice", |whole| {
            whole.with("llama.rope.scaling.type", text_value(kind)).with("llama.rope.scaling.factor", f32_value(factor))
        })
    };
    for kind in ["linear", "yarn"] {
        sentence(load(&by(kind, 2.0), Processing::NONE), &["model.gguf", "rope_freqs.weight", kind, "twice"]);
    }
    let reference = Reference::load("gguf/logits.safetensors");
    for (kind, factor) in [("none", 2.0), ("linear", 1.0)] {
        let model = load(&by(kind, factor), Processing::NONE).unwrap();
        assert_close(&logits(&model, &reference), reference.get("llama3"), TOLERANCE as f32, kind);
    }
}

#[test]
fn keys_for_longer_contexts_need_their_factors() {
    let refused = |key: &str, value: Vec<u8>, says: &str| {
        let place = changed_of("phi3", "without_factors", |whole| whole.with(key, value));
        sentence(load(&place, Processing::NONE), &["model.gguf", says, "rope_factors_long.weight"]);
    };
    refused("phi3.rope.scaling.type", text_value("longrope"), "longrope");
    refused("phi3.rope.scaling.type", text_value("linear"), "linear");
    refused("phi3.rope.scaling.attn_factor", f32_value(1.25), "1.25");
    let harmless = changed_of("phi3", "without_factors", |whole| {
        whole.with("phi3.rope.scaling.attn_factor", f32_value(1.0)).with("phi3.rope.scaling.type", text_value("none"))
    });
    assert!(load(&harmless, Processing::NONE).unwrap().cfg().long_rope.is_none());
}

/// As in llama.cpp, whose layers then all see everything and rotate by the base of those that do.
#[test]
fn gemma_3_without_a_window_has_no_windows() {
    let key = "gemma3.attention.sliding_window";
    for zero in [false, true] {
        let place = changed_of("gemma3", "no_window", |whole| match zero {
            true => whole.with(key, u32_value(0)),
            false => whole.without(key),
        });
        let cfg = load(&place, Processing::NONE).unwrap().cfg().clone();
        assert!(cfg.attn_types.as_ref().expect("Gemma 3 has them").iter().all(|kind| *kind == AttentionType::Global));
    }
    let whole = load(&file("gemma3"), Processing::NONE).unwrap().cfg().clone();
    assert!(
        whole.attn_types.as_ref().expect("Gemma 3 has them").contains(&AttentionType::Local),
        "or else this tests nothing"
    );
}

#[test]
fn layers_with_windows_may_be_listed() {
    let listed = |value: Vec<u8>| {
        let key = "gemma3.attention.sliding_window_pattern";
        load(&changed_of("gemma3", "windows", |whole| whole.with(key, value)), Processing::NONE)
    };
    let flags = |flags: &[u8]| list_value(7, flags.len() as u64, flags);
    let reference = Reference::load("gguf/logits.safetensors");
    // What a file without the key means: all but every sixth.
    let same = listed(flags(&[1, 1, 1, 1, 1, 0])).unwrap();
    assert_close(&logits(&same, &reference), reference.get("gemma3"), TOLERANCE as f32, "listed windows");
    let kinds = listed(flags(&[0, 1, 1, 1, 1, 1])).unwrap().cfg().attn_types.clone().expect("Gemma 3 has them");
    assert_eq!(kinds.iter().position(|kind| *kind == AttentionType::Global), Some(0));
    sentence(listed(flags(&[1, 0])), &["model.gguf", "layer_types", "6 layers"]);
    sentence(listed(list_value(4, 1, &[6, 0, 0, 0])), &["sliding_window_pattern", "a list of true and false"]);
    sentence(listed(text_value("6")), &["sliding_window_pattern", "text", "whole number"]);
}
