//! The attention widgets: sizes, matching tokens and numbers, hostile tokens, errors.

use candle_lens::prelude::*;
use candle_lens::views::{Patterns, Rendered};
use ndarray::{Array3, Array4};

const HOSTILE: [&str; 6] =
    ["</script><img src=x onerror=alert(1)>", "\"' &lt;", "\n", "\0", "\u{2028}\u{200f}", "EVCXR_END_CONTENT"];

/// Numbers that no compression shortens.
fn noise() -> impl FnMut() -> f32 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    }
}

fn tokens(count: usize) -> Vec<String> {
    (0..count).map(|i| format!(" token{i}")).collect()
}

/// Causal attention with rows of sum 1.
fn attention(heads: usize, positions: usize) -> Array3<f32> {
    let mut noise = noise();
    let mut all = Array3::from_shape_fn((heads, positions, positions), |(_, d, s)| if s > d { 0.0 } else { noise() });
    for mut row in all.rows_mut() {
        let sum = row.sum();
        row /= sum;
    }
    all
}

fn rendered(widget: &Widget) -> Rendered {
    widget.render().expect("this can be shown")
}

/// What a cell's output takes, scripts included.
fn whole(widget: &Widget) -> usize {
    let thread = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("candle-lens-widget-{}-{thread:?}.html", std::process::id()));
    widget.save_html(&path).expect("a folder that can be written");
    let bytes = std::fs::read(&path).expect("the page").len();
    std::fs::remove_file(&path).expect("the page");
    bytes
}

fn refusal(widget: &Widget) -> String {
    widget.render().expect_err("this cannot be shown").to_string()
}

#[test]
fn twelve_heads_over_a_hundred_tokens_are_small() {
    let bytes = whole(&attention_heads(tokens(100), attention(12, 100)));
    println!("12 heads over 100 tokens: {bytes} bytes");
    assert!(bytes <= 150_000, "{bytes} bytes");
    assert!(bytes > 60_000, "too few bytes for this noise: {bytes}");
}

#[test]
fn all_heads_of_two_runs_over_64_tokens_are_small() {
    let run = attention(144, 64).into_shape_with_order((12, 12, 64, 64)).expect("144 heads");
    let bytes = whole(&attention_comparison(tokens(64), &run, &run * 0.5));
    println!("144 heads over 64 tokens, two runs: {bytes} bytes");
    assert!(bytes <= 1_000_000, "{bytes} bytes");
}

#[test]
fn a_widget_over_its_cap_is_reduced_and_says_so() {
    let widget = attention_heads(tokens(100), attention(12, 100));
    assert!(!rendered(&widget).text().contains("Each cell represents"));
    let small = rendered(&widget.max_bytes(30_000));
    for form in [small.html(), small.text()] {
        assert!(form.contains("Each cell represents 3 x 3 positions"), "{}", &form[..400.min(form.len())]);
    }
    assert!(small.html().len() < 30_000, "{} bytes", small.html().len());
    assert!(small.html().contains(" token0 … token2"));
}

#[test]
fn tokens_and_titles_stay_text() {
    let uniform = Array3::from_shape_fn((2, 6, 6), |(_, d, s)| if s > d { 0.0 } else { 1.0 / (d + 1) as f32 });
    let single = uniform.index_axis(ndarray::Axis(0), 0).to_owned();
    let widgets = [
        attention_heads(HOSTILE, &uniform).title("<h1>").names(["</script>", "\""]),
        attention_patterns(HOSTILE, &uniform).title("<!--"),
        attention_pattern(HOSTILE, single).title("<b onload=x>\""),
        attention_comparison(HOSTILE, &uniform, &uniform).scores("</script>", [1.0, 2.0]),
    ];
    for widget in widgets {
        let shown = rendered(&widget);
        let html = shown.html();
        for tag in html.split('<').skip(1) {
            let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            let own = ["div", "table", "tbody", "tr", "td", "img", "br", "script"];
            assert!(own.contains(&name.as_str()), "<{}", &tag[..tag.len().min(60)]);
        }
        assert_eq!((html.matches("<script>").count(), html.matches("</script>").count()), (1, 1));
        for text in [html, shown.text()] {
            assert!(!text.contains(['\0', '\u{2028}', '\u{200f}']));
            assert!(!text.lines().any(|line| line == "EVCXR_END_CONTENT"));
        }
    }
}

#[test]
fn the_same_numbers_are_the_same_widget() {
    let widget = || attention_heads(tokens(9), attention(3, 9));
    assert_eq!(rendered(&widget()), rendered(&widget()));
    let id = |shown: &Rendered| shown.html().split("data-widget=\"").nth(1).expect("an id")[..19].to_owned();
    assert_eq!(id(&rendered(&widget())), id(&rendered(&widget())));
    assert_ne!(id(&rendered(&widget())), id(&rendered(&widget().title("another"))));
}

