"""Counts what a real browser drew of labels that are properties of every object.

usage: names.py CHROMIUM HTML PICTURE LABELS

LABELS is the list of them in JSON. Prints one line for each check and ends with 1 if one fails.
"""
import json
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
failures = 0

# What a figure shows: marks with a size, ticks, names, and the colours of its cells along a column and a row.
LOOK = """async (place) => {
    const plot = place.querySelector('.js-plotly-plot');
    const bare = (text) => text.replace(/[\\u200b\\u2060]/g, '').replace(/\\u00a0/g, ' ');
    const texts = (query) => [...plot.querySelectorAll(query)].map((text) => bare(text.textContent));
    const places = (query) => [...plot.querySelectorAll(query)].map((mark) => mark.getBoundingClientRect())
        .filter((box) => box.width > 0 && box.height > 0).map((box) => Math.round(box.left * 4));
    const cells = { down: 0, across: 0 };
    const image = plot.querySelector('.heatmaplayer image');
    if (image) {
        const picture = new Image();
        picture.src = image.getAttribute('href') || image.getAttribute('xlink:href');
        await picture.decode();
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [picture.width, picture.height];
        const context = canvas.getContext('2d');
        context.drawImage(picture, 0, 0);
        const [rows, columns] = [plot.calcdata[0][0].z.length, plot.calcdata[0][0].z[0].length];
        const color = (row, column) => context.getImageData((column + 0.5) / columns * canvas.width,
            (row + 0.5) / rows * canvas.height, 1, 1).data.join();
        const distinct = (colors) => new Set(colors.filter((each) => !each.endsWith(',0'))).size;
        cells.down = distinct(Array.from({ length: rows }, (_, row) => color(row, 1)));
        cells.across = distinct(Array.from({ length: columns }, (_, column) => color(1, column)));
    }
    return {
        title: bare(plot.querySelector('.gtitle')?.textContent || ''),
        bars: places('.barlayer .point path'), points: places('.scatterlayer .points path'),
        x: texts('.xaxislayer-above .xtick text'), y: texts('.yaxislayer-above .ytick text'),
        legend: texts('.legendtext'), labels: texts('.textpoint text'), steps: texts('.slider-label'),
        columns: plot.calcdata[0][0].z ? plot.calcdata[0][0].z[0].length : 0, cells,
        traces: plot.querySelectorAll('.barlayer .trace, .scatterlayer .trace').length,
    };
}"""


def check(good, claim, detail=""):
    global failures
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'} {claim}{'' if good or detail == '' else f': {detail}'}", flush=True)


def figures(page, names):
    count = len(names)
    handles = page.query_selector_all("[data-figure]")
    check(len(handles) == 11 + count, "every figure is there", len(handles))
    seen = [handle.evaluate(LOOK) for handle in handles]
    by_title = {figure["title"]: figure for figure in seen[:9] + seen[-2:]}
    for title in ("bar", "line", "rows", "columns", "animation", "loss"):
        check(by_title[title]["x"] == names, f"{title}: every label stands below", by_title[title]["x"])
    tokens = [f"{name.replace('␣', ' ')}_{i}" for i, name in enumerate(names)]
    check(by_title["patching"]["x"] == tokens, "patching: every token stands below",
          by_title["patching"]["x"])
    check(len(set(by_title["bar"]["bars"])) == count, "bar: each label has a bar of its own", len(set(by_title["bar"]["bars"])))
    for title in ("line", "loss"):
        check(len(set(by_title[title]["points"])) == count, f"{title}: each label has a point of its own", by_title[title]["points"])
    for title in ("bar, names", "line, names", "hist, names"):
        figure = by_title[title]
        check(len(figure["legend"]) == count and figure["traces"] == count, f"{title}: each series is drawn and named",
              (figure["legend"], figure["traces"]))
    scatter = by_title["scatter"]
    check(len(set(scatter["points"])) == count, "scatter: each label has a point", len(scatter["points"]))
    shown = [name for name in names if name]
    check(sorted(text for text in scatter["labels"] if text) == sorted(shown), "scatter: and stands beside it", scatter["labels"])
    # From the bottom to the top, where the first row is.
    check(by_title["rows"]["y"][::-1] == names, "rows: every label stands at the side", by_title["rows"]["y"])
    check(by_title["rows"]["cells"]["down"] == count, "rows: each has cells of its own colour", by_title["rows"]["cells"])
    check(by_title["columns"]["cells"]["across"] == count, "columns: each has cells of its own colour", by_title["columns"]["cells"])
    check(by_title["animation"]["steps"] and by_title["animation"]["columns"] == count, "animation: frames and columns are there")
    facets = seen[9:9 + count]
    check([facet["title"] for facet in facets] == [name.strip() for name in names], "facets: each has its name", [facet["title"] for facet in facets])
    check(all(facet["columns"] == count for facet in facets), "facets: each has all columns")


