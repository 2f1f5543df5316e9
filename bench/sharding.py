"""Sharding: keywords a second of one core through the real shard step, and what it holds in memory.

10 million lines (about 256 MB), every fourth a duplicate, one in twenty Chinese, all in normal form
but one in a thousand; keywords/s are lines over the CPU seconds of the step. Beside it the same file
with every line in normal form. With ``--huge`` one part of ten of a file of 100 million lines (2.6 GB).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from bench.figures import Failed, Figure, middle
from bench.made_up import write_keyword_file
from bench.process import WORK, child, told
from pipeline.storage.s3 import S3Storage
from tests.emulator.emulator import Emulator

LINES = 10_000_000
HUGE = 10
BUCKET_PARTS = 4
UNTIDY_EVERY = 1_000
GOAL = 750_000
MOST_MEGABYTES = 1_200

_ROOT = WORK / "sharding"


def bench_shard(scale: float, repeat: int, wanted: Collection[str]) -> Iterator[Figure]:
    """``shard_keywords_per_second``, the same of a tidy file, and ``shard_peak_megabytes``."""
    lines = int(LINES * scale)
    file, distinct = _file(lines, UNTIDY_EVERY)
    runs = [_sharded(file, lines, distinct) for _ in range(repeat)]
    split = [_rate(_child("split", file), lines) for _ in range(repeat)]
    encode = [_rate(_child("encode", file), lines) for _ in range(repeat)]
    yield Figure(
        "shard_keywords_per_second",
        middle(lines / run["cpu"] for run in runs),
        "keywords/s a core",
        floor=middle(split),
        goal=GOAL,
        peers={"by hand without dedupe": middle(encode)},
    )
    yield Figure(
        "shard_peak_megabytes", middle(run["peak"] for run in runs), "MB", goal=MOST_MEGABYTES, at_most=True
    )
    if "shard_tidy_keywords_per_second" in wanted:
        file, distinct = _file(lines, 0)
        tidy = [_sharded(file, lines, distinct) for _ in range(repeat)]
        yield Figure(
            "shard_tidy_keywords_per_second", middle(lines / run["cpu"] for run in tidy), "keywords/s a core"
        )


def bench_huge(scale: float, _repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """One part of a file ten times as large: its memory, and its share of the lines a second."""
    lines = int(LINES * scale) * HUGE
    file, distinct = _file(lines, UNTIDY_EVERY)
    part = _child("step", file, parts=HUGE)
    if not 0.99 < part["kept"] * HUGE / distinct < 1.01:
        raise Failed(f"one part of {HUGE} kept {part['kept']:,} of {distinct:,} keywords")
    yield Figure("shard_huge_lines_per_second", lines / part["cpu"], "lines/s a part")
    yield Figure("shard_huge_peak_megabytes", part["peak"], "MB", goal=MOST_MEGABYTES, at_most=True)


def bench_bucket(scale: float, _repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """One part of four of an object of a gigabyte, read from an emulator's bucket as a function reads it."""
    lines = int(LINES * scale) * BUCKET_PARTS
    file, distinct = _file(lines, UNTIDY_EVERY)
    emulator = Emulator(WORK / "emulator")
    try:
        emulator.start()
        client = emulator.client("s3")
        client.create_bucket(Bucket="bench")
        with file.open("rb") as stream:
            S3Storage(client, "bench").put_file(file.relative_to(_ROOT).as_posix(), stream)
        part = told(
            child("shard", "step", _ROOT, file, 0, BUCKET_PARTS, env={"SERPLINE_BENCH_S3": emulator.url})
        )
    finally:
        emulator.stop()
    if not 0.99 < part["kept"] * BUCKET_PARTS / distinct < 1.01:
        raise Failed(f"one part of {BUCKET_PARTS} kept {part['kept']:,} of {distinct:,} keywords")
    yield Figure("shard_object_megabytes", file.stat().st_size / 1e6, "MB of the object")
    yield Figure("shard_object_lines_per_second", lines / part["cpu"], "lines/s a part")
    yield Figure("shard_object_peak_megabytes", part["peak"], "MB", goal=MOST_MEGABYTES, at_most=True)


def _file(lines: int, untidy_every: int) -> tuple[Path, int]:
    path = _ROOT / "keywords" / f"{lines}-untidy-{untidy_every}.txt"
    return path, write_keyword_file(path, lines, untidy_every)


def _sharded(file: Path, lines: int, distinct: int) -> dict[str, float]:
    done = _child("step", file)
    if (done["lines"], done["kept"], done["tasks"], done["rejected"]) != (lines, distinct, distinct, 0):
        raise Failed(f"of {lines:,} lines with {distinct:,} distinct keywords sharding made {done}")
    return done


def _child(mode: str, file: Path, parts: int = 1) -> dict[str, float]:
    return told(child("shard", mode, _ROOT, file, 0, parts))


def _rate(done: dict[str, float], lines: int) -> float:
    if done["lines"] != lines:
        raise Failed(f"the floor read {done['lines']:,} of {lines:,} lines")
    return lines / done["cpu"]