#[test]
fn a_cache_brings_its_names_and_the_model_its_tokens() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
    let html = rendered(&attention_heads(&model, (&cache, -1))).html().to_owned();
    for word in ["Attention of layer 3", "L3H0", "L3H7", " keys", "<img alt=\"L3H3\""] {
        assert!(html.contains(word), "{word}");
    }
    let all = (&cache).patterns()?.0;
    let one = (&cache, 2).patterns()?.0;
    assert_eq!(all.values.shape()[0], 32);
    assert_eq!(all.values.index_axis(ndarray::Axis(0), 2 * 8 + 5), one.values.index_axis(ndarray::Axis(0), 5));
    let text = rendered(&attention_explorer(&model, &cache).scores("mine", vec![0.5; 32])).text().to_owned();
    assert!(text.contains("mine") && text.contains("previous token") && text.contains("L3H7"), "{text}");
    let (_, two) = model.run_with_cache(["The keys on", "The key on"])?;
    assert!(refusal(&attention_heads(&model, (&two, 0))).contains("has 2 prompts"));
    assert!(refusal(&attention_heads(&model, (&two, 0, 2))).contains("prompt"));
    attention_heads(&model, (&two, 0, 1)).show()?;
    Ok(())
}

#[test]
fn heads_of_several_layers_are_in_a_row_for_each_layer() {
    let many = Array4::from_shape_fn((30, 9, 4, 4), |(_, _, d, s)| if s > d { 0.0 } else { 0.25 });
    let html = rendered(&attention_explorer(tokens(4), many)).html().to_owned();
    let rows: Vec<&str> = html.split("<tr>").skip(1).collect();
    assert_eq!(rows.len(), 30, "a row for each layer");
    for (layer, row) in rows.iter().enumerate() {
        assert!(row.contains(&format!(">L{layer}</td>")) && row.matches("<img").count() == 9, "{layer}");
        assert!(row.contains(&format!("alt=\"L{layer}H0\"")) && row.contains(&format!("alt=\"L{layer}H8\"")));
    }
    assert!(html.contains("\"layers\":[{\"heads\":9,\"name\":\"L0\"},{\"heads\":9,\"name\":\"L1\"}"));
    let wide = Array4::<f32>::zeros((3, 32, 4, 4));
    let html = rendered(&attention_heads(tokens(4), wide)).html().to_owned();
    assert!(html.contains(">H31</td>") && html.split("<tr>").count() == 1 + 4, "heads are named above the columns");
    let one = rendered(&attention_heads(tokens(4), attention(8, 4))).html().to_owned();
    assert!(one.contains("\"layers\":[]"));
}

#[test]
fn any_axes_of_heads_and_signed_numbers_are_shown() {
    let four = Array4::from_shape_fn((2, 3, 4, 4), |(l, h, d, s)| (l + h) as f32 - (d * s) as f32);
    let shown = rendered(&attention_explorer(tokens(4), four));
    assert!(shown.html().contains("L1H2") && shown.html().contains("\"signed\":true"));
    assert!(shown.html().contains("\"masked\":false"));
}

#[test]
fn what_is_above_the_diagonal_is_left_out_where_it_is_nothing() {
    let mut scores = attention(1, 5);
    scores.indexed_iter_mut().for_each(|((_, d, s), value)| *value = if s > d { f32::NEG_INFINITY } else { *value });
    assert!(rendered(&attention_heads(tokens(5), &scores)).html().contains("\"masked\":true"));
    let whole = attention_heads(tokens(5), attention(1, 5)).mask_upper_tri(false);
    assert!(rendered(&whole).html().contains("\"masked\":false"));
    scores[[0, 3, 1]] = f32::NAN;
    let shown = rendered(&attention_heads(tokens(5), &scores));
    assert!(
        shown.html().contains("\"masked\":true") && shown.text().contains("gap: NaN (1 of 25 values)"),
        "{}",
        shown.text()
    );
}

#[test]
fn what_does_not_fit_is_an_error_in_a_sentence() {
    let cases = [
        (attention_heads(tokens(4), attention(2, 5)), "4 tokens were given for numbers of 5 positions"),
        (attention_heads(tokens(4), vec![1.0, 2.0]), "it was given the shape [2]"),
        (attention_pattern(tokens(5), attention(2, 5)), "`attention_heads` shows several"),
        (attention_heads(tokens(5), attention(2, 5)).names(["a"]), "2 heads need one name each"),
        (attention_heads(tokens(5), attention(2, 5)).range(1.0, 1.0), "the smaller one first"),
        (attention_explorer(tokens(5), attention(2, 5)).scores("s", [1.0]), "hold 1 numbers for 2 heads"),
        (
            attention_comparison(tokens(5), attention(2, 5), attention(3, 5)),
            "run prompts with the same number of tokens",
        ),
        (attention_pattern(tokens(5), attention(1, 5)).names(["a"]), "`names` is not an option of"),
    ];
    for (widget, words) in cases {
        let sentence = refusal(&widget);
        assert!(sentence.contains(words), "{sentence}");
    }
}
