"""``make local-aws``: the whole system on an emulator of AWS, from nothing to rows, and away again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.emulator.deploy import CommandFailed, build_packages
from tests.emulator.emulator import CALLER, REGION, end_group
from tests.emulator.system import System
from tests.emulator.tools import BUILD, ROOT, missing
from tests.servers import Missing

SOURCES = {"practice_page": {"rate": 100, "burst": 20, "concurrency": 8, "max_concurrency": 4}}
FILE = ROOT / "examples" / "keywords.csv"
KEPT = BUILD / "local-aws"
"""Where a kept system has its files, and the process groups that end it."""

QUERY = """SELECT keyword, rank, title, domain FROM results
  WHERE run_id = '{run_id}' AND rank <= 2 ORDER BY keyword, rank LIMIT 6"""


def main() -> int:
    """Show the system at work; ``KEEP=1`` leaves it running, ``STOP=1`` ends one that was left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if os.environ.get("STOP"):
        return _stop_kept()
    keep = bool(os.environ.get("KEEP"))
    if (KEPT / "groups.json").exists():
        _say("A kept system is running: stop it first with `make local-aws STOP=1`.")
        return 1
    if lacking := missing("emulator"):
        _say(f"Not yet: {lacking}.")
        return 1
    folder = KEPT if keep else Path(tempfile.mkdtemp(prefix="serpline-local-aws-"))
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return _show(folder, keep=keep)
    except (CommandFailed, Missing, RuntimeError, TimeoutError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("Interrupted; everything is stopped.")
        return 130
    finally:
        if not (folder / "groups.json").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _show(folder: Path, *, keep: bool) -> int:
    system = System(folder, sources=SOURCES)
    kept = False
    try:
        with _step("packages"):
            build_packages()
        with _step(f"emulator, terraform apply ({system.name})"):
            system.start()
        key = f"keywords/{FILE.name}"
        _say(f"dropped {FILE.relative_to(ROOT)} as s3://{system.bucket}/{key}")
        with _step("all pages in the tables"):
            run_id = system.drop(key, FILE.read_bytes())
            system.wait_until_complete([run_id], 300, progress=_progress)
        _report(system, run_id)
        if keep:
            _leave(system, folder)
            kept = True
    finally:
        if not kept:
            system.stop()
    if not kept:
        _say("Everything is stopped. KEEP=1 leaves it running.")
    return 0


def _report(system: System, run_id: str) -> None:
    [(pages, results)] = system.rows(
        f"SELECT count(*), sum(len(results)) FROM pages WHERE run_id = '{run_id}' AND status = 'ok'"  # noqa: S608
    )
    _say(f"run {run_id}: {pages} pages, {results} results; the first of them:")
    for keyword, rank, title, domain in system.rows(QUERY.format(run_id=run_id)):
        _say(f"  {keyword[:28]:28}  {rank}  {title[:44]:44}  {domain}")


def _leave(system: System, folder: Path) -> None:
    groups = [[process.pid, process.args[0]] for server in system.servers for process in server._processes]
    (folder / "groups.json").write_text(json.dumps(groups))
    exports = {
        "AWS_ENDPOINT_URL": system.emulator.url,
        "AWS_ACCESS_KEY_ID": CALLER,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "SERPLINE_NAME": system.name,
        "SERPLINE_LAKE": f"s3://{system.bucket}",
    }
    (folder / "env").write_text("".join(f"export {name}={value}\n" for name, value in exports.items()))
    _say(f"It keeps running at {system.emulator.url}. Use it:  source {(folder / 'env').relative_to(ROOT)}")
    _say("Stop it:  make local-aws STOP=1")


def _stop_kept() -> int:
    written = KEPT / "groups.json"
    if not written.exists():
        _say("No kept system is running.")
        return 0
    for group, program in reversed(json.loads(written.read_text())):
        # A number alone may by now be somebody else's.
        if program in _command_of(group):
            end_group(group)
    shutil.rmtree(KEPT)
    _say("Stopped.")
    return 0


def _command_of(pid: int) -> str:
    command = ["ps", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - ps


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    _show_for_now(f"… {what.partition(' (')[0]}")
    yield
    _wipe()
    _say(f"{what} ({time.monotonic() - began:.0f} s)")


def _progress(depths: dict[str, int]) -> None:
    at_work = ", ".join(f"{queue} {count}" for queue, count in depths.items() if count)
    _show_for_now(f"queues: {at_work or 'empty'}")


def _show_for_now(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)  # noqa: T201


def _wipe() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201


def _say(line: Any) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
