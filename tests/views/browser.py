"""Looks at a page with every view in a real browser and drives it.

usage: browser.py CHROMIUM HTML PICTURES

Prints one line for each check and ends with 1 if one fails. At 700 and 1200 pixels, light and dark, and at 200 % zoom:
every view is drawn, nothing is wider than the page, no script fails, nothing is fetched. Mouse, keys and sliders do what
they should, what was chosen is kept when an output is taken away and comes back, and without scripts pictures stand there.
Without plotly.js in it, the page draws with the file that is beside it, and keeps its pictures where there is none.
"""
import re
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
failures = 0


def check(good, claim, detail=""):
    global failures
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'} {claim}{'' if good or detail == '' else f': {detail}'}", flush=True)


def opened(browser, html, width, theme, scripts=True, zoom=1):
    """A page, and what it must not do."""
    context = browser.new_context(
        viewport={"width": width // zoom, "height": 900}, color_scheme=theme, device_scale_factor=zoom,
        java_script_enabled=scripts)
    page = context.new_page()
    bad = []
    page.on("pageerror", lambda error: bad.append(f"error: {error}"))
    page.on("console", lambda message: message.type == "error" and bad.append(f"console: {message.text}"))
    page.on("dialog", lambda dialog: (bad.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: request.url.split(":")[0] not in ("file", "data", "blob") and bad.append(request.url))
    page.goto(html.as_uri())
    page.wait_for_timeout(2500 if scripts else 300)
    return page, bad


def fonts(page):
    """How wide some words are: another number on another machine means other fonts, and so another picture."""
    return page.evaluate("""() => {
        const context = document.createElement("canvas").getContext("2d");
        return ["13px system-ui", "12px sans-serif"].map((font) => {
            context.font = font;
            return context.measureText("The keys on the cabinet are 0123456789").width.toFixed(2);
        }).join(" ");
    }""")


def appearance(browser, html, pictures):
    for width, theme, zoom in ((700, "light", 1), (700, "dark", 1), (1200, "light", 1), (1200, "dark", 1), (1200, "light", 2)):
        name = f"{width} px, {theme}, {100 * zoom} %"
        page, bad = opened(browser, html, width, theme, zoom=zoom)
        still = page.evaluate("() => [...document.querySelectorAll('[data-widget]')].filter(w => !w.shadowRoot).length")
        check(still == 0, f"{name}: every widget is alive", still)
        figures = page.evaluate("() => [...document.querySelectorAll('[data-figure]')].filter(f => !f.querySelector('.main-svg')).length")
        check(figures == 0, f"{name}: every figure is drawn", figures)
        # A wide map or graph scrolls within its own box; the page does not.
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        check(wide <= 0, f"{name}: nothing is wider than the page", wide)
        clipped = page.evaluate("""() => [...document.querySelectorAll('[data-widget]')].flatMap(w =>
            [...w.shadowRoot.querySelectorAll('.title, .control, button, .says')]).filter(e =>
            e.offsetParent && e.scrollWidth > e.clientWidth + 2 && getComputedStyle(e).display !== 'inline').map(e => e.textContent.slice(0, 40))""")
        check(not clipped, f"{name}: no words are cut", clipped[:5])
        unnamed = page.evaluate("""() => [...document.querySelectorAll('[data-widget]')].flatMap(w =>
            [...w.shadowRoot.querySelectorAll('button, select, input, canvas[tabindex], [role=button]')]).filter(e =>
            !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).length""")
        check(unnamed == 0, f"{name}: everything that can be reached has a name", unnamed)
        page.mouse.move(0, 0)
        page.screenshot(path=str(pictures / f"{width}-{theme}-{zoom}.png"), full_page=True)
        if zoom == 1 and width == 700 and theme == "light":
            print("fonts", fonts(page), flush=True)
        check(not bad, f"{name}: no script failed and nothing was fetched", "; ".join(bad[:5]))
        page.context.close()


def widget(page, title):
    return page.locator("[data-widget]").filter(has=page.locator(f".title:text-is('{title}')")).first


def attention(page):
    heads = page.locator("[data-widget]").first
    button = heads.locator(".head").nth(3)
    button.hover()
    check(heads.locator(".map .title").text_content() == "L2H3", "pointing at a head previews it")
    page.mouse.move(0, 0)
    check(heads.locator(".map .title").text_content() == "L2H0", "and leaving it ends that")
    button.click()
    page.mouse.move(0, 0)
    check(heads.locator(".map .title").text_content() == "L2H3" and button.get_attribute("aria-pressed") == "true", "a click keeps a head")
    button.press("ArrowRight")
    page.keyboard.press("Enter")
    check(heads.locator(".map .title").text_content() == "L2H4", "arrow keys walk through heads, and Enter keeps one")
    canvas = heads.locator(".map canvas")
    canvas.focus()
    canvas.press("ArrowDown")
    canvas.press("ArrowRight")
    says = heads.locator(".map .says").text_content()
    check(says.startswith("(14, 1)") and "Src:" in says and "Val:" in says, "arrow keys walk through cells", says)
    canvas.press("Escape")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] - 30, "y": 10})
    check("N/A" in heads.locator(".map .says").text_content(), "what is masked says N/A")


