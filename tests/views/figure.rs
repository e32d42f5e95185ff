//! Figures: the JSON for plotly.js, the defaults that a result brings, the errors for what cannot be drawn.

use candle_core::{Device, Tensor};
use candle_lens::labelled::{Axis, Labelled};
use candle_lens::views::{Figure, HoverMode, View, imshow, line};
use serde_json::{Value, json};

fn parsed(figure: impl Into<Figure>) -> Value {
    serde_json::from_str(&figure.into().to_json().expect("the figure can be drawn")).expect("valid JSON")
}

fn refused(figure: Figure) -> String {
    let error = figure.show().expect_err("this cannot be drawn").to_string();
    assert!(error.starts_with("candle-lens: ") && error.ends_with('.'), "{error}");
    assert_eq!(error.matches("candle-lens: ").count(), 1, "{error}");
    error
}

fn per_head() -> Labelled {
    let axes = vec![Axis::numbered("layer", 2), Axis::numbered("head", 3)];
    Labelled::new("logit difference", axes, vec![0.5, -2.0, 0.0, 1.0, 0.25, -0.5]).expect("2 x 3 values")
}

#[test]
fn a_line_is_exactly_this_json() {
    let figure = line([0.5, -1.0, 2.25])
        .title("Logit Lens")
        .x_label("Layer")
        .y_label("Logit Diff")
        .x_ticks(["0_pre", "0_mid", "final_post"])
        .width(700);
    let expected = json!({
        "data": [{
            "type": "scatter",
            "mode": "lines+markers",
            "name": "Logit Diff",
            "x": ["\u{200b}0_pre", "\u{200b}0_mid", "\u{200b}final_post"],
            "y": [0.5, -1.0, 2.25],
            "line": { "color": "#0072b2" },
        }],
        "layout": {
            "title": { "text": "Logit Lens", "font": { "size": 16 }, "xref": "paper", "x": 0.0, "xanchor": "left" },
            "width": 700,
            "height": 450,
            "margin": { "l": 60, "r": 30, "t": 50, "b": 50 },
            "font": { "family": "system-ui, sans-serif", "size": 12 },
            "paper_bgcolor": "rgba(0, 0, 0, 0)",
            "plot_bgcolor": "rgba(0, 0, 0, 0)",
            "showlegend": false,
            "hovermode": "x unified",
            "xaxis": {
                "type": "category",
                "title": { "text": "Layer", "standoff": 10 },
                "range": [-0.5, 2.5],
                "automargin": true,
                "showgrid": false,
                "zeroline": false,
            },
            "yaxis": {
                "title": { "text": "Logit Diff", "standoff": 10 },
                "automargin": true,
                "showgrid": true,
                "zeroline": true,
                "hoverformat": ".4~g",
            },
        },
        "config": { "displaylogo": false, "typesetMath": false },
        "frames": null,
    });
    assert_eq!(parsed(&figure), expected);
}

#[test]
fn a_heat_map_has_its_first_row_on_top_and_zero_in_the_middle() {
    let json = parsed(imshow(per_head()).title("Logit Difference From Each Head"));
    let trace = &json["data"][0];
    assert_eq!(trace["type"], "heatmap");
    assert_eq!(trace["z"], json!([[0.5, -2.0, 0.0], [1.0, 0.25, -0.5]]));
    assert_eq!((&trace["zmin"], &trace["zmax"]), (&json!(-2.0), &json!(2.0)));
    assert_eq!(trace["x"], json!(["\u{200b}0", "\u{200b}1", "\u{200b}2"]));
    assert_eq!(trace["colorscale"][0], json!([0.0, "#67001f"]), "red is below zero");
    assert_eq!(trace["colorscale"][5], json!([0.5, "#f7f7f7"]));
    assert_eq!(trace["hovertemplate"], "layer %{y}<br>head %{x}<br>logit difference %{z:.4~g}<extra></extra>");
    assert_eq!(json["layout"]["yaxis"]["range"], json!([1.5, -0.5]));
    assert_eq!(json["layout"]["xaxis"]["title"]["text"], "head");
    assert_eq!(json["layout"]["width"], 600);
}