def hover(page, names):
    """What stands under the pointer is the label."""
    place = page.query_selector_all("[data-figure]")[6]
    box = place.query_selector(".nsewdrag").bounding_box()
    for row in (0, 3, len(names) - 1):
        page.mouse.move(box["x"] + box["width"] * 0.5 / len(names), box["y"] + box["height"] * (row + 0.5) / len(names))
        page.wait_for_timeout(250)
        text = place.query_selector(".hoverlayer").text_content().replace("\u200b", "").replace("\u2060", "")
        check(names[row] in text and names[0] in text, f"pointing at a cell says {names[row]!r}", text)


def widgets(page, names):
    count = len(names)
    found = lambda title, query: page.locator("[data-widget]").filter(has=page.locator(f".title:text-is('{title}')")).first.locator(query)
    still = page.evaluate("() => [...document.querySelectorAll('[data-widget]')].filter(w => !w.shadowRoot).length")
    check(still == 0, "every widget is alive", still)
    shown = [name or "∅" for name in names]
    for title in ("attention_patterns", "attention_explorer", "colored_tokens", "colored_tokens_multi"):
        words = found(title, ".word").all_text_contents()
        check(words == shown, f"{title}: every token is there", words)
    for title in ("attention_heads", "attention_patterns", "attention_explorer"):
        heads = found(title, ".head").all_text_contents()
        check(heads == names, f"{title}: every head is there", heads)
    explorer = lambda query: found("attention_explorer", query)
    explorer("select").nth(1).select_option(label="constructor")
    check(explorer(".head").first.text_content().endswith(f" {count}"), "attention_explorer: a score of that name sorts",
          explorer(".head").first.text_content())
    found("colored_tokens_multi", ".word").nth(1).hover()
    check(found("colored_tokens_multi", ".tip tr").count() == count, "colored_tokens_multi: every number has a name")
    for title in ("text_neuron_activations", "topk_tokens", "topk_samples"):
        options = found(title, "select").first.locator("option").all_text_contents()
        check(options == names, f"{title}: every neuron can be chosen", options)
    check(found("topk_tokens", ".wide tbody tr").count() == count, "topk_tokens: every token is in the list")
    check(found("token_log_probs", ".word").count() > 5, "token_log_probs: the tokens are there")
    check(found("circuit_graph", "g[role=button]").count() == count, "circuit_graph: every node is there")
    check(found("circuit_graph", "path[visibility=visible]").count() == count - 1, "circuit_graph: every edge is there")


def main():
    chromium, html, picture, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
        bad = []
        page.on("pageerror", lambda error: bad.append(f"error: {error}"))
        page.on("console", lambda message: message.type == "error" and bad.append(f"console: {message.text}"))
        page.goto(html.as_uri())
        page.wait_for_timeout(4000)
        figures(page, names)
        page.query_selector_all("[data-figure]")[6].scroll_into_view_if_needed()
        hover(page, names)
        widgets(page, names)
        page.screenshot(path=picture, full_page=True)
        check(not bad, "no script failed", "; ".join(bad[:5]))
        browser.close()
    return 1 if failures else 0


sys.exit(main())