def explorer(page):
    all_heads = widget(page, "All heads, clean and corrupted")
    seen = lambda: all_heads.locator(".head:visible").count()
    check(seen() == 32, "the explorer has all heads", seen())
    places = all_heads.locator(".head").evaluate_all("heads => heads.map(h => h.getBoundingClientRect()).map(b => [b.left, b.top])")
    rows = [places[i:i + 8] for i in range(0, 32, 8)]
    check(all(len({top for _, top in row}) == 1 for row in rows) and len({row[0][1] for row in rows}) == 4,
          "and a row for each layer", rows)
    check(all([left for left, _ in row] == [left for left, _ in rows[0]] for row in rows), "in which a head has its column")
    check(all_heads.locator(".layer:visible").all_text_contents() == ["L0", "L1", "L2", "L3"], "with its name in front",
          all_heads.locator(".layer").all_text_contents())
    box = all_heads.locator(".heads")
    check(box.evaluate("e => e.scrollWidth <= e.clientWidth"), "and none of them is out of sight")
    all_heads.locator(".head").nth(9).focus()
    page.keyboard.press("ArrowDown")
    check(page.evaluate("() => document.activeElement.shadowRoot.activeElement.title") == "L2H1", "arrow down is the next layer")
    all_heads.locator("input[type=search]").fill("l3")
    check(seen() == 8, "searching leaves the heads of a layer", seen())
    all_heads.locator("input[type=search]").fill("")
    all_heads.locator("select").nth(2).select_option(label="previous token")
    first = all_heads.locator(".head").first.text_content()
    scores = [float(text.split()[-1]) for text in all_heads.locator(".head").all_text_contents()]
    check(scores == sorted(scores, reverse=True), f"sorting by a score puts {first} first", scores[:4])
    all_heads.locator("select").first.select_option(label="difference")
    words = all_heads.locator(".word")
    check(" John→ Mary" in words.nth(10).text_content(), "the difference names both tokens", words.nth(10).text_content())
    words.nth(10).hover()
    check("focus" in words.nth(10).get_attribute("class"), "a token under the mouse is in focus")
    words.nth(10).click()
    page.mouse.move(0, 0)
    check(words.nth(10).get_attribute("aria-pressed") == "true", "a click keeps a token")
    # A notebook takes outputs away that are scrolled out of sight, and runs their scripts again.
    page.evaluate("""(place) => {
        const code = [...document.scripts].find((script) => script.textContent.includes(`"${place.dataset.widget}"`));
        const again = document.createElement("div");
        again.dataset.widget = place.dataset.widget;
        place.replaceWith(again);
        const script = document.createElement("script");
        script.textContent = code.textContent;
        document.body.append(script);
    }""", all_heads.element_handle())
    page.wait_for_timeout(800)
    again = widget(page, "All heads, clean and corrupted")
    check(again.locator("select").first.input_value() == "2" and again.locator(".word").nth(10).get_attribute("aria-pressed") == "true",
          "what was chosen is kept when the output comes back")


