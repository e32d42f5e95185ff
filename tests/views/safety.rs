//! Tokens from a data set are shown as text: they cannot run code, end a script, or leave their output.

use candle_lens::views::{Html, Page, Table, View, escape, imshow, json_in_script, line, visible};

const HOSTILE: [&str; 9] = [
    "</script><img src=x onerror=alert(1)>",
    "<!-- <script>",
    "\" onmouseover=\"alert(1)",
    "'q' & &lt;",
    "a\r\n\tb",
    "\0",
    "\u{2028}\u{200f}",
    "EVCXR_END_CONTENT",
    "\nEVCXR_END_CONTENT\n",
];

/// What a browser shows for escaped text, for the references that `escape` writes.
fn unescape(html: &str) -> String {
    let references = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#10;", "\n"),
        ("&#13;", "\r"),
        ("&amp;", "&"),
    ];
    references.iter().fold(html.to_owned(), |text, (reference, c)| text.replace(reference, c))
}

#[test]
fn escaping_keeps_the_text_and_no_markup() {
    for text in HOSTILE {
        let html = escape(text);
        assert!(!html.contains(['<', '>', '"', '\'', '\n', '\r', '\0']), "{html:?}");
        assert_eq!(unescape(&html), text.replace('\0', "\u{2400}"));
    }
}

#[test]
fn json_keeps_its_value_in_a_script() {
    let json = serde_json::to_string(&HOSTILE).expect("strings are JSON");
    let safe = json_in_script(&json);
    assert!(!safe.contains(['<', '>', '&', '\u{2028}', '\n', '\0']), "{safe:?}");
    assert_eq!(serde_json::from_str::<Vec<String>>(&safe).expect("still JSON"), HOSTILE);
}

#[test]
fn nothing_invisible_stays_in_a_label() {
    assert_eq!(visible(HOSTILE[4]), "a\\r\\n\\tb");
    assert_eq!(visible(HOSTILE[5]), "\\u{0}");
    assert_eq!(visible(HOSTILE[6]), "\\u{2028}\\u{200f}");
    assert_eq!(visible(" the 猫 é"), " the 猫 é");
}

/// Every view that takes labels, filled with hostile ones.
fn views() -> candle_lens::Result<Page> {
    let table = HOSTILE
        .iter()
        .fold(Table::new(["<th>", "n"]).title("<h1>").note("<hr>"), |table, token| table.row((*token, 1.0)));
    let nine: Vec<f32> = (0..9).map(|i| i as f32 - 4.0).collect();
    Page::new()
        .with(&table)?
        .with(&line(&nine).title("<b onload=x>\"").x_ticks(HOSTILE).x_label("<x>").y_label("<y>").names(["<n>"]))?
        .with(&imshow(vec![nine.clone(); 9]).x_ticks(HOSTILE).y_ticks(HOSTILE).color_label("</script>"))?
        .with(&Html::escaped(HOSTILE[0]))
}

#[test]
fn views_contain_no_markup_but_their_own() -> candle_lens::Result<()> {
    let html = views()?.render()?.html().to_owned();
    let allowed = ["div", "table", "thead", "tbody", "tr", "th", "td", "img", "script"];
    for tag in html.split('<').skip(1) {
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(allowed.contains(&name.as_str()), "<{}", &tag[..tag.len().min(60)]);
    }
    assert_eq!(html.matches("<script>").count(), 2, "one for each figure");
    assert_eq!(html.matches("</script>").count(), 2);
    assert_eq!(html.matches("<img ").count(), 2);
    Ok(())
}

