//! How large figures become: a cap that is kept and reported, and still pictures whose work grows no faster than the numbers.

use candle_lens::prelude::*;
use candle_lens::views::Rendered;
use ndarray::{Array2, Array3};
use serde_json::Value;

/// Five megabytes, by default.
const MAX_BYTES: usize = 5_000_000;

/// Numbers that no compression shortens.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn grid(rows: usize, columns: usize) -> Array2<f32> {
    Array2::from_shape_vec((rows, columns), noise(rows * columns)).expect("as many numbers as cells")
}

fn spec(figure: impl Into<Figure>) -> Value {
    serde_json::from_str(&figure.into().to_json().expect("the figure can be drawn")).expect("JSON")
}

fn reduced(view: &impl View, words: &str, max_bytes: usize) -> Rendered {
    let shown = view.render().expect("it can be drawn");
    println!("{words}: {} bytes", shown.html().len());
    assert!(shown.html().len() <= max_bytes, "{} bytes", shown.html().len());
    for form in [shown.html(), shown.text()] {
        assert!(form.contains(words) && form.contains("`max_bytes` allows more"), "{}", &form[..600.min(form.len())]);
        assert!(form.contains("`save_html`"), "the way to all of it is named");
    }
    shown
}

#[test]
fn a_heat_map_over_the_cap_keeps_what_stands_out() {
    let mut values = grid(1500, 1500);
    values[(700, 701)] = -9.0;
    let figure = imshow(&values).title("large");
    reduced(&figure, "for each block of 3 x 3 cells", MAX_BYTES);
    let of = spec(&figure);
    assert_eq!(of["data"][0]["z"].as_array().map(Vec::len), Some(500));
    assert_eq!(of["data"][0]["z"][233][233].as_f64(), Some(-9.0));
    assert_eq!(of["data"][0]["y"][1], "\u{200b}3 … 5");
    assert_eq!(of["data"][0]["zmin"].as_f64(), Some(-9.0));
    assert!(figure.to_svg().expect("drawn").contains("for each block"), "a file says it as well");
    let small = imshow(grid(100, 100)).max_bytes(90_000);
    reduced(&small, "all 100 x 100 would take more than 90.0 kB", 90_000);
    let whole = imshow(grid(300, 300)).render().expect("drawn");
    assert!(!whole.text().contains("max_bytes") && whole.html().len() < MAX_BYTES);
    let lifted = imshow(grid(100, 100)).max_bytes(60_000_000);
    assert!(!lifted.render().expect("drawn").html().contains("max_bytes"));
    let flat = imshow(grid(10, 60_000));
    reduced(&flat, "for each block of 1 x ", MAX_BYTES);
}

#[test]
fn animations_and_facets_share_the_cap() {
    let frames = Array3::from_shape_vec((20, 200, 200), noise(800_000)).expect("as many numbers as cells");
    reduced(&imshow_animation(&frames), "all 20 x 200 x 200", MAX_BYTES);
    reduced(&imshow_facets(&frames), "for each block of", MAX_BYTES);
}

#[test]
fn a_long_line_keeps_its_extremes() {
    let mut values = noise(1_000_000);
    (values[123_456], values[654_321]) = (8.0, -7.0);
    let figure = line(&values);
    reduced(&figure, "the minimum and maximum of each", MAX_BYTES);
    let of = spec(&figure);
    let (x, y) = (of["data"][0]["x"].as_array().expect("x"), of["data"][0]["y"].as_array().expect("y"));
    assert_eq!(x.len(), y.len());
    assert!(x.len() > 100_000 && x.len() < 200_000, "{}", x.len());
    for (place, value) in [(123_456, 8.0), (654_321, -7.0)] {
        let at = x.iter().position(|x| x.as_u64() == Some(place)).expect("the extreme is there");
        assert_eq!(y[at].as_f64(), Some(value));
    }
    assert_eq!((x[0].as_u64(), x[x.len() - 1].as_u64()), (Some(0), Some(999_999)));
    // With labels, points that are left out still have their room.
    let labelled = line(&values[..5000]).x_ticks((0..5000).map(|i| format!("step {i}"))).max_bytes(100_000);
    reduced(&labelled, "all 5,000 would", 100_000);
    let of = spec(&labelled);
    assert_eq!(of["layout"]["xaxis"]["type"], "linear");
    let (at, text) = (&of["data"][0]["x"][7], &of["data"][0]["hovertext"][7]);
    assert_eq!(text.as_str(), Some(format!("step {at}").as_str()));
    assert_eq!(
        of["layout"]["xaxis"]["ticktext"].as_array().map(Vec::len),
        of["layout"]["xaxis"]["tickvals"].as_array().map(Vec::len)
    );
}

