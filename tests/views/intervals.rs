//! Intervals of numbers: whiskers on lines and bars, grey cells of heat maps, ends in tables, in every form.

use candle_lens::prelude::*;
use ndarray::Array3;
use serde_json::{Value, json};

use crate::support::sentence::sentence;

fn spec(figure: impl Into<Figure>) -> Value {
    serde_json::from_str(&figure.into().to_json().expect("the figure can be drawn")).expect("JSON")
}

/// How many cells or signs of this colour a picture has.
fn filled(figure: impl Into<Figure>, color: &str) -> usize {
    figure.into().to_svg().expect("drawn").matches(&format!("fill=\"{color}\"")).count()
}

/// Of 2 x 3 numbers by 4 prompts: two whose interval holds 0.
fn found() -> Result<Statistics> {
    let means = [1.0, 0.1, -2.0, 0.5, -0.1, 3.0_f32];
    let values = means.iter().flat_map(|mean| [-0.3, 0.3, -0.2, 0.2].map(|apart| mean + apart)).collect();
    let axes = vec![Axis::numbered("layer", 2), Axis::new("head", ["a", "b", "c"]), Axis::numbered("prompt", 4)];
    Labelled::new("effect", axes, values)?.statistics_over("prompt", StatisticsOptions::default())
}

#[test]
fn heat_maps_grey_what_may_be_zero() -> Result<()> {
    let found = found()?;
    assert_eq!(found.holds_zero().iter().map(|&holds| holds as u8).collect::<Vec<_>>(), [0, 1, 0, 0, 1, 0]);
    let figure = imshow(&found);
    let spec = spec(&figure);
    assert_eq!(spec["data"][1]["z"], json!([[null, 1, null], [null, 1, null]]));
    assert_eq!(spec["data"][0]["z"].as_array().map(Vec::len), Some(2), "the numbers are all there");
    let hover = spec["data"][0]["hovertemplate"].as_str().expect("words");
    assert!(hover.contains("interval %{customdata}") && spec["data"][1]["hovertemplate"].as_str() != Some(hover));
    assert_eq!(filled(&figure, "#c6c6c6"), 2 + 1, "two cells and the sign beside the note");
    let said = "the interval holds 0 (2 of 6 values)";
    assert!(figure.render()?.html().contains(said) && figure.to_string().contains(said), "{figure}");
    assert_eq!(figure.to_string().matches('~').count(), 2 + 1, "{figure}");
    // A page with few columns has shades only.
    let wide = imshow(ndarray::Array2::from_shape_fn((2, 200), |(r, c)| (r + c) as f32));
    let low = ndarray::Array2::from_shape_fn((2, 200), |(r, c)| if c == 3 { -1.0 } else { (r + c) as f32 - 0.5 });
    let high = ndarray::Array2::from_shape_fn((2, 200), |(r, c)| (r + c) as f32 + 0.5);
    assert!(wide.intervals(&low, &high).to_string().contains("~~"));
    Ok(())
}

#[test]
fn animations_and_facets_have_grey_cells() -> Result<()> {
    let axes = vec![
        Axis::numbered("frame", 2),
        Axis::numbered("row", 1),
        Axis::numbered("column", 2),
        Axis::numbered("prompt", 2),
    ];
    let values = vec![1.0, 1.2, -1.0, 1.0, -1.0, 1.0, 2.0, 2.5];
    let found = Labelled::new("effect", axes, values)?.statistics_over("prompt", StatisticsOptions::default())?;
    let spec = spec(imshow_animation(&found));
    assert_eq!(spec["frames"][0]["data"][1]["z"], json!([[null, 1]]));
    assert_eq!(spec["frames"][1]["data"][1]["z"], json!([[1, null]]));
    let facets = imshow_facets(&found).to_svg()?;
    assert_eq!(facets.matches("fill=\"#c6c6c6\"").count(), 2 + 2, "a cell and a sign in each facet");
    // Without intervals nothing is grey.
    let plain = imshow_facets(Array3::<f32>::ones((2, 1, 2))).to_svg()?;
    assert!(!plain.contains("#c6c6c6"));
    Ok(())
}