/// Texts with what MathJax would typeset, shown in every way in which a cell can show one.
fn priced() -> candle_lens::Result<Vec<(&'static str, candle_lens::views::Rendered)>> {
    use candle_lens::prelude::*;
    let price = "It costs $5 and he paid $10";
    let words = [price, "$x$"];
    let axis = || Axis::new(price, words);
    let labelled = |axes: Vec<Axis>, count: usize| Labelled::new(price, axes, vec![1.0; count]);
    let square = vec![vec![1.0_f32, 0.0], vec![0.5, 0.5]];
    let mut plot = candle_lens::plotly::Plot::new();
    plot.add_trace(candle_lens::plotly::Bar::new(words.to_vec(), vec![1.0, 2.0]));
    let mut circuit = CircuitGraph::new(words);
    circuit.node(price, 0, 1, 1.0);
    let failed: candle_lens::Result<f32> = Err(candle_lens::Error::argument(price));
    Ok(vec![
        ("str", price.render()?),
        ("String", price.to_owned().render()?),
        ("Vec<String>", vec![price.to_owned()].render()?),
        ("Option<String>", Some(price.to_owned()).render()?),
        ("tuple", (price, 2.5_f32).render()?),
        ("Error", failed.render().expect_err("an error").render()?),
        ("Html::escaped", Html::escaped(price).render()?),
        ("Table", Table::new([price]).title(price).note(price).row((price,)).render()?),
        ("scalar", labelled(Vec::new(), 1)?.render()?),
        ("vector", labelled(vec![axis()], 2)?.render()?),
        ("matrix", labelled(vec![axis(), axis()], 4)?.render()?),
        ("cube", labelled(vec![axis(), axis(), axis()], 8)?.render()?),
        ("Axis", axis().render()?),
        ("list of circuits", vec![circuit.clone()].render()?),
        ("Figure", line([1.0, 2.0]).x_ticks(words).title(price).render()?),
        ("Facets", imshow_facets(ndarray::Array3::<f32>::ones((2, 2, 2))).title(price).x_ticks(words).render()?),
        ("Plot", plot.render()?),
        ("attention", attention_heads(words, square).title(price).render()?),
        ("tokens", colored_tokens(words, [1.0, 2.0]).title(price).render()?),
        ("lens", super::lens::priced(price)?),
        ("circuit", circuit_graph(&circuit).title(price).render()?),
        ("feature graph", super::feature_graph::shown()?.title(price).render()?),
        ("Page", Page::new().with(price)?.render()?),
    ])
}

#[test]
fn nothing_that_is_shown_is_typeset_as_mathematics() -> candle_lens::Result<()> {
    use candle_lens::views::Show;
    let path = std::env::temp_dir().join(format!("candle-lens-dollar-{}.html", std::process::id()));
    let opening = "<body>\n<div class=\"candle-lens tex2jax_ignore mathjax_ignore\">\n";
    for (kind, shown) in priced()? {
        assert!(shown.html().contains('$'), "{kind} holds no text: {}", shown.html());
        shown.save_html(&path)?;
        let page = std::fs::read_to_string(&path).expect("the page");
        let start = page.find(opening).expect("one element holds all") + opening.len();
        let inside = page[start..].strip_suffix("\n</div>\n</body>\n</html>\n").expect("to the end of the page");
        assert!(inside.contains('$') && !page[..start].contains('$'), "{kind}");
        assert!(!inside.contains("mathjax_process"), "{kind}");
        // The element is closed by its own end and by no other.
        assert_eq!(inside.matches("<div").count(), inside.matches("</div>").count(), "{kind}");
    }
    std::fs::remove_file(&path).expect("the page");
    // plotly.js typesets by itself where it finds MathJax on a page.
    for html in [
        line([1.0]).title("$x$").render()?.html(),
        priced()?.iter().find(|(kind, _)| *kind == "Plot").expect("it").1.html(),
    ] {
        assert!(html.contains("\"typesetMath\":false"), "{html}");
    }
    // What a user writes as markup is the user's.
    assert!(Html::new("<p>$x$</p>", "x").render()?.html().contains("mathjax_process"));
    Ok(())
}

#[test]
fn labels_cannot_break_a_line_of_the_output() -> candle_lens::Result<()> {
    let rendered = views()?.render()?;
    for text in [rendered.html(), rendered.text()] {
        assert!(!text.lines().any(|line| line == "EVCXR_END_CONTENT"));
        assert!(!text.contains('\0'));
    }
    Ok(())
}
