"""Measures a class: several kernels that start at once and run the cells of one notebook in step, on this machine.

usage: class.py KERNEL NOTEBOOK COUNT

Prints a table in Markdown. In step is the worst case: everybody runs a cell when the teacher says so. Memory is what the kernels' processes
have of their own plus their shares of what several of them have in memory (PSS), while a compiler may be running. Linux only.
"""
import json
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jupyter_client import KernelManager

PATIENCE = 600


def children():
    """The processes that there are, by their parent."""
    tree = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue  # it has ended
        parent = int(stat.rpartition(")")[2].split()[1])
        tree.setdefault(parent, []).append(int(entry.name))
    return tree


def family(root, tree):
    return [root] + [pid for child in tree.get(root, []) for pid in family(child, tree)]


def memory(pid):
    """MiB of a process."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


class Watch(threading.Thread):
    """Looks at the memory of all kernels again and again, and keeps the largest sum."""

    def __init__(self, kernels):
        super().__init__(daemon=True)
        self.kernels, self.peak, self.over = kernels, 0.0, threading.Event()

    def now(self):
        tree = children()
        return [sum(map(memory, family(kernel.pid, tree))) for kernel in self.kernels]

    def run(self):
        while not self.over.wait(0.5):
            self.peak = max(self.peak, sum(self.now()))


class Kernel:
    def __init__(self, name, folder):
        self.begun = time.monotonic()
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(cwd=str(folder))
        self.pid = self.manager.provisioner.pid
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.run("let first = Tensor::zeros(1, DType::F32, &Device::Cpu)?;")
        self.ready = time.monotonic() - self.begun

    def run(self, code):
        """Seconds until the kernel has answered. A cell may fail as cells of students do."""
        start = time.monotonic()
        self.client.execute_interactive(code, timeout=PATIENCE, output_hook=lambda _: None, allow_stdin=False)
        return time.monotonic() - start

    def end(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def processor():
    """Seconds of processor time that the whole machine has spent."""
    import os

    numbers = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = numbers[3] + numbers[4]
    return (sum(numbers[:8]) - idle) / os.sysconf("SC_CLK_TCK")


def main():
    name, notebook, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    cells = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    kernels = []
    try:
        with ThreadPoolExecutor(count) as pool:
            before = processor()
            kernels = list(pool.map(lambda _: Kernel(name, notebook.parent), range(count)))
            start = processor() - before
            watch = Watch(kernels)
            idle = watch.now()
            watch.start()
            before, slowest, typical = processor(), [], []
            for cell in cells:
                took = list(pool.map(lambda kernel: kernel.run(cell), kernels))
                slowest.append(max(took))
                typical.append(statistics.median(took))
            spent = processor() - before
            watch.over.set()
            watch.join()
            after = watch.now()
    finally:
        for kernel in kernels:
            kernel.end()
    ready = sorted(kernel.ready for kernel in kernels)
    rows = [
        ("first and last kernel that has answered its first cell", f"{ready[0]:.1f} s, {ready[-1]:.1f} s"),
        ("processor time of a start, a kernel", f"{start / count:.1f} s"),
        ("memory after the start, a kernel", f"{statistics.mean(idle):.0f} MiB"),
        (f"memory after all {len(cells)} cells, a kernel", f"{statistics.mean(after):.0f} MiB"),
        ("most memory of all together, compilers included", f"{watch.peak / 1024:.1f} GiB"),
        ("a cell that all run at once: median, until the last has it", f"{statistics.median(typical):.1f} s, {statistics.median(slowest):.1f} s"),
        ("the slowest such cell, until the last has it", f"{max(slowest):.1f} s"),
        ("processor time of a cell, a kernel", f"{spent / count / len(cells):.2f} s"),
    ]
    print(f"\n| {count} kernels, {notebook.name} | |\n|---|---|")
    for row in rows:
        print("| {} | {} |".format(*row))


main()
