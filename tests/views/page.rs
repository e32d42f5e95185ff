//! One page with every view, for the browser.

use candle_lens::prelude::*;

/// Every view, on the embedded model.
pub fn page() -> candle_lens::Result<Page> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    let other = "When John and Mary went to the shops, Mary gave the bag to";
    let (_, cache) = model.run_with_cache(prompt)?;
    let (_, corrupted) = model.run_with_cache(other)?;
    let tokens = model.to_str_tokens(prompt)?;
    Page::new()
        .with(&attention(&model, &tokens, &cache, &corrupted)?)?
        .with(&text(&model, prompt)?)?
        .with(&figures(&tokens)?)?
        .with(&gaps(&tokens, &cache)?)?
        .with(&circuit_graph(&circuit(&tokens)).title("circuit_graph"))?
        .with(&super::feature_graph::shown()?)?
        .with(&super::features::active())?
        .with(&super::features::feature())?
        .with(&lens(&model, prompt)?)
}

/// What each layer would say.
fn lens(model: &HookedTransformer, prompt: &str) -> candle_lens::Result<Widget> {
    let reading = logit_lens(model, prompt, LensOptions { target: " Mary".into(), ..Default::default() })?;
    Ok(lens_grid(&reading, LensColor::Probability).title("lens_grid"))
}

/// Numbers that are not finite, and more numbers than there is room for.
fn gaps(tokens: &[String], cache: &ActivationCache) -> candle_lens::Result<Page> {
    let scores = cache.get(("attn_scores", 1))?.get(0)?.get(2)?;
    let wave: Vec<f32> = (0..tokens.len()).map(|i| if i % 5 == 3 { f32::NAN } else { (i as f32).sin() }).collect();
    let long: Vec<f32> = (0..30_000).map(|i| (i as f32 * 0.01).sin() * (i as f32 * 0.37).cos()).collect();
    Page::new()
        .with(&imshow(&scores).x_ticks(tokens).y_ticks(tokens).title("imshow, masked scores"))?
        .with(&line(&wave).x_ticks(tokens).title("line, with gaps"))?
        .with(&bar(&wave).x_ticks(tokens).title("bar, with gaps"))?
        .with(&line(&long).title("line, reduced").max_bytes(200_000))?
        .with(&colored_tokens(tokens, &wave).title("colored_tokens, with gaps"))
}

/// The widgets of text.
fn text(model: &HookedTransformer, prompt: &str) -> candle_lens::Result<Page> {
    let (logits, _) = model.run_with_cache(prompt)?;
    let tokens = model.to_str_tokens(prompt)?;
    let wave =
        |k: usize| tokens.iter().enumerate().map(move |(i, _)| ((i * k) as f64 * 0.7).sin()).collect::<Vec<f64>>();
    let several: Vec<Vec<f64>> = (0..tokens.len()).map(|i| (1..4).map(|k| wave(k)[i] * k as f64).collect()).collect();
    let mut samples = Vec::new();
    for text in ["The keys on the cabinet are", prompt, "The man said that he", "In France the capital is Paris"] {
        let (_, cache) = model.run_with_cache(text)?;
        let neurons = cache.stack_activation("post", -1)?.squeeze(1)?.transpose(0, 1)?.narrow(2, 0, 24)?;
        samples.push((model.to_str_tokens(text)?, neurons));
    }
    Page::new()
        .with(&colored_tokens(&tokens, wave(1)).title("colored_tokens"))?
        .with(&colored_tokens_multi(&tokens, several).names(["slow", "middle", "fast"]).title("colored_tokens_multi"))?
        .with(&visualize_model_performance(model, prompt, &logits))?
        .with(&token_log_probs(model, prompt, &logits).top_k(5))?
        .with(&text_neuron_activations(samples.clone()).title("text_neuron_activations"))?
        .with(&topk_tokens(samples.clone()).top_k(5).title("topk_tokens"))?
        .with(&topk_samples(samples).top_k(3).title("topk_samples"))?
        .with(&test_prompt(model, prompt, " Mary")?)
}

/// The widgets of attention.
fn attention(
    model: &HookedTransformer,
    tokens: &[String],
    cache: &ActivationCache,
    corrupted: &ActivationCache,
) -> candle_lens::Result<Page> {
    let heads = cache.get(("pattern", 2))?.get(0)?;
    let apart = (corrupted.get(("pattern", 2))?.get(0)? - &heads)?;
    let hostile =
        ["</script><img src=x onerror=alert(1)>", "\"'`", "a\nb", "\u{2028}\u{200f}\u{202e}abc", "猫 and 犬", ""];
    let uniform: Vec<Vec<f64>> =
        (1..=6).map(|i| (0..6).map(|j| if j < i { 1.0 / i as f64 } else { 0.0 }).collect()).collect();
    Page::new()
        .with(&attention_heads(model, (cache, 2)))?
        .with(&attention_heads(tokens, &apart).title("Signed: corrupted minus clean"))?
        .with(&attention_patterns(model, (cache, 1)))?
        .with(&attention_pattern(tokens, heads.get(5)?).title("One head"))?
        .with(&attention_pattern(hostile, uniform).title("</script><b>Hostile</b> tokens"))?
        .with(&attention_comparison(model, cache, corrupted).title("All heads, clean and corrupted"))
}