#[test]
fn lines_and_bars_have_whiskers() -> Result<()> {
    let (low, high) = ([0.5, -1.0, f32::NAN], [1.5, 3.0, f32::NAN]);
    let plain = line([1.0, 2.0, 0.5]).to_svg()?;
    let figure = line([1.0, 2.0, 0.5]).intervals(low, high);
    let bars = spec(&figure)["data"][0]["error_y"].clone();
    assert_eq!((&bars["array"], &bars["arrayminus"]), (&json!([0.5, 1.0, null]), &json!([0.5, 3.0, null])));
    let svg = figure.to_svg()?;
    let strokes = |svg: &str| svg.matches("stroke=\"#0072b2\"").count();
    assert_eq!(strokes(&svg), strokes(&plain) + 2 * 3, "each whisker is a line and its two ends");
    assert!(figure.to_string().contains("2 [-1 to 3] (1)"), "{figure}");
    // The axis has room for them.
    assert!(spec(&figure)["layout"]["yaxis"].is_object() && svg.contains(">3<"), "{svg}");

    let drawn = bar(vec![vec![1.0, 2.0], vec![0.5, -1.0]]).names(["clean", "corrupted"]).x_ticks(["attn", "mlp"]);
    let drawn = drawn.intervals(vec![vec![0.9, 1.0], vec![0.2, -2.0]], vec![vec![1.1, 3.0], vec![0.8, -0.5]]);
    assert_eq!(spec(&drawn)["data"][1]["error_y"]["arrayminus"], json!([0.3, 1.0]));
    assert!(drawn.to_string().contains("1 to 3") && drawn.to_string().contains("interval"), "{drawn}");
    sentence(drawn.stacked().show(), &["whiskers", "stacked"]);
    sentence(line([1.0, 2.0]).intervals([0.0], [1.0]).show(), &["[1]", "[1, 2]", "one interval for each"]);
    sentence(bar([1.0]).intervals([2.0], [1.0]).show(), &["from 2 to 1", "lower end first"]);
    let turned = |by: f64| vec![vec![by; 2]; 3];
    sentence(imshow(vec![vec![1.0; 3]; 2]).intervals(turned(0.0), turned(2.0)).show(), &["[3, 2]", "[2, 3]"]);
    sentence(imshow(vec![vec![1.0]]).intervals([2.0, 3.0], [4.0, 4.0]).show(), &["[2]", "[1, 1]"]);
    Ok(())
}

#[test]
fn statistics_show_their_intervals() -> Result<()> {
    let found = found()?;
    let map = found.render()?;
    assert!(map.text().contains("those whose interval leaves out 0") && map.html().contains("data-figure"));
    // The strongest first, and none that may be zero.
    let table = map.text().rsplit("standard error").next().expect("a table");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with(['0', '1'])).collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(rows[0].starts_with("1") && rows[0].contains('c'), "{table}");
    let list = found.select("layer", 0)?;
    let text = list.to_string();
    for part in
        ["standard error", "interval", " p ", "0.125", "95 % intervals by 1000 bootstrap draws", "exact up to 12"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let one = list.select("head", 0)?.to_string();
    assert!(one.contains("0.125") && one.contains("interval"), "{one}");
    let rate = Labelled::new("accuracy", vec![Axis::numbered("prompt", 6)], vec![0.0; 6])?
        .success_rate_over("prompt", 0.95)?;
    assert!(rate.to_string().contains("0 to 0.4593") && rate.to_string().contains("Clopper"), "{rate}");
    Ok(())
}

#[test]
fn metrics_are_shown_one_after_the_other() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let batch = &Task::Ioi.prompts(tasks::Split::Templates, 6, 0)?.aligned(&model)?.batches(&model, 8)?[0];
    let list = [batch.metric.clone(), Metric::kl()];
    let found = Experiment::new(&model, &batch.clean, &batch.corrupted, list)?.get_act_patch_attn_head_out_all_pos()?;
    for text in [found.to_string(), found.statistics(StatisticsOptions::default())?.to_string()] {
        let places = [batch.metric.name(), "KL divergence"].map(|name| text.find(name));
        assert!(places[0].is_some() && places[0] < places[1], "{text}");
    }
    Ok(())
}
