"""Measures the kernel: its start, its cells, what it keeps, how fast it computes and how soon it completes.

usage: measure.py KERNEL ROOT MATRIX_PRODUCT

  KERNEL          the kernelspec's name
  ROOT            the repository
  MATRIX_PRODUCT  GFLOP/s of the release build of examples/matrix_product.rs

Prints a table in Markdown. "Beyond its own computation" is what a cell takes less the median of its own code's time,
which the cell measures itself.
"""
import atexit
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from jupyter_client import KernelManager

STARTS = 3
TRIVIAL = 200


class Kernel:
    def __init__(self, name, folder):
        self.begun = time.monotonic()
        self.manager = KernelManager(kernel_name=name)
        atexit.register(self.end)
        self.manager.start_kernel(cwd=str(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=600)

    def run(self, code):
        """Seconds until the kernel has answered, and what the cell printed or returned."""
        said = []

        def hear(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
            elif message["msg_type"] == "execute_result":
                said.append(content["data"].get("text/plain", ""))
            elif message["msg_type"] == "error":
                sys.exit(f"a cell failed: {content['evalue']}\n{code}")

        start = time.monotonic()
        self.client.execute_interactive(code, timeout=600, output_hook=hear, allow_stdin=False)
        return time.monotonic() - start, "".join(said)

    def ask(self, request):
        """Seconds until a completion or an inspection is answered, and the answer."""
        start = time.monotonic()
        identity = request(self.client)
        while True:
            message = self.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == identity:
                return time.monotonic() - start, message["content"]

    def end(self):
        if self.manager.has_kernel:
            self.client.stop_channels()
            self.manager.shutdown_kernel(now=True)


def cells_of(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def timed(code):
    """The cell between two readings of the clock, so that it says how long its own code took. The second one stands before
    the cell's value, if it has one: after the last statement that ends where a new line of its own level begins."""
    lines = code.rstrip().splitlines()
    head = [line for line in lines if line.startswith((":", "use "))]
    body = [line for line in lines if line not in head] + [""]
    ends = [
        number + 1
        for number, (line, after) in enumerate(zip(body, body[1:]))
        if line.rstrip().endswith((";", "}")) and not after.startswith((" ", "}", ")", "]", "."))
    ]
    split = ends[-1] if ends else 0
    before = "let __candle_lens_start = std::time::Instant::now();"
    after = 'eprintln!("own {}", __candle_lens_start.elapsed().as_secs_f64());'
    return "\n".join([*head, before, *body[:split], after, *body[split:]])


def resident(kernel):
    """Of the process that runs the cells: resident KiB, those of them that are no file's, and threads; Linux only."""
    _, text = kernel.run('println!("{}", std::fs::read_to_string("/proc/self/status")?);')
    return [int(re.search(rf"{key}:\s+(\d+)", text).group(1)) for key in ("VmRSS", "RssAnon", "Threads")]


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def main():
    name, root, release = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    rows = []
    starts = []
    for _ in range(STARTS):
        kernel = Kernel(name, root / "notebooks")
        kernel.run("let first = Tensor::zeros(1, DType::F32, &Device::Cpu)?;")
        starts.append(time.monotonic() - kernel.begun)
        kernel.end()
    rows.append(("start to first answered cell (a cell with a variable)", f"{statistics.median(starts):.1f} s", "12 s"))

    kernel = Kernel(name, root / "notebooks")
    beyond = []
    for cell in cells_of(sorted((root / "notebooks").glob("01_*.ipynb"))[0]):
        seconds, said = kernel.run(timed(cell))
        own = re.search(r"own ([\d.e-]+)", said)
        beyond.append(seconds - (float(own.group(1)) if own else 0.0))
    rows.append(("cells of notebook 01 beyond their own computation, median", f"{statistics.median(beyond):.2f} s", "0.6 s"))
    rows.append(("the same, 95th percentile", f"{percentile(beyond, 0.95):.2f} s", "1.5 s"))

    inspected = "model.run_with_cache"
    kernel.ask(lambda client: client.complete("model.", 6))
    seconds, answer = kernel.ask(lambda client: client.complete("model.run", 9))
    rows.append((f"completion of `model.run` ({len(answer.get('matches', []))} matches)", f"{seconds:.2f} s", "3 s"))
    seconds, answer = kernel.ask(lambda client: client.inspect(inspected, len(inspected)))
    rows.append((f"inspection of `{inspected}` ({'found' if answer.get('found') else 'NOT FOUND'})", f"{seconds:.2f} s", "3 s"))

    source = (root / "examples/matrix_product.rs").read_text(encoding="utf-8")
    product = source[source.index("fn gflops") : source.index("fn main")]
    _, said = kernel.run(product + "\ngflops(1024)?")
    rows.append(("matrix product, 1024 x 1024, in a cell", f"{float(said):.0f} GFLOP/s", f"90 % of {release:.0f} in a release program"))

    if Path("/proc/self/status").exists():
        for _ in range(5):
            kernel.run("1 + 1")
        memory, own, threads = resident(kernel)
        for number in range(TRIVIAL):
            kernel.run(f"{number} + 1")
        memory_after, own_after, threads_after = resident(kernel)
        rows.append((f"resident memory over {TRIVIAL} trivial cells", f"{memory / 1024:.0f} to {memory_after / 1024:.0f} MiB", "no growth"))
        rows.append(("of it without the code of the cells", f"{own / 1024:.0f} to {own_after / 1024:.0f} MiB", "no growth"))
        rows.append((f"threads over {TRIVIAL} trivial cells", f"{threads} to {threads_after}", "no growth"))
    kernel.end()

    print("\n| what | measured | target |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


main()
