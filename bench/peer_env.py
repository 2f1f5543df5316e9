"""The peers' environment: ``build/bench-venv``, made once and again when ``peers.txt`` changes."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from bench.process import BUILD, ROOT

PINS = ROOT / "bench" / "peers.txt"


def peer_python() -> str:
    """The interpreter of the peers' environment, which is made where it is missing or old."""
    folder = BUILD / "bench-venv"
    python = folder / "bin" / "python"
    made_of = folder / "peers.txt"
    pins = PINS.read_text("utf-8")
    if not made_of.exists() or made_of.read_text("utf-8") != pins:
        print("installing the peers into build/bench-venv", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "-r", PINS], check=True)
        Path(made_of).write_text(pins, "utf-8")
    return str(python)
