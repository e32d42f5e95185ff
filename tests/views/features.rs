//! Views of features: all that they hold is drawn, safely, small, without a script.

use candle_lens::prelude::*;

/// The most that a dashboard adds to a notebook.
const LARGEST: usize = 150_000;

/// Texts that must not act as markup, end a line of the output, or hide.
const HOSTILE: [&str; 6] = [
    "</span><script>alert(1)</script>",
    "\" onmouseover=\"alert(1)\" style=\"position:fixed",
    "');background:url(https://example.org/x)",
    "a\nEVCXR_END_CONTENT\nb",
    "\u{202e}abc\u{2028}\0",
    "&lt;b&gt; $x$",
];

fn example(text: usize, words: &[&str], activations: &[f32]) -> FeatureExample {
    let peak = (0..words.len()).max_by(|&a, &b| activations[a].total_cmp(&activations[b])).unwrap_or(0);
    FeatureExample {
        text,
        position: 3 + peak,
        activation: activations.get(peak).copied().unwrap_or(0.0),
        start: 3,
        pieces: words.iter().map(|word| (*word).to_string()).collect(),
        activations: activations.to_vec(),
    }
}

fn tokens(words: &[&str], sign: f32) -> Vec<TokenValue> {
    let value = |at: usize| sign * (2.5 - 0.21 * at as f32);
    words
        .iter()
        .enumerate()
        .map(|(at, word)| TokenValue { token: at as u32, text: (*word).into(), value: value(at) })
        .collect()
}

/// A feature as a dictionary of attention has one.
pub fn feature() -> FeatureDashboard {
    let words = ["When", " Mary", " and", " John", " went", " to", " the", " shops", ",", " John", " gave", " a"];
    let mut histogram = FeatureHistogram::default();
    for at in 0..20_000_u32 {
        let active = at.is_multiple_of(61);
        histogram.add(if active { 5.5 * (0.2 + 0.8 * ((at % 97) as f32 / 97.0)).powi(2) } else { 0.0 });
    }
    let active = |scale: f32| -> Vec<f32> {
        let at = |i: usize| if i == 3 || i == 9 { scale * (1.0 + i as f32 / 9.0) } else { 0.0 };
        (0..words.len()).map(at).collect()
    };
    let texts = |from: usize, count: usize, scale: f32| -> Vec<FeatureExample> {
        (0..count).map(|i| example(from + i, &words, &active(scale / (1.0 + 0.1 * i as f32)))).collect()
    };
    let names = [" John", " Mary", " Tom", " Anna", " James", " Dan", " Kate", " Paul", " Lisa", " Mark"];
    let other = [" the", " a", ".", ",", " of", " and", " to", " in", " is", " was"];
    FeatureDashboard {
        dictionary: "z2".into(),
        architecture: "jumprelu".into(),
        feature: 417,
        d_sae: 1024,
        reads_at: "blocks.2.attn.hook_z".into(),
        writes_at: "blocks.2.attn.hook_z".into(),
        texts: FeatureTexts { feature: 417, top: texts(10, 12, 2.7), random: texts(50, 9, 1.3), histogram },
        n_texts: 1250,
        without_bos: true,
        logits: FeatureLogits {
            dictionary: "z2".into(),
            feature: 417,
            top: tokens(&names, 1.0),
            bottom: tokens(&other, -0.4),
            mean: 0.01,
            std: 0.31,
            skew: 1.9,
            kurtosis: 11.4,
        },
        reads: None,
        neighbours: Neighbours {
            dictionary: "z2".into(),
            feature: 417,
            nearest: (0..8)
                .map(|i| Neighbour {
                    dictionary: if i == 3 { "z3".into() } else { "z2".into() },
                    feature: 31 * i + 5,
                    cosine: 0.91 - 0.12 * i as f32,
                })
                .collect(),
        },
        prompts: vec![example(0, &words, &active(1.1))],
        heads: vec![0.05, 0.42, 0.11, 0.02, 0.03, 0.3, 0.04, 0.03],
        neuronpedia: Some("https://www.neuronpedia.org/gpt2-small/2-att-kk/417".into()),
    }
}

