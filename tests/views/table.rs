//! Tables: alignment, digits, clipping, and errors.

use candle_lens::views::{Table, View};

fn config() -> Table {
    Table::new(["field", "value"])
        .row(("n_layers", 4_usize))
        .row(("act_fn", "gelu_new"))
        .row(("eps", 1e-5))
        .row(("attn_only", false))
        .title("HookedTransformerConfig")
}

#[test]
fn words_and_numbers_line_up() -> candle_lens::Result<()> {
    assert_eq!(
        config().render()?.text(),
        "HookedTransformerConfig\n\
         field      value\n\
         ─────────  ────────\n\
         n_layers   4\n\
         act_fn     gelu_new\n\
         eps        1.000e-5\n\
         attn_only  false"
    );
    let numbers = Table::new(["name", "value"]).row(("a", 0.5)).row(("b", -12.25));
    assert_eq!(numbers.render()?.text(), "name   value\n────  ──────\na       0.50\nb     -12.25");
    Ok(())
}

#[test]
fn no_number_is_rounded_away_beside_a_large_one() -> candle_lens::Result<()> {
    let facts = Table::new(["of the estimate", ""])
        .row(("Pearson's correlation", 0.987))
        .row(("mean miss", 0.004_321))
        .row(("sites", 2048_usize));
    let rendered = facts.render()?;
    let lines: Vec<&str> = rendered.text().lines().skip(2).collect();
    assert_eq!(
        lines,
        ["Pearson's correlation     0.987", "mean miss              0.004321", "sites                      2048"]
    );
    assert_eq!(rendered.html().matches("text-align:right").count(), 4, "a column of numbers stays at the right");
    Ok(())
}

#[test]
fn a_token_of_spaces_can_be_seen() -> candle_lens::Result<()> {
    let rendered =
        Table::new(["token", "rank"]).row((" ", 1)).row(("  ", 2)).row((" a", 3)).row(("\u{a0}", 4)).render()?;
    let lines: Vec<&str> = rendered.text().lines().skip(2).collect();
    assert_eq!(lines, ["␣          1", "␣␣         2", " a         3", "\\u{a0}     4"]);
    assert!(rendered.html().contains(">␣</td>") && rendered.html().contains(">␣␣</td>"));
    Ok(())
}

#[test]
fn the_markup_is_a_plain_table_with_inline_styles() -> candle_lens::Result<()> {
    let html = Table::new(["a", "b"]).row(("<i>", 1.5)).render()?.html().to_owned();
    let cell = |tag: &str, align: &str, style: &str, text: &str| {
        format!("<{tag} style=\"padding:2px 12px 2px 0;text-align:{align};white-space:pre;{style}\">{text}</{tag}>")
    };
    let rule = "border-bottom:1px solid rgba(128,128,128,.6)";
    assert_eq!(
        html,
        format!(
            "<div style=\"overflow-x:auto\">\
             <table style=\"border-collapse:collapse;margin:0;font-variant-numeric:tabular-nums\">\
             <thead><tr>{}{}</tr></thead><tbody><tr>{}{}</tr></tbody></table></div>",
            cell("th", "left", rule, "a"),
            cell("th", "right", rule, "b"),
            cell("td", "left", "", "&lt;i&gt;"),
            cell("td", "right", "", "1.500"),
        )
    );
    Ok(())
}

#[test]
fn what_is_left_out_is_said() -> candle_lens::Result<()> {
    let table = (0..100).fold(Table::new(["i"]), |table, i| table.row([i])).note("counted");
    let rendered = table.clone().max_rows(2).render()?;
    assert_eq!(rendered.text(), "i\n─\n0\n1\n… 98 more rows (100 in all)\ncounted");
    assert!(rendered.html().contains("… 98 more rows (100 in all)"));
    assert_eq!(table.render()?.text().lines().count(), 2 + 40 + 2);
    Ok(())
}

#[test]
fn what_does_not_fit_is_reported_in_a_sentence() {
    let cases = [
        (Table::new(["a", "b"]).row(["x"]), "row 0 of the table has 1 cells but there are 2 columns (a, b)"),
        (Table::new([""; 0]), "a table of 0 columns"),
        (config().max_rows(0), "at most 0 rows shows nothing"),
    ];
    for (table, part) in cases {
        let sentence = table.show().expect_err("this cannot be shown").to_string();
        assert!(sentence.contains(part), "{sentence}");
    }
}

#[test]
fn a_line_that_is_too_long_is_cut_and_the_markup_is_whole() -> candle_lens::Result<()> {
    let long = "x".repeat(3000);
    let rendered = Table::new(["text", "n"]).row((long.as_str(), 1.5)).render()?;
    assert!(rendered.html().contains(&long));
    let last = rendered.text().lines().last().unwrap_or_default();
    assert!(last.ends_with("…  1.500") && last.chars().count() < 3000, "{last}");
    let many = (0..400).map(|i| i.to_string());
    let wide = Table::new(many.clone()).row(many.map(|_| 0.5).collect::<Vec<_>>()).render()?;
    assert!(wide.text().contains("more columns (400 in all)"), "{}", wide.text());
    Ok(())
}

/// evcxr formats a last line that uses up a variable of its cell (`table.title(..)`), and our kernel draws what is formatted.
#[test]
fn a_formatted_table_is_its_picture_and_not_its_fields() {
    let table = Table::new(["head", "score"]).row(("L3H6", 1.5)).title("Scores");
    let formatted = format!("{table:?}");
    assert!(formatted.starts_with("Table (Scores"), "{formatted}");
    assert!(!formatted.contains("max_rows"), "{formatted}");
}