def text(page):
    several = widget(page, "colored_tokens_multi")
    several.locator("button", has_text="fast").click()
    several.locator(".word").nth(2).hover()
    tip = several.locator(".tip").text_content()
    check(all(name in tip for name in ("slow", "middle", "fast")), "a note says all numbers of a token", tip)
    ground = lambda: several.locator(".word").nth(2).evaluate("e => e.style.backgroundColor")
    before = ground()
    several.locator("input").nth(0).fill("100")
    several.locator("input").nth(0).press("Enter")
    check(ground() != before, "a bound changes the colours")
    several.locator("button", has_text="Reset").click()
    check(ground() == before, "and Reset brings them back")
    odds = widget(page, "Probability of each token")
    odds.locator(".word").nth(5).click()
    page.mouse.move(0, 0)
    check("rank" in odds.locator(".says").text_content() and odds.locator(".says tr").count() == 5, "a click keeps the likeliest tokens")
    neurons = widget(page, "text_neuron_activations")
    neurons.locator("select").nth(1).select_option(index=7)
    check(neurons.locator(".sample").count() == 4, "samples stand below each other")
    tops = widget(page, "topk_tokens")
    tops.locator("button[aria-label='next samples']").click()
    check("sample 1 of 4" in tops.locator(".controls").text_content(), "pages turn")
    check(tops.locator(".wide tbody tr").count() == 5, "so many tops as were asked for")
    samples = widget(page, "topk_samples")
    check(samples.locator(".sample").count() == 3, "so many samples as were asked for")


def lens(page):
    grid = widget(page, "lens_grid")
    cells = grid.locator(".grid td")
    check(cells.count() == 5 * 15, "a cell for each point and position", cells.count())
    check(grid.locator(".grid tr").first.locator("th").text_content() == "final_post", "the last point is on top")
    cells.nth(14).hover()
    tip = grid.locator(".tip").text_content()
    check("final_post" in tip and "Mary" in tip and "entropy" in tip and "rank of the target" in tip, "a note says what is read", tip)
    page.mouse.move(0, 0)
    cells.nth(0).focus()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    check(cells.nth(16).evaluate("e => e === e.getRootNode().activeElement"), "arrow keys move from cell to cell")
    check("3_pre" in grid.locator(".tip").text_content(), "and say what is there")
    ground = lambda: cells.nth(0).evaluate("e => e.style.backgroundColor")
    before = ground()
    grid.locator("select").last.select_option(label="entropy")
    check(ground() != before, "another number colours the cells")


def circuit(page):
    graph = widget(page, "circuit_graph")
    lines = lambda: graph.locator("path[visibility=visible]").count()
    everything = lines()
    slider = graph.locator("input[type=range]")
    slider.focus()
    for _ in range(50):
        slider.press("ArrowRight")
    check(0 < lines() < everything, f"the slider hides weak edges: {lines()} of {everything}")
    node = graph.locator("g[role=button]").nth(7)
    node.click()
    page.mouse.move(0, 0)
    check(node.get_attribute("aria-pressed") == "true" and "L3H6" in graph.locator(".says").text_content(), "a click pins a node")
    node.press("Escape")
    check(node.get_attribute("aria-pressed") == "false", "Escape lets it go")


def graph_at(browser, html):
    """The last position, where the answer is, can be seen at any width without scrolling."""
    for width in (700, 900, 1100, 1200):
        page, bad = opened(browser, html, width, "light")
        right, room, words = widget(page, "circuit_graph").locator(".wide").evaluate("""(frame) => {
            const box = frame.getBoundingClientRect();
            const last = [...frame.querySelectorAll('rect, text')].map((each) => each.getBoundingClientRect().right);
            const size = frame.querySelector('svg').getBoundingClientRect().width / frame.querySelector('svg').viewBox.baseVal.width;
            return [Math.max(...last), box.right, 12 * size];
        }""")
        check(right <= room + 1, f"{width} px: the last position of a circuit can be seen", (right, room))
        check(words >= 8, f"{width} px: and its words can be read", words)
        page.context.close()


