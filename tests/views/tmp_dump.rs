use candle_lens::views::*;
#[test]
fn dump() {
    let labels: Vec<String> =
        (0..12).flat_map(|l| [format!("{l}_pre"), format!("{l}_mid")]).chain(["final_post".to_string()]).collect();
    let y: Vec<f32> = (0..25)
        .map(|i| if i < 15 { -0.02 * i as f32 } else { (i - 15) as f32 * 0.31 } + 0.1 * ((i * 7 % 5) as f32))
        .collect();
    let w = |n: &str, f: Figure| std::fs::write(format!("/opt/jl/work/{n}.png"), f.to_png().unwrap()).unwrap();
    w(
        "p1",
        line(&y)
            .title("Logit Difference From Accumulated Residual Stream")
            .x_label("Layer")
            .y_label("Logit Diff")
            .x_ticks(&labels)
            .width(800),
    );
    let small: Vec<Vec<f32>> =
        (0..4).map(|r| (0..8).map(|c| (((r * 8 + c) * 37 % 23) as f32 - 9.0) / 7.0).collect()).collect();
    w(
        "p2",
        imshow(&small)
            .title("Logit Difference From Each Head")
            .x_label("Head")
            .y_label("Layer")
            .color_label("logit diff"),
    );
    let big: Vec<Vec<f32>> =
        (0..12).map(|r| (0..12).map(|c| ((r * 5 + c * 3) % 13) as f32 / 6.0 - 0.9).collect()).collect();
    w("p3", imshow(&big).title("Layer 0").x_label("Head").y_label("Layer"));
    let huge: Vec<Vec<f32>> =
        (0..48).map(|r| (0..64).map(|c| ((r * 5 + c * 3) % 13) as f32 / 6.0 - 0.9).collect()).collect();
    w("p4", imshow(&huge).title("48 x 64 cells, with a title that is much too long for the width that the figure has, so it must shrink").x_label("Position").y_label("Layer").width(800));
    let three: Vec<Vec<f32>> =
        (0..3).map(|s| (0..200).map(|i| ((i * (s + 1)) as f32 / 20.0).sin() * 1e-3).collect()).collect();
    w(
        "p5",
        line(&three)
            .title("Three walks")
            .names(["clean", "corrupted", "patched with a long name of the series"])
            .x_label("Step")
            .y_label("Value"),
    );
    let hostile = [
        "</script><img src=x onerror=alert(1)>",
        "<b>bold</b>",
        " a\n\tb",
        "\0",
        "\u{2028}\u{200f}rtl",
        "$x$ and $y$",
        "%{x} &amp; \"q\" 'q'",
        "the",
        "the",
        "猫 ö",
    ];
    w(
        "p6",
        imshow(vec![(0..10).map(|i| i as f32 - 4.0).collect::<Vec<_>>(); 2])
            .x_ticks(hostile)
            .y_ticks(["EVCXR_END_CONTENT", "<u>b</u>"]),
    );
}
