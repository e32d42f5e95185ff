//! The kinds of figure other than lines and heat maps: what they count, position and colour, and their errors.

use std::path::{Path, PathBuf};

use candle_lens::labelled::{Axis, Labelled};
use candle_lens::prelude::*;
use candle_lens::views::View;
use ndarray::Array3;
use serde_json::Value;

use crate::support::tolerance::IN_F64;

fn json(figure: impl Into<Figure>) -> Value {
    serde_json::from_str(&figure.into().to_json().expect("the figure can be drawn")).expect("JSON")
}

fn refusal(figure: impl Into<Figure>) -> String {
    figure.into().to_json().expect_err("this cannot be drawn").to_string()
}

#[test]
fn a_histogram_counts_every_number_once() {
    let values: Vec<f64> = (0..97).map(|i| (i * i % 31) as f64).collect();
    let spec = json(hist(&values).bins(7).mean_lines());
    let counts: Vec<u64> = spec["data"][0]["y"].as_array().expect("counts").iter().filter_map(Value::as_u64).collect();
    let by_hand = (0..7).map(|bin| {
        let (low, high) = (bin as f64 * 28.0 / 7.0, (bin + 1) as f64 * 28.0 / 7.0);
        values.iter().filter(|v| **v >= low && (**v < high || bin == 6)).count() as u64
    });
    assert_eq!(counts, by_hand.collect::<Vec<_>>());
    let mean = values.iter().sum::<f64>() / 97.0;
    assert!((spec["layout"]["shapes"][0]["x0"].as_f64().expect("a mean") - mean).abs() < IN_F64);
    for value in [2.0, 1e16, 1e20, -3e30, f32::MAX, 1e-40] {
        let figure = hist(vec![value; 5]);
        figure.render().expect("equal numbers have a bin, however large they are");
        let spec = json(&figure);
        let counts =
            spec["data"][0]["y"].as_array().expect("counts").iter().filter_map(Value::as_u64).collect::<Vec<_>>();
        assert_eq!((counts.iter().sum::<u64>(), counts.iter().max()), (5, Some(&5)), "{value}: {counts:?}");
        line(vec![value; 5]).render().expect("so have lines");
        scatter(vec![value; 5], vec![value; 5]).render().expect("and points");
    }
}

#[test]
fn bars_are_grouped_or_stacked_away_from_zero() {
    let values = vec![vec![1.0, -2.0], vec![3.0, -4.0]];
    let grouped = bar(&values).names(["a", "b"]);
    assert_eq!(json(&grouped)["layout"]["barmode"], "group");
    assert_eq!(json(grouped.clone().stacked())["layout"]["barmode"], "relative");
    let highest = |figure: &Bar| {
        let svg = figure.to_svg().expect("drawn");
        let rects = svg.lines().filter(|line| line.starts_with("<rect"));
        rects
            .filter_map(|line| line.split("height=\"").nth(1)?.split('"').next()?.parse::<f32>().ok())
            .fold(0.0, f32::max)
    };
    assert!(highest(&grouped) > 1.4 * highest(&grouped.clone().stacked()), "a stack shares the height");
    assert!(grouped.render().expect("drawn").text().contains("-4"));
}

#[test]
fn points_have_labels_and_a_diagonal_where_both_axes_are() {
    let x = Labelled::new("x", vec![Axis::new("head", ["L0H0", "L0H1"])], vec![0.0, 1.0]).expect("two");
    let spec = json(scatter(&x, [0.5, 2.0]).diagonal());
    assert_eq!(spec["data"][0]["text"][1], "L0H1");
    assert_eq!(spec["layout"]["shapes"][0]["x0"], spec["layout"]["shapes"][0]["y0"]);
    assert!(refusal(scatter([1.0], [1.0, 2.0])).contains("x and y of the same shape"));
    assert!(refusal(scatter([1.0], [1.0]).point_labels(["a", "b"])).contains("`point_labels` gives 2"));
}

#[test]
fn cells_have_text_and_a_chosen_scale() {
    let values = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
    let spec = json(imshow(&values).cell_text(["a", "<b>", "c", "d"]).center(2.0).limit(5.0));
    assert_eq!(spec["data"][0]["text"][0][1], "&lt;b&gt;");
    assert_eq!((spec["data"][0]["zmin"].as_f64(), spec["data"][0]["zmax"].as_f64()), (Some(-3.0), Some(7.0)));
    let blues = json(plot_comp_scores(&values, None));
    assert_eq!(blues["data"][0]["zmin"].as_f64(), Some(0.0));
    assert_eq!(blues["data"][0]["colorscale"][0][1], "#f7f7f7");
    assert_eq!(blues["data"][0]["x"][1], "\u{200b}L1H1");
    let around = json(plot_comp_scores(&values, Some(1.5)));
    assert_eq!((around["data"][0]["zmin"].as_f64(), around["data"][0]["zmax"].as_f64()), (Some(-1.0), Some(4.0)));
    assert!(refusal(imshow(&values).limit(0.0)).contains("a number above 0"));
    assert!(refusal(imshow(&values).cell_text(["a"])).contains("4 cells need one label each"));
}

