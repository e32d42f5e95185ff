//! Numbers that are not finite: each view leaves a gap for them and says so, in every form; none is an error.

use candle_lens::prelude::*;
use candle_lens::views::Rendered;
use ndarray::{Array2, Array3};
use serde_json::{Value, json};

use crate::support::tolerance::IN_F64;

const NAN: f32 = f32::NAN;
const NEVER: f32 = f32::NEG_INFINITY;

fn spec(figure: impl Into<Figure>) -> Value {
    serde_json::from_str(&figure.into().to_json().expect("the figure can be drawn")).expect("JSON")
}

fn rendered(view: &impl View) -> Rendered {
    view.render().expect("this can be shown")
}

/// All that says something of a figure: the page, the terminal, and the picture in a file.
fn says(figure: impl Into<Figure>, words: &str) {
    let figure = figure.into();
    let shown = rendered(&figure);
    let svg = figure.to_svg().expect("drawn");
    assert!(shown.html().contains(words) && shown.text().contains(words), "{}", shown.text());
    let marks: Vec<&str> = svg.lines().filter(|line| line.starts_with("<text")).collect();
    let picture: String = marks
        .iter()
        .filter_map(|mark| Some(mark.split_once('>')?.1.rsplit_once("</text>")?.0.to_owned() + " "))
        .collect();
    assert!(picture.contains(words), "{picture}");
    assert!(figure.to_png().expect("drawn").len() > 100);
}

#[test]
fn a_heat_map_has_separate_cells_for_gaps() {
    let figure = imshow(vec![vec![1.0, NEVER, NAN], vec![-2.0, 0.5, f32::INFINITY]]);
    let spec = spec(&figure);
    assert_eq!(spec["data"][0]["z"], json!([[1.0, null, null], [-2.0, 0.5, null]]));
    assert_eq!(spec["data"][1]["z"], json!([[null, 1, 1], [null, null, 1]]));
    assert_eq!(spec["data"][1]["text"], json!([[null, "-inf", "NaN"], [null, null, "inf"]]));
    assert_eq!((&spec["data"][0]["zmin"], &spec["data"][0]["zmax"]), (&json!(-2.0), &json!(2.0)), "of the finite ones");
    assert_eq!(spec["data"][0]["x"], spec["data"][1]["x"]);
    says(&figure, "gap: NaN or -inf or inf (3 of 6 values)");
    let svg = figure.to_svg().expect("drawn");
    assert_eq!(svg.matches("fill=\"#9a9a9a\"").count(), 3 + 1, "three cells and the sign beside the note");
    assert!(rendered(&figure).text().contains("-inf"));
    let wide = imshow(Array2::from_shape_fn((3, 300), |(r, c)| if c % 7 == 0 { NAN } else { (r * c) as f32 }));
    assert!(rendered(&wide).text().contains("·· is a gap") && rendered(&wide).text().contains("to 598 (2, 299)"));
    assert!(!rendered(&imshow(vec![vec![1.0]])).html().contains("gap:"), "nothing is said where there is none");
    says(imshow(vec![vec![NAN]]), "gap: NaN (1 of 1 values)");
}

#[test]
fn animations_and_facets_have_gaps_on_one_scale() {
    let frames = Array3::from_shape_fn((3, 2, 2), |(f, r, c)| if f == 1 && r < c { NEVER } else { f as f32 });
    let spec = spec(imshow_animation(&frames));
    assert_eq!(spec["frames"][1]["data"][0]["z"], json!([[1.0, null], [1.0, 1.0]]));
    assert_eq!(spec["frames"][1]["data"][1]["z"], json!([[null, 1], [null, null]]));
    assert_eq!(spec["frames"][2]["data"][1]["z"], json!([[null, null], [null, null]]));
    assert_eq!(spec["data"][0]["zmax"], json!(2.0));
    let facets = imshow_facets(&frames);
    assert_eq!(rendered(&facets).text().matches("gap: -inf (1 of 4 values)").count(), 1);
    assert!(facets.to_svg().expect("drawn").contains("gap: -inf"));
}

#[test]
fn masked_attention_scores_can_be_drawn() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (_, cache) = model.run_with_cache("The keys on the cabinet are")?;
    let scores = cache.get(("attn_scores", 1))?.get(0)?.get(2)?;
    let positions = scores.dim(0)?;
    let words = format!("gap: -inf ({} of {} values)", positions * (positions - 1) / 2, positions * positions);
    says(imshow(&scores), &words);
    assert!(rendered(&scores).html().contains(&words), "a tensor draws itself in the same way");
    Ok(())
}

