"""Builds the wheel of candle-lens-kernel: this launcher and evcxr_jupyter, compiled for one platform, for any Python 3.9 or newer.

A build backend as pip calls it (PEP 517) that needs nothing but the standard library, cargo, and an evcxr_jupyter of the launcher's version:
the one that CANDLE_LENS_EVCXR names, or the one in the cache of `cargo lab setup`.
"""
import base64
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = "candle_lens_kernel"
EXE = ".exe" if os.name == "nt" else ""
# What the launcher's client needs of a Python (lab/src/driver.py).
REQUIRES = ["jupyter_client>=8", "nbformat>=5"]
SUMMARY = "The Rust kernel of candle-lens for your own Jupyter: mechanistic interpretability of transformers in Rust notebooks."
ABOUT = """\
`pip install candle-lens-kernel`, then `candle-lens-kernel install` gives Jupyter the kernel "Rust (candle-lens)" (`--sys-prefix` for a
virtual environment or everybody's Jupyter). It compiles the library once, so it needs Rust (https://rustup.rs) and a C compiler's linker.
`candle-lens-kernel help` says what else it does.

The package holds evcxr_jupyter (https://github.com/evcxr/evcxr, MIT or Apache-2.0).
"""


def build_wheel(folder, config_settings=None, metadata_directory=None):
    launcher, kernel = build_launcher(), evcxr()
    version = re.search(r'^version = "(.+?)"', (ROOT / "lab/Cargo.toml").read_text(encoding="utf-8"), re.M)[1]
    tag = f"py3-none-{platform([launcher, kernel])}"
    info = f"{PACKAGE}-{version}.dist-info"
    files = {f"{PACKAGE}/{path.name}": (path.read_bytes(), 0o644) for path in sorted((HERE / PACKAGE).glob("*.py"))}
    files[f"{PACKAGE}/bin/candle-lens-lab{EXE}"] = (launcher.read_bytes(), 0o755)
    files[f"{PACKAGE}/bin/evcxr_jupyter{EXE}"] = (kernel.read_bytes(), 0o755)
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        files[f"{info}/licenses/{licence}"] = ((ROOT / licence).read_bytes(), 0o644)
    requires = "".join(f"Requires-Dist: {package}\n" for package in REQUIRES)
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.4\nName: candle-lens-kernel\nVersion: {version}\nSummary: {SUMMARY}\nLicense-Expression: MIT OR Apache-2.0\n"
        "License-File: LICENSE-MIT\nLicense-File: LICENSE-APACHE\n"
        f"Requires-Python: >=3.9\n{requires}Description-Content-Type: text/markdown\n\n{ABOUT}".encode(),
        0o644,
    )
    files[f"{info}/WHEEL"] = (f"Wheel-Version: 1.0\nGenerator: candle-lens\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(), 0o644)
    files[f"{info}/entry_points.txt"] = (f"[console_scripts]\ncandle-lens-kernel = {PACKAGE}.__main__:main\n".encode(), 0o644)
    name = f"{PACKAGE}-{version}-{tag}.whl"
    pack(Path(folder) / name, files, f"{info}/RECORD")
    return name


def build_sdist(folder, config_settings=None):
    raise SystemExit("candle-lens-kernel has no source distribution: build a wheel in a clone of candle-lens, `pip wheel --no-deps lab/wheel`.")


def build_launcher():
    """The launcher as the package has it: it knows no clone, and holds no path of this machine."""
    target = ROOT / "target/wheel"
    homes = {name: os.environ.get(f"{name.upper()}_HOME") or str(Path.home() / f".{name}") for name in ("cargo", "rustup")}
    flags = [f"--remap-path-prefix={path}={name}" for name, path in {"candle-lens": ROOT, **homes}.items()]
    environment = {**os.environ, "CANDLE_LENS_WHEEL": "1", "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags), "CARGO_PROFILE_RELEASE_STRIP": "symbols"}
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--package", "candle-lens-lab", "--target-dir", str(target)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return target / f"release/candle-lens-lab{EXE}"


def evcxr():
    """evcxr_jupyter of the version that the launcher wants."""
    version = re.search(r'VERSION: &str = "(.+?)"', (ROOT / "lab/src/evcxr.rs").read_text(encoding="utf-8"))[1]
    cache = os.environ.get("CANDLE_LENS_CACHE") or str(user_cache() / "candle-lens")
    program = Path(os.environ.get("CANDLE_LENS_EVCXR") or f"{cache}/evcxr_jupyter-{version}/bin/evcxr_jupyter{EXE}")
    if not program.is_file():
        raise SystemExit(f"{program} is not there: `cargo lab setup` builds it, or name one of version {version} in CANDLE_LENS_EVCXR.")
    if f"evcxr-{version}/".encode() not in program.read_bytes():
        raise SystemExit(f"{program} is not evcxr_jupyter {version}.")
    return program


def user_cache():
    if os.name == "nt":
        return Path(os.environ["LOCALAPPDATA"])
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def platform(programs):
    """Where the programs run: on Linux with at least the C library whose symbols they name."""
    if not sys.platform.startswith("linux"):
        return re.sub(r"[-.]", "_", sysconfig.get_platform())
    needed = [int(minor) for program in programs for minor in re.findall(rb"\0GLIBC_2\.(\d+)", program.read_bytes())]
    return f"manylinux_2_{max(needed)}_{os.uname().machine}"


def pack(path, files, record):
    lines = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, (content, mode) in files.items():
            add(wheel, name, content, mode)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(content)}\n")
        add(wheel, record, ("".join(lines) + f"{record},,\n").encode(), 0o644)


def add(wheel, name, content, mode):
    member = zipfile.ZipInfo(name)  # dated 1980, so that equal contents make equal wheels
    member.external_attr = (0o100000 | mode) << 16
    member.compress_type = zipfile.ZIP_DEFLATED
    wheel.writestr(member, content)
