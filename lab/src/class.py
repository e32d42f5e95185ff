"""Measures a class: several kernels that start at once and run the cells of one notebook in step, on this machine.

usage: class.py KERNEL NOTEBOOK COUNT [--users]

With --users, as root: each kernel belongs to a Unix user of its own, who is made for it and removed in the end. Prints a table in Markdown. In step is the worst case: everybody runs a cell when the teacher says so. Memory is what the kernels' processes
have of their own plus their shares of what several of them have in memory (PSS), while a compiler may be running. Linux only.
"""
import json
import shutil
import statistics
import subprocess
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


class User:
    """A student with a home of their own, who has set up nothing."""

    # The connection file is written for whoever starts the kernel.
    START = 'chown "$1" "$2"; user=$1; shift 2; exec setpriv --reuid "$user" --regid "$user" --clear-groups env HOME="/home/$user" "$@"'

    def __init__(self, number):
        self.name = f"candle-lens-{number}"
        subprocess.run(["useradd", "--create-home", self.name], check=True)
        self.home = Path("/home") / self.name
        self.connections = Path(f"/run/{self.name}")
        self.connections.mkdir(mode=0o755, exist_ok=True)

    def takes(self, manager):
        manager.connection_file = str(self.connections / "kernel.json")
        spec = manager.kernel_spec
        spec.argv = ["sh", "-c", self.START, "sh", self.name, "{connection_file}"] + spec.argv

    def disk(self):
        """MiB of the home."""
        said = subprocess.run(["du", "-sm", self.home], stdout=subprocess.PIPE, text=True)
        return int(said.stdout.split()[0])

    def remove(self):
        subprocess.run(["userdel", "--remove", self.name], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.connections)


class Kernel:
    def __init__(self, name, folder, user):
        self.begun = time.monotonic()
        self.manager = KernelManager(kernel_name=name)
        if user:
            user.takes(self.manager)
        self.manager.start_kernel(cwd=str(user.home if user else folder))
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
    users = [User(number + 1) for number in range(count)] if "--users" in sys.argv else []
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    cells = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    kernels = []
    try:
        with ThreadPoolExecutor(count) as pool:
            before = processor()
            kernels = list(pool.map(lambda user: Kernel(name, notebook.parent, user), users or [None] * count))
            start = processor() - before
            disk = [user.disk() for user in users]
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
        # The kernels' folders go by themselves, a moment after them.
        time.sleep(5 if users else 0)
        left = [user.disk() for user in users]
        for user in users:
            user.remove()
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
    if users:
        rows.append(("disk of a home while its kernel runs, and afterwards", f"{statistics.mean(disk):.0f} MiB, {statistics.mean(left):.0f} MiB"))
    print(f"\n| {count} kernels, {notebook.name} | |\n|---|---|")
    for row in rows:
        print("| {} | {} |".format(*row))


main()