/// Every kind of figure.
fn figures(tokens: &[String]) -> candle_lens::Result<Page> {
    let wave = |count: usize, k: f64| (0..count).map(|i| (i as f64 * k).sin()).collect::<Vec<_>>();
    let frames =
        ndarray::Array3::from_shape_fn((4, 6, tokens.len()), |(f, r, c)| ((f + 1) as f32 * 0.3 * (r * c) as f32).sin());
    let layers = frames.index_axis(ndarray::Axis(0), 1).to_owned();
    let heads = ndarray::Array2::from_shape_fn((12, 12), |(r, c)| ((r * 7 + c * 5) % 11) as f32 / 30.0);
    let texts: Vec<String> = layers.iter().map(|value| format!("{value:.1}")).collect();
    let losses: Vec<f64> =
        (0..30).map(|i| if i < 15 { -7.0 + (i as f64).sin() } else { -0.4 + 0.2 * (i as f64).sin() }).collect();
    let twice: Vec<&String> = tokens.iter().chain(tokens).collect();
    let losses = &losses[..twice.len()];
    Page::new()
        .with(&bar(vec![wave(8, 0.7), wave(8, 1.3)]).names(["clean", "corrupted"]).title("bar").y_label("score"))?
        .with(&bar(vec![wave(8, 0.7), wave(8, 1.3)]).names(["clean", "corrupted"]).stacked().title("bar, stacked"))?
        .with(
            &hist(vec![wave(200, 0.7), wave(200, 0.011)]).names(["a", "b"]).mean_lines().title("hist").x_label("value"),
        )?
        .with(
            &scatter(wave(12, 0.7), wave(12, 0.75))
                .diagonal()
                .point_labels((0..12).map(|i| format!("L0H{i}")))
                .title("scatter"),
        )?
        .with(&imshow(&layers).cell_text(texts).title("imshow with words").width(800))?
        .with(&imshow_facets(&frames).names(["resid", "attn", "mlp", "z"]).title("imshow_facets").x_label("Position"))?
        .with(
            &imshow_animation(&frames).title("imshow_animation").names(["0", "1", "2", "3"]).x_ticks(tokens).width(700),
        )?
        .with(
            &line(vec![wave(tokens.len(), 0.3), losses[..tokens.len()].to_vec()])
                .names(["logit", "loss"])
                .x_ticks(tokens)
                .y_label("Logit")
                .secondary_axis("Loss")
                .title("line, two axes"),
        )?
        .with(&imshow_patching_result(&layers, tokens).title("imshow_patching_result"))?
        .with(&plot_comp_scores(&heads, Some(0.15)).title("plot_comp_scores"))?
        .with(&plot_comp_scores(&heads, None).title("plot_comp_scores without a baseline"))?
        .with(&plot_logit_attribution(layers.t().to_owned(), tokens).title("plot_logit_attribution"))?
        .with(&plot_loss_difference(losses, &twice, 15).title("plot_loss_difference"))
}

/// The circuit of indirect object identification, as far as a page needs it.
fn circuit(tokens: &[String]) -> CircuitGraph {
    let mut graph = CircuitGraph::new(tokens);
    let names = [2, 4, 10].map(|pos| graph.node("embed", 0, pos, 0.3));
    let previous = graph.node("L0H5", 1, 3, 0.4);
    let duplicate = graph.node("L0H1", 1, 10, 0.6);
    let inhibition = [graph.node("L2H0", 3, 14, -0.5), graph.node("L2H3", 3, 14, -0.8)];
    let mover = graph.node("L3H6", 4, 14, 1.0);
    let logits = graph.node("logits", 5, 14, 0.9);
    graph.edge(names[0], previous, EdgeKind::V, 0.3);
    graph.edge(names[0], duplicate, EdgeKind::K, 0.5);
    graph.edge(names[2], duplicate, EdgeKind::Q, 0.4);
    for head in inhibition {
        graph.edge(duplicate, head, EdgeKind::V, 0.6);
        graph.edge(head, mover, EdgeKind::Q, -0.7);
    }
    graph.edge(names[1], mover, EdgeKind::V, 0.9);
    graph.edge(previous, mover, EdgeKind::K, 0.1);
    graph.edge(mover, logits, EdgeKind::Other, 1.0);
    graph
}
