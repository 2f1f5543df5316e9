"""``python -m pipeline`` is the command ``serpline``."""

import gc
import sys


def start() -> int:
    """Run the command; gives its exit code."""
    # What is imported lives as long as the process: looking through it for garbage, again and again
    # while it grows, is a third of a second of every command.
    gc.disable()
    from pipeline.cli.main import main  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    return main()


if __name__ == "__main__":
    sys.exit(start())
