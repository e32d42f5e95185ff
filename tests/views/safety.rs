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

#[test]
fn labels_cannot_break_a_line_of_the_output() -> candle_lens::Result<()> {
    let rendered = views()?.render()?;
    for text in [rendered.html(), rendered.text()] {
        assert!(!text.lines().any(|line| line == "EVCXR_END_CONTENT"));
        assert!(!text.contains('\0'));
    }
    Ok(())
}