#[test]
fn a_result_brings_its_labels_along() {
    let heads = parsed(imshow(per_head()));
    assert_eq!(heads["layout"]["title"]["text"], "logit difference");
    let layers = per_head().mean_over("head").expect("it has heads");
    let json = parsed(line(&layers));
    assert_eq!(json["layout"]["title"]["text"], "logit difference");
    assert_eq!(json["layout"]["yaxis"]["title"]["text"], "", "the title says it already");
    assert_eq!(json["layout"]["xaxis"]["title"]["text"], "layer");
    let titled = parsed(line(&layers).title("By layer"));
    assert_eq!(titled["layout"]["yaxis"]["title"]["text"], "logit difference");
    let series = parsed(line(per_head()));
    assert_eq!(series["data"][1]["name"], "1");
    assert_eq!(series["layout"]["showlegend"], true);
}

#[test]
fn every_source_gives_the_same_numbers() -> candle_lens::Result<()> {
    let expected = json!([1.0, 2.5]);
    let tensor = Tensor::new(&[1.0_f64, 2.5], &Device::Cpu)?;
    let array = ndarray::arr1(&[1.0_f32, 2.5]);
    let figures = [
        line([1.0, 2.5]),
        line(vec![1.0_f32, 2.5]),
        line(&[1.0_f64, 2.5][..]),
        line(&tensor),
        line(tensor.to_dtype(candle_core::DType::BF16)?),
        line(&array),
        line(array.view()),
    ];
    for figure in figures {
        assert_eq!(parsed(&figure)["data"][0]["y"], expected);
    }
    let matrix = json!([[1.0, 2.0], [3.0, 4.0]]);
    let tensor = Tensor::new(&[[1.0_f32, 3.0], [2.0, 4.0]], &Device::Cpu)?.t()?;
    let array = ndarray::arr2(&[[1.0_f32, 3.0], [2.0, 4.0]]);
    for figure in [imshow(vec![vec![1, 2], vec![3, 4]]), imshow(&tensor), imshow(array.t())] {
        assert_eq!(parsed(&figure)["data"][0]["z"], matrix, "a transposed view is read in its own order");
    }
    Ok(())
}

#[test]
fn what_was_requested_is_what_is_drawn() {
    let json = parsed(line(vec![vec![1.0, 2.0], vec![3.0, 4.0]]).hovermode(HoverMode::Closest));
    assert_eq!(json["layout"]["hovermode"], "closest");
    assert_eq!(json["data"][0]["x"], json!([0, 1]));
    let json = parsed(imshow(vec![vec![1.0]]).y_ticks([7]).x_ticks(["a"]).color_label("nats").height(333));
    assert_eq!((&json["data"][0]["y"], &json["data"][0]["x"]), (&json!(["\u{200b}7"]), &json!(["\u{200b}a"])));
    assert_eq!(json["data"][0]["colorbar"]["title"]["text"], "nats");
    assert_eq!(json["layout"]["height"], 333);
}

#[test]
fn the_same_figure_is_the_same_output() -> candle_lens::Result<()> {
    let draw = || line([1.0, 2.0]).title("A").render();
    assert_eq!(draw()?, draw()?);
    assert_ne!(draw()?.html(), line([1.0, 2.5]).title("A").render()?.html());
    Ok(())
}

/// Shares and steps have their own distances; labels of a result do not move them.
#[test]
fn places_on_an_axis_to_scale() -> candle_lens::Result<()> {
    let labelled = Labelled::new("loss", vec![Axis::new("step", ["0", "10", "1000"])], vec![3.0, 2.0, 1.0])?;
    let figure = line(labelled).x_values([0.0, 10.0, 1000.0]);
    assert_eq!(parsed(&figure)["data"][0]["x"], json!([0.0, 10.0, 1000.0]));
    assert!(figure.render()?.text().contains("step: 0 to 1000"), "{}", figure.render()?.text());
    Ok(())
}

