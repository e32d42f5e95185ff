"""Looks at a notebook as a reader does: in JupyterLab and as an exported page, in a real browser.

usage: check.py JUPYTER_PYTHON CHROMIUM ROOT NOTEBOOK HTML PICTURES

  JUPYTER_PYTHON  the interpreter that has JupyterLab; the environment says where Jupyter's files are
  CHROMIUM        the browser's program
  ROOT, NOTEBOOK  the folder that JupyterLab serves, and the notebook's path in it; it is opened, run and not saved
  HTML            its exported page
  PICTURES        a folder for screenshots

Prints one line for each check and ends with 1 if one fails. What is checked: an untrusted notebook shows its static
pictures; after Run All with our kernel every figure is drawn and answers to the mouse; opened again and trusted, the
committed notebook draws its figures before anything has run, with plotly.js from the file beside it; the exported page
shows them as well; nothing is fetched from another machine and no script fails.
"""
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

PATIENCE = 600  # seconds for the kernel's start and for all cells
FIRST = 240  # seconds for the first cell
ATTEMPTS = 3  # kernels that are started before silence is a failure
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# The figures on the page that are drawn, by their numbers.
LIVE = """() => [...document.querySelectorAll('[data-figure]')].filter(figure => {
    const plot = figure.querySelector('.js-plotly-plot .main-svg');
    return plot && plot.getBoundingClientRect().height > 50
        && figure.querySelector('path.js-line, g.heatmaplayer image');
}).map(figure => figure.dataset.figure)"""
# The static pictures that can be seen, by their descriptions: an untrusted page has lost the numbers.
STILL = """() => [...document.querySelectorAll('.jp-OutputArea img')].filter(
    picture => picture.naturalWidth > 0 && picture.getBoundingClientRect().height > 50
).map(picture => picture.alt)"""
failures = 0


def check(good, claim, detail=""):
    global failures
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'} {claim}{'' if good or not detail else f': {detail}'}", flush=True)


def listen(page):
    """Collects what a page must not do."""
    bad = []
    page.on("pageerror", lambda error: bad.append(f"error: {error}"))
    page.on("console", lambda message: message.type == "error" and bad.append(f"console: {message.text}"))
    page.on("request", lambda request: is_elsewhere(request.url) and bad.append(f"request: {request.url}"))
    return bad


def is_elsewhere(url):
    return urlsplit(url).hostname not in (None, "", "localhost", "127.0.0.1")


def survey(page, wanted):
    """Scrolls through the page from its top, because figures are drawn when they are seen, and gathers what is wanted.

    After Run All JupyterLab stands at the last cell.
    """
    found = set()
    page.mouse.move(700, 500)
    for _ in range(60):
        page.mouse.wheel(0, -1000)
    for _ in range(40):
        page.wait_for_timeout(600)
        found.update(page.evaluate(wanted))
        page.mouse.wheel(0, 400)
    return found