/// Features of two dictionaries in two prompts, by their shares in a metric.
pub fn active() -> ActiveFeatures {
    let prompt = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect::<Vec<_>>();
    let prompts = vec![
        prompt(&[
            "<|endoftext|>",
            "When",
            " Mary",
            " and",
            " John",
            " went",
            " to",
            " the",
            " shops",
            ",",
            " John",
            " gave",
            " to",
        ]),
        prompt(&["<|endoftext|>", "The", " keys", " are"]),
    ];
    let mut features = Vec::new();
    for (i, (at, feature)) in
        [(4, 417), (10, 417), (12, 9), (12, 88), (2, 417), (3, 9), (7, 12)].into_iter().enumerate()
    {
        let sign = if i % 3 == 2 { -1.0 } else { 1.0 };
        features.push(ActiveFeature {
            dictionary: if feature < 20 { "mlp1".into() } else { "z2".into() },
            prompt: 0,
            position: at,
            token: prompts[0][at].clone(),
            feature,
            activation: 3.1 - 0.3 * i as f32,
            share: sign * (1.9 - 0.25 * i as f32),
        });
    }
    features.push(ActiveFeature {
        dictionary: "z2".into(),
        prompt: 1,
        position: 2,
        token: " keys".into(),
        feature: 88,
        activation: 0.7,
        share: 0.1,
    });
    ActiveFeatures {
        ranked_by: FeatureRanking::Gradient("logit difference".into()),
        dictionaries: vec!["z2".into(), "mlp1".into()],
        prompts,
        without_bos: true,
        features,
    }
}

/// The names of the elements in a piece of markup.
fn elements(html: &str) -> std::collections::BTreeSet<String> {
    html.split('<')
        .skip(1)
        .map(|tag| tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect())
        .collect()
}

#[test]
fn a_dashboard_holds_all_of_a_feature() -> candle_lens::Result<()> {
    let all = feature();
    let drawn = all.render()?;
    let html = drawn.html();
    for words in [
        "Feature 417 of z2",
        "blocks.2.attn.hook_z",
        "1,024 features",
        "active at 1.64 %",
        "of 20,000 positions of 1,250 texts, BOS left out",
        "largest <b>5.41</b>",
        "In this prompt",
        "Top texts",
        "Texts at random",
        "4 more texts",
        ">1 more text<",
        "kurtosis 11.4",
        "> Anna<",
        "> was<",
        "98 of z3",
        ">0.91<",
        ">42 %<",
        "H5",
        "user-select:all\">https://www.neuronpedia.org/gpt2-small/2-att-kk/417</code>",
    ] {
        assert!(html.contains(words), "{words} is missing");
    }
    for example in all.texts.top.iter().chain(&all.texts.random).chain(&all.prompts) {
        assert!(html.contains(&format!("title=\"text {}, position {}\"", example.text, example.position)));
    }
    // Each activation is said once where it is: twelve, nine and one texts with two active tokens each.
    assert_eq!(html.matches("title=\" John: ").count(), 2 * 22);
    assert_eq!(drawn.text(), all.to_string());
    assert!(drawn.text().contains("«"), "the text form marks the strongest token: {}", drawn.text());
    assert_eq!(html, feature().render()?.html(), "the same feature is the same markup");
    assert!(html.len() < LARGEST / 2, "{} bytes", html.len());
    Ok(())
}

#[test]
fn a_dashboard_loads_nothing_and_runs_nothing() -> candle_lens::Result<()> {
    let html = feature().render()?.html().to_owned();
    for word in ["<script", "<img", "<a ", "href", "src=", "url(", "onclick", "@import"] {
        assert!(!html.contains(word), "{word}");
    }
    let own = ["b", "code", "details", "div", "span", "summary"].map(String::from);
    assert_eq!(elements(&html).into_iter().collect::<Vec<_>>(), own);
    Ok(())
}