#[test]
fn what_does_not_fit_is_reported_in_a_sentence() {
    let cases: Vec<(Figure, &str)> = vec![
        (line([1.0, 2.0]).x_ticks(["a"]).into(), "2 points need one label each, but `x_ticks` gives 1."),
        (line([1.0, 2.0]).names(["a", "b"]).into(), "1 series need one label each, but `names` gives 2."),
        (line([1.0, 2.0]).x_values([0.5]).into(), "2 points need one place each, but `x_values` gives 1."),
        (line([1.0, 2.0]).x_values([2.0, 1.0]).into(), "`x_values` go from 2 to 1"),
        (line([1.0, 2.0]).x_values([0.0, f64::NAN]).into(), "give finite numbers"),
        (line([1.0, 2.0]).x_values([0.0, 9.0]).x_ticks(["a", "b"]).into(), "give one of them"),
        (
            line([1.0, 2.0]).x_values([5.0, 9.0]).band(0.0, 6.0, "b").into(),
            "goes from 0 to 6, but the line goes from 5 to 9",
        ),
        (line(Vec::<f32>::new()).into(), "`line` was given no numbers"),
        (imshow(vec![Vec::<f32>::new()]).into(), "`imshow` was given no numbers (the shape is [1, 0])"),
        (imshow([1.0, 2.0]).into(), "`imshow` draws a matrix of rows and columns, but it was given the shape [2]"),
        (line(ndarray::Array3::<f32>::zeros((1, 2, 3))).into(), "it was given the shape [1, 2, 3]"),
        (line(ndarray::arr0(1.0_f32)).into(), "it was given the shape []"),
        (imshow(vec![vec![1.0], vec![]]).into(), "row 0 has 1 numbers and row 1 has 0"),
        (line([1.0]).width(0).into(), "a figure cannot have the width 0: give 100 to 10000 pixels"),
        (imshow(vec![vec![1.0]]).width(0).into(), "a figure cannot have the width 0"),
        (line([1.0]).height(1_000_000).into(), "a figure cannot have the height 1000000"),
    ];
    for (figure, part) in cases {
        let sentence = refused(figure);
        assert!(sentence.contains(part), "{sentence}");
    }
}

#[test]
fn numbers_at_the_edge_are_drawn() -> candle_lens::Result<()> {
    let same = line([1.0, 2.0]).x_values([3.0, 3.0]);
    for figure in
        [line([0.0]), line([3.0, 3.0]), line([1e-30, 1e30]), line([f32::MAX, f32::MIN]), line([1e-40, 0.0]), same]
    {
        assert!(figure.to_png()?.len() > 100);
        assert!(!figure.render()?.text().is_empty());
    }
    for figure in [imshow(vec![vec![0.0]]), imshow(vec![vec![1e-40]]), imshow(vec![vec![f32::MAX; 300]; 2])] {
        assert!(figure.to_png()?.len() > 100);
        assert!(!figure.render()?.text().is_empty());
    }
    Ok(())
}

#[test]
fn a_terminal_gets_lines_of_bars() -> candle_lens::Result<()> {
    let lens = line([0.0, 1.0, -1.0]).title("Logit Lens").x_ticks(["pre", "mid", "post"]);
    assert_eq!(lens.render()?.text(), "Logit Lens\n▅█▁  from -1 (post) to 1 (mid)");
    assert_eq!(
        lens.x_label("Layer").y_label("Logit Diff").render()?.text(),
        "Logit Lens\n▅█▁  from -1 (post) to 1 (mid)\nLogit Diff over Layer: pre to post"
    );
    let long = line(vec![vec![1.0_f32; 5000]; 2]).names(["a", "猫"]).render()?;
    assert!(long.text().lines().all(|line| line.chars().count() < 400), "{}", long.text());
    Ok(())
}

#[test]
fn a_terminal_gets_shades() -> candle_lens::Result<()> {
    assert_eq!(
        imshow(per_head()).render()?.text(),
        "logit difference\n\
         layer \\ head  0         1         2\n\
         ────────────  ────────  ────────  ────────\n\
         0              0.500 ░  -2.000 █   0.000\n\
         1              1.000 ▒   0.250 ░  -0.500 ░"
    );
    let mut wide = vec![vec![0.0_f32; 300]; 50];
    (wide[0][0], wide[1][1]) = (2.0, -1.0);
    let shown = imshow(wide).render()?.text().to_owned();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[1..3], ["0   ██", "1     -▒"], "{shown}");
    assert!(
        lines.contains(&"██ is 2, -█ is -2; from -1 (1, 1) to 2 (0, 0)")
            && lines.last() == Some(&"… 10 more rows (50 in all)"),
        "{shown}"
    );
    Ok(())
}