def hover(page):
    """Whether a figure that is drawn says something where the mouse is."""
    plot = page.locator(".js-plotly-plot .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    for part in (0.3, 0.5, 0.7):
        page.mouse.move(box["x"] + box["width"] * part, box["y"] + box["height"] * 0.5, steps=4)
        page.wait_for_timeout(500)
        if page.evaluate("() => [...document.querySelectorAll('.hoverlayer')].some(layer => layer.children.length)"):
            return True
    return False


def count(notebook):
    """How many figures the notebook file holds."""
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    html = "".join("".join(o.get("data", {}).get("text/html", "")) for o in outputs)
    return len(set(re.findall(r'data-figure="(cl-[0-9a-f]+)"', html)))


def begun(page):
    """Whether any cell has run."""
    return page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[\d+\]")).count() > 0


def run_all(page):
    """Runs all cells; whether they came to an end. Gives up early if not even the first one does."""
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells")
    start = time.monotonic()
    while time.monotonic() < start + (PATIENCE if begun(page) else FIRST):
        page.wait_for_timeout(1500)
        status = page.locator(".jp-Notebook-ExecutionIndicator").first.get_attribute("data-status")
        if status == "idle" and begun(page) and not page.locator(".jp-InputPrompt:has-text('*')").count():
            return True
    return False


def end_sessions(url):
    """Asks the server to end every session and its kernel."""
    for session in json.load(urllib.request.urlopen(f"{url}/api/sessions")):
        request = urllib.request.Request(f"{url}/api/sessions/{session['id']}", method="DELETE")
        urllib.request.urlopen(request).read()


def opened(browser, url, notebook):
    """A page of JupyterLab with the notebook, and the list of what it did that it must not do."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(120_000)
    bad = listen(page)
    page.goto(f"{url}/lab/tree/{notebook}?reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_timeout(4000)
    for button in page.query_selector_all(".jp-Dialog button.jp-mod-accept"):
        button.click()
    return page, bad


def run_in_a_kernel_that_answers(browser, url, notebook, page, bad):
    """Runs all cells, in a new page with a new kernel if the first kernel never answers; whether they came to an end.

    Seen once in about a hundred starts: evcxr_jupyter 0.22 sits idle and answers nothing, kernel_info included.
    """
    for attempt in range(ATTEMPTS):
        ran = run_all(page)
        if ran or begun(page) or attempt + 1 == ATTEMPTS:
            return page, bad, ran
        print("note   the kernel never answered; the notebook is opened anew with another", flush=True)
        # The old page still waits for the old kernel: it would never count as idle.
        page.close()
        end_sessions(url)
        page, bad = opened(browser, url, notebook)


def in_lab(browser, url, notebook, pictures, number):
    page, bad = opened(browser, url, notebook)
    still = survey(page, STILL)
    check(len(still) == number, f"untrusted, all {number} figures show a picture", f"only {still}")
    page.screenshot(path=str(pictures / "untrusted.png"))

    kernel = page.locator(".jp-KernelName").first.text_content()
    check("candle-lens" in kernel, "the kernel is ours", kernel)
    page, bad, ran = run_in_a_kernel_that_answers(browser, url, notebook, page, bad)
    check(ran, "all cells have run")
    failed = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")
    check(failed.count() == 0, "no cell failed", failed.first.text_content() if failed.count() else "")
    live = survey(page, LIVE)
    check(len(live) == number, f"after Run All, all {number} figures are drawn", f"only {live}")
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    check(hover(page), "a figure answers to the mouse")
    page.screenshot(path=str(pictures / "lab.png"))
    page.click("text=Settings >> nth=0")
    page.hover("text=Theme >> nth=0")
    page.click("text=JupyterLab Dark >> nth=0")
    page.wait_for_timeout(2000)
    page.screenshot(path=str(pictures / "lab-dark.png"))
    check(not bad, "JupyterLab: no script failed and nothing was fetched from elsewhere", "; ".join(bad[:5]))
    page.close()


def reopened(browser, url, notebook, pictures, number, trust):
    """The committed notebook holds no plotly.js: trusted, it draws with the file beside it before any cell has run."""
    subprocess.run(trust, check=True, stdout=subprocess.DEVNULL)
    page, bad = opened(browser, url, notebook)
    live = survey(page, LIVE)
    check(len(live) == number, f"trusted and opened again, all {number} figures are drawn", f"only {live}")
    page.screenshot(path=str(pictures / "reopened.png"))
    check(not bad, "opened again: no script failed and nothing was fetched from elsewhere", "; ".join(bad[:5]))
    page.close()


def exported(browser, html, pictures, number):
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    bad = listen(page)
    page.goto(html.as_uri())
    live = survey(page, LIVE)
    check(len(live) == number, f"the exported page draws all {number} figures", f"only {live}")
    check(hover(page), "a figure of the exported page answers to the mouse")
    page.screenshot(path=str(pictures / "exported.png"))
    check(not bad, "exported page: no script failed and nothing was fetched from elsewhere", "; ".join(bad[:5]))
    page.close()


def start_lab(python, root, log, signatures):
    """Starts JupyterLab on a free port and returns it with its address."""
    options = ["--no-browser", "--port=0", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={root}"]
    options += ["--LanguageServerManager.autodetect=False", "--MappingKernelManager.kernel_info_timeout=600"]
    options.append(signatures)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    lab = subprocess.Popen([python, "-m", "jupyterlab", *options], stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and lab.poll() is None:
        found = re.search(r"http://(?:localhost|127\.0\.0\.1):\d+", Path(log.name).read_text(errors="replace"))
        if found:
            return lab, found.group()
        time.sleep(0.5)
    lab.kill()
    sys.exit(f"JupyterLab did not start: {Path(log.name).read_text(errors='replace')[-2000:]}")


def main():
    python, chromium, root, notebook, html, pictures = sys.argv[1:]
    pictures = Path(pictures)
    pictures.mkdir(parents=True, exist_ok=True)
    number = count(json.loads((Path(root) / notebook).read_text(encoding="utf-8")))
    check(number >= 3, "the notebook holds three figures or more", number)
    # Whom this test trusts is its own affair, and forgotten by the next.
    (pictures / "signatures.db").unlink(missing_ok=True)
    signatures = f"--NotebookNotary.db_file={pictures / 'signatures.db'}"
    with open(pictures / "jupyterlab.log", "wb") as log, sync_playwright() as playwright:
        lab, url = start_lab(python, root, log, signatures)
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
            exported(browser, Path(html), pictures, number)
            in_lab(browser, url, notebook, pictures, number)
            trust = [python, "-m", "jupyter", "trust", signatures, str(Path(root) / notebook)]
            reopened(browser, url, notebook, pictures, number, trust)
            browser.close()
        finally:
            lab.terminate()
            lab.wait(30)
    return 1 if failures else 0


sys.exit(main())