#[test]
fn a_line_is_interrupted_and_a_lonely_point_is_a_dot() {
    let figure = line([1.0, NAN, 3.0, NEVER, 2.0, 4.0]).x_ticks(["a", "b", "c", "d", "e", "f"]);
    assert_eq!(spec(&figure)["data"][0]["y"], json!([1.0, null, 3.0, null, 2.0, 4.0]));
    says(&figure, "gap: NaN or -inf (2 of 6 values: b, d)");
    let svg = figure.to_svg().expect("drawn");
    let strokes = svg.lines().filter(|line| line.starts_with("<polyline") && line.contains("#0072b2"));
    let lengths: Vec<usize> = strokes.filter_map(|line| Some(line.split('"').nth(1)?.split(' ').count())).collect();
    assert_eq!(lengths.iter().filter(|&&points| points > 1).count(), 1, "one piece has two ends: {lengths:?}");
    assert_eq!(svg.matches("<circle").count(), 4, "every number has its dot");
    assert!(rendered(&figure).text().contains("from 1 (a) to 4 (f)"), "{}", rendered(&figure).text());
    let long: Vec<f32> = (0..100).map(|i| if i % 2 == 0 { i as f32 } else { NAN }).collect();
    assert_eq!(spec(line(&long))["data"][0]["mode"], "lines+markers", "no line passes through lonely points");
    says(line([NAN, NAN]), "gap: NaN (2 of 2 values: 0, 1)");
}

#[test]
fn bars_counts_and_points_leave_out_what_is_not_finite() {
    let figure = bar([1.0, NEVER, 3.0]).x_ticks(["a", "b", "c"]);
    assert_eq!(spec(&figure)["data"][0]["y"], json!([1.0, null, 3.0]));
    says(&figure, "gap: -inf (1 of 3 values: b)");
    assert!(rendered(&figure).text().contains("-inf"), "the table has the number itself");
    says(bar(vec![vec![1.0, NAN], vec![2.0, 3.0]]).stacked(), "gap: NaN (1 of 4 values: 1)");
    let figure = hist([1.0, 2.0, NAN, 4.0, NEVER]).bins(3).mean_lines();
    let spec_of = spec(&figure);
    let counted: u64 = spec_of["data"][0]["y"].as_array().expect("counts").iter().filter_map(Value::as_u64).sum();
    assert_eq!(counted, 3);
    assert!((spec_of["layout"]["shapes"][0]["x0"].as_f64().expect("a mean") - 7.0 / 3.0).abs() < IN_F64);
    says(&figure, "gap: NaN or -inf (2 of 5 values)");
    let figure = scatter([1.0, NAN, 3.0, 4.0], [1.0, 2.0, NEVER, 4.0]).point_labels(["a", "b", "c", "d"]);
    let spec_of = spec(&figure);
    assert_eq!((&spec_of["data"][0]["x"], &spec_of["data"][0]["y"]), (&json!([1.0, 4.0]), &json!([1.0, 4.0])));
    assert_eq!(spec_of["data"][0]["hovertext"], json!(["a", "d"]), "labels stay with their points");
    says(&figure, "gap: NaN or -inf (2 of 4 values: b, c)");
    for figure in [Figure::from(bar([NAN])), hist([NEVER, NAN]).into(), scatter([NAN], [1.0]).into()] {
        says(&figure, "gap: ");
    }
}

#[test]
fn widgets_have_a_background_for_gaps() {
    let tokens = ["a", "b", "c"];
    let shown = rendered(&colored_tokens(tokens, [1.0, NAN, NEVER]));
    assert!(shown.html().contains("\"gaps\":[[1,1,0],[2,1,-1]]"));
    assert_eq!(shown.html().matches("rgba(154,154,154,0.50)").count(), 2, "in the still form as well");
    assert!(shown.text().contains("Grey is a gap: NaN or -inf (2 of 3 values)."), "{}", shown.text());
    let top = rendered(&topk_tokens([(tokens, vec![vec![NAN], vec![2.0], vec![1.0]])]).top_k(1));
    assert!(top.text().contains("1  b"), "NaN is not a largest value: {}", top.text());
    let square = Array2::from_shape_fn((3, 3), |(d, s)| if (d, s) == (1, 0) { NAN } else { 0.5 });
    let explorer = rendered(&attention_explorer(tokens, square.insert_axis(ndarray::Axis(0)).to_owned()));
    assert!(!explorer.html().contains("null") || !explorer.html().contains("\"values\":[null"), "scores stay numbers");
    assert!(explorer.text().contains("gap: NaN (1 of 9 values)"), "{}", explorer.text());
}
