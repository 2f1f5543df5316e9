"""Finishing: runs whose every task is in the tables are marked complete, and somebody is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline import keys
from pipeline.catalog import Ledger, Tables
from pipeline.runs import finish_run, is_complete, unfinished_runs
from pipeline.storage.protocol import Storage
from stages.run import Run


class RunEvents(Protocol):
    """Who wants to know that a run is complete."""

    def complete(self, run: Run, ledger: Ledger) -> None:
        """Tell it. It may be told twice, never not at all."""


def finish_complete_runs(
    storage: Storage,
    tables: Tables,
    events: RunEvents,
    clock: Callable[[], float],
    stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Mark every run that was dropped and is complete by its ledger; gives their ids.

    Told before it is marked: a death in between tells twice. A run that is marked already, since its drop was
    delivered once more or a death left it so, is neither told nor marked again.
    """
    done: list[str] = []
    for run in unfinished_runs(storage):
        if stopped():
            break
        if is_complete(storage, run.run_id):
            storage.delete(keys.unfinished(run.run_id))
            continue
        ledger = tables.ledger(run.run_id, run.run_date)
        if ledger.complete:
            events.complete(run, ledger)
            finish_run(storage, run.run_id, clock())
            done.append(run.run_id)
    return done