#[test]
fn many_bars_and_points_keep_the_large_and_the_lonely() {
    let mut values = noise(600_000);
    values[400_001] = -3.0;
    let bars = bar(&values);
    reduced(&bars, "the largest bar of each", MAX_BYTES);
    let of = spec(&bars);
    let lowest = of["data"][0]["y"].as_array().expect("y").iter().position(|y| y.as_f64() == Some(-3.0)).expect("kept");
    assert_eq!(of["data"][0]["x"][lowest], "\u{200b}400001", "it keeps its own label");
    let (mut x, y) = (noise(400_000), noise(400_001)[1..].to_vec());
    x[77] = 20.0;
    let points = scatter(&x, &y);
    reduced(&points, "one wherever there are any: all 400,000 points would", MAX_BYTES);
    let of = spec(&points);
    assert!(
        of["data"][0]["x"].as_array().expect("x").iter().any(|x| x.as_f64() == Some(20.0)),
        "the lonely one is kept"
    );
}

/// How many points the line of a vector image has.
fn strokes(figure: &Line) -> usize {
    let svg = figure.to_svg().expect("drawn");
    let lines = svg.lines().filter(|line| line.starts_with("<polyline") && line.contains("#0072b2"));
    lines.filter_map(|line| Some(line.split("points=\"").nth(1)?.split('"').next()?.split(' ').count())).sum()
}

#[test]
fn a_still_line_has_no_more_points_than_its_pixels_show() {
    let swings = |count: usize| line((0..count).map(|i| (i as f32).sin()).collect::<Vec<_>>());
    assert_eq!(strokes(&swings(500)), 500, "a short one is whole");
    for count in [10_000, 40_000, 100_000, 200_000] {
        let drawn = strokes(&swings(count));
        // Two points for each of at most 2 x 800 stretches, and the ends.
        assert!(drawn > 800 && drawn <= 3202, "{drawn} points of {count}");
    }
    // So do wide pictures: their strokes are drawn in pieces, so that the work is that of the points.
    assert!(strokes(&swings(100_000).width(4000)) <= 16_002);
}

#[test]
fn what_a_still_line_leaves_out_cannot_be_seen() {
    // The whole line, as a line with as many pixels as points draws it, against the thinned one, column by column.
    let values: Vec<f32> = noise(30_000).iter().enumerate().map(|(i, v)| v * (i as f32 * 0.001).sin()).collect();
    let svg = line(&values).to_svg().expect("drawn");
    let stroke = svg.lines().find(|line| line.starts_with("<polyline") && line.contains("#0072b2")).expect("the line");
    let points: Vec<(f64, f64)> = stroke
        .split("points=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("points")
        .split(' ')
        .filter_map(|point| point.split_once(','))
        .map(|(x, y)| (x.parse().expect("x"), y.parse().expect("y")))
        .collect();
    let (left, right) = (points[0].0, points[points.len() - 1].0);
    let place = |x: f64| (((x - left) / (right - left)) * 29_999.0).round() as usize;
    let (top, bottom) =
        (points.iter().map(|p| p.1).fold(f64::MAX, f64::min), points.iter().map(|p| p.1).fold(0.0, f64::max));
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let height = |v: f32| bottom - (f64::from(v) - f64::from(low)) / f64::from(high - low) * (bottom - top);
    let columns = (right - left).ceil() as usize + 1;
    let mut drawn = vec![(f64::MAX, f64::MIN); columns];
    let mut whole = drawn.clone();
    let add = |into: &mut Vec<(f64, f64)>, x: f64, y: f64| {
        let column = &mut into[(x - left) as usize];
        *column = (column.0.min(y), column.1.max(y));
    };
    points.iter().for_each(|&(x, y)| add(&mut drawn, x, y));
    for (i, &value) in values.iter().enumerate() {
        add(&mut whole, left + (right - left) * i as f64 / 29_999.0, height(value));
    }
    assert!(points.iter().all(|&(x, _)| place(x) < 30_000));
    // A stretch can lie across the border of two columns: an extreme is then in the next one.
    let near = |of: &[(f64, f64)], c: usize| {
        of[c.saturating_sub(1)..(c + 2).min(columns)]
            .iter()
            .fold((f64::MAX, f64::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)))
    };
    for (column, &b) in whole.iter().enumerate() {
        let a = near(&drawn, column);
        assert!(a.0 <= b.0 + 0.1 && a.1 >= b.1 - 0.1, "column {column}: {a:?} and {b:?}");
    }
}
