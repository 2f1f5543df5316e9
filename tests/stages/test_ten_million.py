"""Invariant 7 for sharding: ten million lines in one part, within the memory that the docs promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LINES = 10_000_000
MOST_MEGABYTES = 1_200

PROGRAM = f"""
import io
from stages.shard import ShardRow, shard
from tests.stages.kit import run_of

class Lines(io.RawIOBase):
    '''Ten million lines, a quarter of them said before, made while they are read.'''
    at = 0
    def read(self, _size=-1):
        first, self.at = self.at, min(self.at + 10_000, {LINES})
        numbers = ((n if n % 4 else n // 2 + 1) for n in range(first, self.at))
        return b"".join(b"how to do number %d in python\\n" % n for n in numbers)

for event in shard(Lines(), run_of("list.txt", 300_000_000), 0):
    if isinstance(event, ShardRow):
        row = event
print(row.lines, row.kept, row.duplicates, row.rejected, row.tasks)
# Not ru_maxrss: on Linux that begins with what the parent had.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.timeout(180)
def test_ten_million_lines_fit_in_one_part():
    """All are counted, the repeated ones once, and memory stays below the promised 1.2 GB."""
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)  # noqa: S603
    counts, megabytes = run.stdout.splitlines()
    lines, kept, duplicates, rejected, tasks = map(int, counts.split())
    # Of the numbers that 4 divides, each gives one that is already there, or not: counted, not assumed.
    distinct = len({n if n % 4 else n // 2 + 1 for n in range(LINES)})
    assert (lines, kept, duplicates, rejected, tasks) == (LINES, distinct, LINES - distinct, 0, distinct)
    assert int(megabytes) <= MOST_MEGABYTES
