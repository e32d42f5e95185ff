"""`candle-lens-kernel`: the launcher of candle-lens, with the Python that it was installed in as the kernel's client."""
import os
import subprocess
import sys
from pathlib import Path


def main():
    launcher = Path(__file__).resolve().parent / "bin" / ("candle-lens-lab.exe" if os.name == "nt" else "candle-lens-lab")
    words = []
    for word in sys.argv[1:]:
        # As Jupyter calls it: the kernelspec goes where this Python is installed.
        words += ["--prefix", sys.prefix] if word == "--sys-prefix" else [word]
    os.environ.setdefault("CANDLE_LENS_PYTHON", sys.executable)
    if os.name == "nt":
        sys.exit(subprocess.call([str(launcher), *words]))
    os.execv(launcher, [str(launcher), *words])


if __name__ == "__main__":
    main()
