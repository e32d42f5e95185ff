//! All that there is to see of a feature, against the functions that give its parts.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::made::{FEATURES, PROMPT, at, made, tiny, transcoder};
use crate::support::sentence::sentence;

const TEXTS: [&str; 3] = [PROMPT, "The keys on the cabinet are old", "When Anna and Tom went to the park"];

#[test]
fn a_dashboard_is_its_parts() -> Result<()> {
    let model = tiny();
    for dictionary in [made(2, at("z2"), |parts| parts), made(3, transcoder(1), |parts| parts)] {
        let expects = Expects { neuronpedia: Some("gpt2-small/2-att-kk".into()), ..dictionary.expects() };
        let dictionary = dictionary.with_expects(expects)?;
        let active = model.features_of(&dictionary, PROMPT)?;
        let feature = active.features[0].feature;
        let found = model.feature_dashboard(&dictionary, feature, TEXTS, PROMPT)?;
        let examples = model.feature_examples(&dictionary, feature, TEXTS, ExampleOptions::default())?;
        assert_eq!(found.texts, examples.of(feature)?);
        assert_eq!((found.n_texts, found.d_sae, found.without_bos), (3, FEATURES, true));
        assert_eq!(found.logits, dictionary.logit_lens(&model, feature, 10)?);
        assert_eq!(found.reads, Some(dictionary.encoder_tokens(&model, feature, 10)?));
        assert_eq!(found.neighbours, dictionary.neighbours(feature, 10)?);
        assert_eq!(found.heads.len(), if found.writes_at.ends_with("hook_z") { 8 } else { 0 });
        assert_eq!(found.neuronpedia, Some(format!("https://www.neuronpedia.org/gpt2-small/2-att-kk/{feature}")));
        let [prompt] = &found.prompts[..] else { panic!("one prompt was given") };
        assert_eq!(prompt.pieces, model.to_str_tokens(PROMPT)?);
        for (position, &activation) in prompt.activations.iter().enumerate() {
            let there = active.features.iter().find(|of| (of.feature, of.position) == (feature, position));
            assert_eq!(activation, there.map_or(0., |of| of.activation));
        }
        assert_eq!((prompt.position, prompt.activation), (active.features[0].position, active.features[0].activation));
        let text = found.to_string();
        assert!(text.contains("neuronpedia") && text.contains(&format!("feature {feature}")), "{text}");
        let stored = serde_json::to_string(&found).expect("it can be written");
        let restored: FeatureDashboard = serde_json::from_str(&stored).expect("it can be read");
        assert_eq!((restored.to_string(), restored.texts.top), (text, found.texts.top));
    }
    Ok(())
}

#[test]
fn what_has_no_embeddings_or_is_never_active_has_a_dashboard() -> Result<()> {
    let model = tiny();
    let quiet = made(5, at("mlp_out1"), |parts| DictionaryParts { b_enc: (parts.b_enc - 1e3).unwrap(), ..parts });
    let found = model.feature_dashboard(&quiet, 3, TEXTS, [PROMPT, "The keys"])?;
    assert!(found.reads.is_none() && found.texts.top.is_empty() && found.texts.histogram.bins().is_empty());
    assert_eq!(found.prompts.len(), 2);
    assert!(found.prompts.iter().all(|prompt| prompt.activation == 0. && !prompt.pieces.is_empty()));
    assert!(found.to_string().contains("never active"));
    sentence(model.feature_dashboard(&quiet, FEATURES, TEXTS, PROMPT), &["feature", "40"]);
    Ok(())
}