def feature_graph(page):
    graph = widget(page, "feature_graph")
    lines = lambda: graph.locator("path.edge").count()
    nodes = lambda: graph.locator("g[role=button]").count()
    everything = (lines(), nodes())
    slider = graph.locator("input[type=range]")
    slider.focus()
    for _ in range(12):
        slider.press("PageDown")
    fewer = (lines(), nodes())
    check(0 < fewer[0] < everything[0] and 0 < fewer[1] < everything[1], f"the slider hides weak nodes: {fewer} of {everything}")
    check("features and errors" in slider.get_attribute("aria-valuetext"), "and says how many are left")
    slider.press("End")
    check((lines(), nodes()) == everything, "and brings them back")
    check(graph.locator("path.edge[stroke-dasharray]").count() > 3, "negative edges are dashed")
    feature = graph.locator("g[role=button]").filter(has=page.locator("circle")).first
    feature.hover()
    tip = graph.locator(".tip").text_content()
    check(all(word in tip for word in ("influence", "activation", "raises", " John", "lowers")), "pointing at a feature shows its numbers and dashboard", tip)
    dim = lambda: graph.locator("g[role=button][opacity='0.25']").count()
    check(dim() > 0, "and dims what it is not connected to", dim())
    page.mouse.move(0, 0)
    check(dim() == 0, "and leaving it ends that")
    feature.click()
    page.mouse.move(0, 0)
    note = graph.locator(".panes").text_content()
    check(feature.get_attribute("aria-pressed") == "true" and "in: " in note and "out: " in note, "a click pins it, and its edges are listed", note)
    first = graph.locator(".panes button").first
    name = first.text_content()
    first.click()
    check(graph.locator(".panes .title").text_content() == name, "a listed node goes there", name)
    graph.locator("g[aria-pressed=true]").press("Escape")
    check(graph.locator(".panes").count() == 0, "Escape lets it go")
    active = lambda: page.evaluate("() => document.activeElement.shadowRoot.activeElement.getAttribute('aria-label')")
    feature.focus()
    seen = [active()]
    for key in ("ArrowDown", "ArrowLeft", "ArrowUp", "ArrowRight", "Home", "End"):
        page.keyboard.press(key)
        seen.append(active())
    check(all(a != b for a, b in zip(seen, seen[1:])), "arrow keys walk through the graph", seen)
    check(graph.locator("g[role=button][tabindex='0']").count() == 1, "and one node at a time is reached by Tab")
    page.keyboard.press("Enter")
    check(graph.locator("g[aria-pressed=true]").count() == 1, "Enter pins a node")
    page.keyboard.press("Escape")
    page.mouse.move(0, 0)
    on_others = graph.locator("g[role=button]").evaluate_all("""(groups) => {
        const boxes = groups.map((group) => group.lastElementChild.getBoundingClientRect());
        return boxes.filter((a, i) => boxes.some((b, j) => j < i && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length;
    }""")
    check(on_others == 0, "no mark or word lies on another", on_others)


def features(page):
    table = widget(page, "8 active features, ranked by gradient x activation, logit difference; BOS left out").locator(".root")
    rows, words, says = table.locator("tbody tr"), table.locator(".word"), table.locator(".says")
    check(rows.count() == 8 and words.count() == 17, "features that are active have rows and tokens", [rows.count(), words.count()])
    coloured = lambda: [i for i in range(words.count()) if not re.search(r", 0\)|^$", words.nth(i).evaluate("e => e.style.backgroundColor"))]
    rows.nth(1).hover()
    check(coloured() == [2, 4, 10] and "z2 417" in says.text_content(), "pointing at a feature colours its tokens", coloured())
    check(table.locator("tr[data-marked]").count() == 3, "and marks its rows")
    page.mouse.move(0, 0)
    check("sums" in says.text_content(), "and leaving it ends that", says.text_content())
    words.nth(12).click()
    check(rows.count() == 2, "a click at a token lists its features", rows.count())
    table.locator("button", has_text="all tokens").click()
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.mouse.move(0, 0)
    check("mlp1 9" in says.text_content() and coloured() == [3, 12], "arrow keys walk through features, and Enter keeps one", coloured())
    folded = page.locator("details").first
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    check(folded.get_attribute("open") is not None, "a key opens more texts of a dashboard")


