"""Ctrl-C in the middle of a query on this machine: obeyed at once, whatever the query is doing."""

# ruff: noqa: S608  # the SQL under test is put together here, of constants

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from pipeline.query import Lake
from pipeline.query.interruption import interruptible

_NUMBERS = "(SELECT x FROM UNNEST(sequence(1, 200000)) AS t (x))"
_PAIRS = f"FROM {_NUMBERS} AS a CROSS JOIN {_NUMBERS} AS b WHERE a.x * b.x % 7 = 9"
"""Forty billion pairs, of which none is found."""


@contextmanager
def ctrl_c(after: float = 0.5) -> Iterator[None]:
    """The signal of Ctrl-C in a moment, which must end what stands inside soon after."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(after, signal.pthread_kill, (main, signal.SIGINT))
    begun = time.monotonic()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        timer.cancel()
    assert time.monotonic() - begun < after + 5


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "sql", [f"SELECT a.x {_PAIRS}", f"SELECT count(*) {_PAIRS}", f"EXPLAIN ANALYZE SELECT a.x {_PAIRS}"]
)
def test_ctrl_c_ends_a_query_that_finds_nothing_yet(lake: Lake, sql: str):
    """Whether it streams, counts or is explained; the lake answers the next question."""
    with ctrl_c():
        list(lake.ask(sql).chunks())
    assert list(lake.ask("SELECT 1").chunks()) == [[(1,)]]


@pytest.mark.timeout(60)
def test_ctrl_c_ends_a_query_between_rows_and_no_rows(lake: Lake):
    """Its first rows came at once, the next would come in hours."""
    chunks = lake.ask(f"SELECT 0 AS x FROM {_NUMBERS} UNION ALL SELECT a.x {_PAIRS}").chunks()
    assert next(chunks)[0] == (0,)
    with ctrl_c():
        list(chunks)
    assert list(lake.ask("SELECT 1").chunks()) == [[(1,)]]


def test_work_that_had_not_begun_when_it_was_interrupted_is_interrupted_again():
    calls: list[int] = []
    stopped = threading.Event()

    def interrupt() -> None:
        calls.append(1)
        if len(calls) == 3:
            stopped.set()

    with ctrl_c(after=0.1):
        interruptible(stopped.wait, interrupt)
    assert len(calls) == 3


def test_a_signal_ends_it_wherever_it_falls():
    """Before the work began, while its thread starts, or later: nobody waits for what nobody wants."""
    main = threading.main_thread().ident
    assert main is not None
    begun = time.monotonic()
    for number in range(60):
        ended = threading.Event()
        timer = threading.Timer(number * 1e-4, signal.pthread_kill, (main, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # the signal may come before the work, too
            timer.start()
            interruptible(partial(ended.wait, 30), ended.set)
    assert time.monotonic() - begun < 25