#[test]
fn an_animation_has_every_frame_in_order_on_one_scale() {
    let frames = Array3::from_shape_fn((3, 2, 2), |(f, r, c)| (f * 10 + r * 2 + c) as f32);
    let spec = json(imshow_animation(&frames).names(["a", "b", "b"]));
    assert_eq!(spec["frames"][2]["data"][0]["z"][1][1].as_f64(), Some(23.0));
    assert_eq!(spec["data"][0]["zmax"].as_f64(), Some(23.0));
    assert_eq!(spec["layout"]["sliders"][0]["steps"][2]["args"][0][0], "2", "equal names are still two frames");
    assert!(refusal(imshow_animation([1.0])).contains("[frame, row, column]"));
}

#[test]
fn facets_have_their_own_names_and_one_scale() {
    let values = Array3::from_shape_fn((3, 2, 2), |(f, _, c)| f as f32 * if c == 0 { 1.0 } else { -1.0 });
    let figures = imshow_facets(&values).names(["x", "y", "z"]).figures().expect("three");
    let specs: Vec<Value> = figures.iter().map(json).collect();
    for (spec, (name, value)) in specs.iter().zip([("x", 0.0), ("y", 1.0), ("z", 2.0)]) {
        assert_eq!(spec["layout"]["title"]["text"], name);
        assert_eq!((spec["data"][0]["z"][0][0].as_f64(), spec["data"][0]["zmax"].as_f64()), (Some(value), Some(2.0)));
    }
    assert!(imshow_facets([1.0]).figures().is_err() && imshow_facets(&values).names(["x"]).figures().is_err());
    let zero_first = imshow_patching_results(&values, ["a", "b"], [" x", " y", " z"]).expect("two that are not zero");
    assert_eq!(zero_first.figures().expect("two").len(), 2);
    assert_eq!(json(&zero_first.figures().expect("two")[0])["layout"]["title"]["text"], " y");
    assert_eq!(json(&zero_first.figures().expect("two")[0])["data"][0]["x"][1], "\u{200b}b_1");
}

#[test]
fn a_line_has_a_second_axis_and_bands() {
    let two = vec![vec![1.0, 2.0, 3.0], vec![100.0, 200.0, 150.0]];
    let spec = json(line(&two).secondary_axis("Loss").band(0.0, 1.5, "first"));
    assert_eq!((&spec["data"][1]["yaxis"], &spec["layout"]["yaxis2"]["side"]), (&"y2".into(), &"right".into()));
    assert_eq!(spec["layout"]["shapes"][0]["label"]["text"], "first");
    assert!(refusal(line([1.0]).secondary_axis("Loss")).contains("there is one"));
    assert!(refusal(line([1.0, 2.0]).band(0.0, 9.0, "b")).contains("the line goes from 0 to 1"));
    let halves = json(plot_loss_difference([-3.0, -2.0, -1.0, 0.0], ["a", "b", "a", "b"], 2));
    assert_eq!(halves["layout"]["shapes"][1]["x0"].as_f64(), Some(1.5));
}

/// Inherent methods take precedence over a trait's, so these are called only where a kind lacks the option; where a kind
/// has it, this file does not compile.
trait Lacks: Sized {
    fn names(self, _: [&str; 1]) -> bool {
        true
    }
    fn x_ticks(self, _: [&str; 1]) -> bool {
        true
    }
    fn y_ticks(self, _: [&str; 1]) -> bool {
        true
    }
    fn color_label(self, _: &str) -> bool {
        true
    }
    fn cell_text(self, _: [&str; 1]) -> bool {
        true
    }
    fn stacked(self) -> bool {
        true
    }
    fn bins(self, _: usize) -> bool {
        true
    }
    fn mean_lines(self) -> bool {
        true
    }
    fn diagonal(self) -> bool {
        true
    }
    fn secondary_axis(self, _: &str) -> bool {
        true
    }
}

impl<F: Into<Figure>> Lacks for F {}