def animation(page):
    place = page.locator("[data-figure]").filter(has=page.locator("text=imshow_animation")).first
    shown = lambda: place.locator("g.heatmaplayer image").get_attribute("href") or place.locator("g.heatmaplayer image").get_attribute("xlink:href")
    before = shown()
    place.locator("rect.slider-rail-touch-rect").click(position={"x": 300, "y": 5})
    page.wait_for_timeout(600)
    check(shown() != before, "the slider of an animation shows another frame")


def without_scripts(browser, html, pictures):
    page, bad = opened(browser, html, 1200, "light", scripts=False)
    images = page.locator("img")
    widgets = page.locator("[data-widget]")
    bare = [i for i in range(widgets.count()) if widgets.nth(i).locator("img, span, table").count() == 0]
    check(not bare, "without scripts every widget shows a picture, a text or a table", bare)
    broken = [i for i in range(images.count()) if images.nth(i).bounding_box()["height"] < 20]
    check(images.count() > 40 and not broken, "and every picture can be seen", broken)
    page.screenshot(path=str(pictures / "without-scripts.png"), full_page=True)
    page.context.close()


def left_out(browser, html, pictures):
    """The page as `cargo lab run --in-place` leaves a notebook's outputs: plotly.js is a file beside it."""
    whole = html.read_text(encoding="utf-8")
    scripts = re.findall(r'<script data-carried(?:="([^"]+)")?>(.*?)</script>\n', whole, re.S)
    (name, code), = [script for script in scripts if script[0]]
    page = re.sub(r"<script data-carried.*?</script>\n", "", whole, flags=re.S)
    page = page.replace(f'<a data-plotly="{name}">', f'<a data-plotly="{name}" href="assets/{name}">')
    check(len(page) < len(whole) - 1_300_000 and "plotly.js (cartesian" not in page, "the page is without plotly.js", len(page))
    for folder, there in (("left-out", True), ("left-out-alone", False)):
        file = pictures / folder / "page.html"
        file.parent.mkdir(exist_ok=True)
        file.write_text(page, encoding="utf-8")
        if there:
            (file.parent / "assets").mkdir(exist_ok=True)
            (file.parent / "assets" / name).write_text(code, encoding="utf-8", newline="")
        for theme in ("light", "dark"):
            page_there, bad = opened(browser, file, 1200, theme)
            page_there.wait_for_timeout(1000 if there else 9000)
            count = "() => [document.querySelectorAll('[data-figure]').length, document.querySelectorAll('[data-figure] .js-plotly-plot').length]"
            figures, live = page_there.evaluate(count)
            if there:
                check(live == figures > 15, f"{theme}: every figure is drawn with the file beside the page", (figures, live))
                check(page_there.evaluate("() => window.Plotly === undefined"), f"{theme}: the page's own names are as before")
                check(not bad, f"{theme}: no script failed", "; ".join(bad[:5]))
                page_there.screenshot(path=str(pictures / f"left-out-{theme}.png"), full_page=True)
            else:
                still = page_there.evaluate("() => [...document.querySelectorAll('[data-figure] img')].filter(i => i.naturalWidth > 50).length")
                check(live == 0 and still >= figures - 1, f"{theme}: without the file every picture stays", (figures, still))
                said = page_there.locator("[data-figure] small").first.text_content()
                check(name in said, f"{theme}: and a line says what is missing", said)
            page_there.context.close()


def main():
    chromium, html, pictures = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        appearance(browser, html, pictures)
        without_scripts(browser, html, pictures)
        left_out(browser, html, pictures)
        graph_at(browser, html)
        page, bad = opened(browser, html, 1200, "light")
        for drive in (attention, explorer, text, lens, circuit, feature_graph, features, animation):
            drive(page)
        check(not bad, "nothing failed on the way", "; ".join(bad[:5]))
        browser.close()
    return 1 if failures else 0


sys.exit(main())