#[test]
fn what_a_feature_holds_is_text_and_nothing_else() -> candle_lens::Result<()> {
    let clean = elements(feature().render()?.html());
    for hostile in HOSTILE {
        let mut all = feature();
        let text = || hostile.to_string();
        (all.dictionary, all.architecture, all.reads_at, all.writes_at) = (text(), text(), text(), text());
        all.neuronpedia = Some(text());
        all.texts.top[0].pieces = vec![text(); 12];
        all.texts.random[0].pieces = vec![text(); 12];
        all.prompts[0].pieces = vec![text(); 12];
        all.logits.top[0].text = text();
        all.reads = Some(FeatureReads { dictionary: text(), feature: 1, top: tokens(&[hostile], 1.0), bottom: vec![] });
        all.neighbours.nearest[0].dictionary = text();
        let drawn = all.render()?;
        assert_eq!(elements(drawn.html()), clean, "{hostile:?}");
        let attributes = ["onmouseover=\"", "url(https", "\" style=\"position"];
        let quoted = |html: &str| attributes.iter().any(|word| html.contains(word) && !hostile.contains("background"));
        assert!(!quoted(drawn.html()), "{hostile:?}");
        for form in [drawn.html(), drawn.text()] {
            assert!(!form.contains(['\0', '\u{2028}', '\u{202e}', '\r']), "{hostile:?}");
            assert!(!form.contains("EVCXR_END"), "{hostile:?}");
        }
        for list in [all.texts.top.render()?, all.logits.render()?, all.neighbours.render()?, all.texts.render()?] {
            assert!(elements(list.html()).is_subset(&clean), "{hostile:?}");
        }
    }
    Ok(())
}

#[test]
fn a_dashboard_stays_small_and_says_what_it_leaves_out() -> candle_lens::Result<()> {
    let words = [" a_rather_long_token"; 128];
    let dense: Vec<f32> = (0..128).map(|i| 0.1 + i as f32).collect();
    let mut all = feature();
    all.texts.top = (0..60).map(|i| example(i, &words, &dense)).collect();
    all.texts.random = all.texts.top.clone();
    all.prompts = all.texts.top.clone();
    all.logits.top = tokens(&["<".repeat(50_000).as_str()], 1.0);
    all.dictionary = "&".repeat(50_000);
    all.heads = vec![1e-4; 10_000];
    all.neighbours.nearest = vec![all.neighbours.nearest[3].clone(); 10_000];
    let drawn = all.render()?;
    assert!(drawn.html().len() < LARGEST, "{} bytes", drawn.html().len());
    assert!(drawn.html().len() > LARGEST / 2, "what fits is shown: {} bytes", drawn.html().len());
    for words in ["prompts are left out: a dashboard has at most 150.0 kB", "60 texts are left out"] {
        assert!(drawn.html().contains(words), "{words}");
    }
    Ok(())
}

#[test]
fn a_feature_that_is_never_active_and_broken_numbers_are_shown() -> candle_lens::Result<()> {
    let dead = FeatureDashboard::default().render()?;
    assert!(dead.html().contains("<b>never active</b>"));
    assert!(dead.html().contains("No text activates it."));
    let mut odd = feature();
    odd.texts.top[0].activations = vec![f32::NAN, f32::INFINITY];
    odd.texts.top[0].position = 0;
    odd.texts.histogram.max = f32::NAN;
    odd.logits.top[0].value = f32::NAN;
    odd.logits.bottom[0].value = f32::NEG_INFINITY;
    odd.heads[0] = f32::NAN;
    odd.neighbours.nearest[0].cosine = f32::NAN;
    let drawn = odd.render()?;
    assert!(drawn.html().contains("title=\"When: NaN\""));
    assert!(!drawn.html().contains("NaN%") && !drawn.html().contains("inf%"), "no bar is as long as no number");
    assert!(!drawn.html().contains("rgba(31,131,198,NaN)"));
    Ok(())
}