#[test]
fn a_kind_has_no_options_of_other_kinds() {
    let one = vec![vec![1.0]];
    assert!(line([1.0]).stacked() && line([1.0]).bins(3) && line([1.0]).y_ticks(["a"]) && line([1.0]).color_label("a"));
    assert!(
        bar([1.0]).bins(3) && bar([1.0]).y_ticks(["a"]) && bar([1.0]).secondary_axis("a") && bar([1.0]).mean_lines()
    );
    assert!(hist([1.0]).diagonal() && hist([1.0]).x_ticks(["a"]) && hist([1.0]).stacked());
    let point = || scatter([1.0], [1.0]);
    assert!(point().cell_text(["a"]) && point().names(["a"]) && point().x_ticks(["a"]) && point().color_label("a"));
    assert!(imshow(one.clone()).mean_lines() && imshow(one.clone()).names(["a"]) && imshow(one.clone()).stacked());
    assert!(imshow_animation([1.0]).cell_text(["a"]) && Figure::from(imshow(one)).cell_text(["a"]));
}

#[test]
fn figures_of_all_kinds_are_one_type_with_the_shared_options() {
    let frames = Array3::from_shape_fn((2, 2, 2), |(f, r, c)| (f + r + c) as f32);
    let figures: [Figure; 6] = [
        line([1.0, 2.0]).into(),
        bar([1.0, 2.0]).into(),
        hist([1.0, 2.0]).into(),
        scatter([1.0], [2.0]).into(),
        imshow(vec![vec![1.0]]).into(),
        imshow_animation(frames).into(),
    ];
    for figure in figures {
        let spec = json(figure.title("T").x_label("X").y_label("Y").width(333).height(222).hovermode(HoverMode::Off));
        let layout = &spec["layout"];
        assert_eq!(
            (&layout["width"], &layout["height"], &layout["hovermode"]),
            (&333.into(), &222.into(), &false.into())
        );
        let titles = [layout, &layout["xaxis"], &layout["yaxis"]].map(|part| part["title"]["text"].clone());
        assert_eq!(titles, ["T", "X", "Y"].map(Value::from));
    }
    let bad = Figure::from(line([1.0]).names(["a", "b"]));
    assert!(refusal(bad.title("still bad")).contains("1 series need one label each"));
    let base = line([1.0, 2.0]);
    assert_eq!(json(base.clone().x_ticks(["a", "b"]))["data"][0]["x"][1], "\u{200b}b");
    assert_eq!(json(&base)["data"][0]["x"][1], 1, "a clone's options are its own");
}

#[test]
fn a_vector_image_keeps_text_as_text() {
    let svg =
        imshow(vec![vec![1.0, -1.0]]).title("</svg><script>").x_ticks(["\"a\"", "b\u{200f}"]).to_svg().expect("drawn");
    assert!(svg.contains("&lt;/svg&gt;&lt;script&gt;") && !svg.contains("<script"));
    assert!(svg.contains("&quot;a&quot;") && svg.contains("b\\u{200f}"));
    assert_eq!(svg.matches("<svg ").count(), 1);
    assert!(svg.contains("fill=\"#053061\"") && svg.contains("fill=\"#67001f\""));
    let folder = std::env::temp_dir();
    let path = |ending: &str| folder.join(format!("candle-lens-figure-{}.{ending}", std::process::id()));
    let figure = hist([1.0, 2.0]);
    figure.save_svg(path("svg")).expect("written");
    figure.save_png(path("png")).expect("written");
    figure.save_html(path("html")).expect("written");
    for (ending, start) in [("svg", &b"<svg "[..]), ("png", b"\x89PNG"), ("html", b"<!doctype html>")] {
        let bytes = std::fs::read(path(ending)).expect("the file");
        assert!(bytes.starts_with(start), "{ending}");
        std::fs::remove_file(path(ending)).expect("the file");
    }
}

#[test]
fn a_figure_of_12_by_16_cells_is_small_beyond_plotly() {
    let values: Vec<Vec<f64>> = (0..12).map(|r| (0..16).map(|c| ((r * 16 + c) as f64 * 0.7).sin()).collect()).collect();
    let bytes = imshow(&values).render().expect("drawn").html().len();
    assert!(bytes < 40_000, "{bytes} bytes");
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of sources");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    paths
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn one_folder_and_the_view_of_a_plot_name_plotly_rs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let names = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a source file is UTF-8");
        text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("plotly::"))
    };
    let folder = root.join("views/figure/plot");
    let found: Vec<PathBuf> = sources(&root).into_iter().filter(names).collect();
    assert!(
        found.iter().filter(|path| path.starts_with(&folder)).count() > 3,
        "the search finds hardly any: {found:?}"
    );
    let elsewhere: Vec<&PathBuf> = found.iter().filter(|path| !path.starts_with(&folder)).collect();
    assert_eq!(elsewhere, [&root.join("views/of_plotly.rs")]);
}