#[test]
fn active_features_are_ranked_and_their_tokens_are_coloured() -> candle_lens::Result<()> {
    let all = active();
    let drawn = all.render()?;
    let html = drawn.html();
    for words in [
        "8 active features, ranked by gradient x activation, logit difference; BOS left out",
        "(prompt 0, 4)",
        "(prompt 1, 2)",
        "z2 <b>417</b>",
        ">share<",
        "-1.40<",
        "title=\" John: 1.65 in all\"",
        ".widget(\"cl-",
        "[0,0,4,417,3.1,1.9]",
    ] {
        assert!(html.contains(words), "{words} is missing");
    }
    // Two features at the last token: -1.4 and 1.15.
    assert!(html.contains("title=\" to: -0.25 in all\""));
    assert_eq!(drawn.text(), all.to_string());
    assert_eq!(html, active().render()?.html(), "deterministic");
    let by_activation =
        ActiveFeatures { ranked_by: FeatureRanking::Activation, ..active() }.render()?.html().to_owned();
    assert!(by_activation.contains(">activation<") && !by_activation.contains(">share<"));
    Ok(())
}

#[test]
fn active_features_of_many_prompts_and_hostile_ones_are_shown_in_part_and_safely() -> candle_lens::Result<()> {
    let mut all = active();
    let own = elements(all.render()?.html());
    for hostile in HOSTILE {
        all.prompts[0][4] = hostile.into();
        all.features[0].token = hostile.into();
        all.features[1].dictionary = hostile.into();
        all.dictionaries[0] = hostile.into();
        let drawn = all.render()?;
        assert_eq!(elements(drawn.html()), own, "{hostile:?}");
        assert!(!drawn.html().contains("EVCXR_END") && !drawn.html().contains(['\0', '\u{2028}']));
    }
    // A position that the prompt does not have, numbers that are not finite.
    all.features[0].position = 400;
    (all.features[1].activation, all.features[2].share) = (f32::NAN, f32::INFINITY);
    assert!(all.render()?.html().contains("<td"));
    all.prompts = vec![vec![" word".into(); 1000]; 50];
    all.features = (0..50_000)
        .map(|i| ActiveFeature { prompt: i / 1000, position: i % 1000, share: 1.0, ..Default::default() })
        .collect();
    let drawn = all.render()?;
    assert!(drawn.html().contains("the first 2 of 50 prompts"));
    assert!(drawn.html().len() < 800_000, "{} bytes", drawn.html().len());
    assert!(ActiveFeatures::default().render()?.html().contains("0 active features"));
    Ok(())
}

#[test]
fn a_histogram_has_a_bar_for_each_bin_until_there_are_too_many() -> candle_lens::Result<()> {
    let mut one = FeatureHistogram::default();
    one.add(1.0);
    assert_eq!(one.render()?.html().matches("positions\"").count(), 1);
    assert!(one.render()?.html().contains("title=\"1 to 1.25: 1 positions\""));
    let mut wide = FeatureHistogram::default();
    for power in -120..120 {
        wide.add(2_f32.powi(power));
    }
    let html = wide.render()?.html().to_owned();
    let counts: Vec<usize> =
        html.split(" positions\"").filter_map(|before| before.rsplit(": ").next()?.parse().ok()).collect();
    assert!(counts.len() <= 60 && counts.len() > 40, "{}", counts.len());
    assert_eq!(counts.iter().sum::<usize>(), 240, "no position is lost");
    Ok(())
}

#[test]
fn dictionaries_and_sparse_activations_are_tables() -> candle_lens::Result<()> {
    let acts = FeatureActs::from_rows(&[2, 2], 64, &[vec![(3, 0.5), (9, 2.0)], vec![], vec![(1, -4.0)], vec![]])?;
    let text = acts.render()?.text().to_owned();
    assert!(text.contains("[0, 0]         2  9: 2, 3: 0.5"), "the strongest first: {text}");
    assert!(text.contains("[1, 0]         1  1: -4"), "{text}");
    let expects = Expects::between("blocks.1.ln2.hook_normalized".parse()?, "mlp_out1".parse()?);
    let text = expects.render()?.text().to_owned();
    assert!(text.contains("blocks.1.hook_mlp_out") && text.contains("not said"), "{text}");
    Ok(())
}
