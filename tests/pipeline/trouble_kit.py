"""A lake in the middle of its work, for trouble with its catalog."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.errors import PipelineError, Unavailable
from pipeline.metrics import MemoryMetrics
from pipeline.queues.memory import MemoryBroker
from pipeline.steps.aggregate import AggregateStep
from pipeline.storage.folder import FolderStorage
from pipeline.worker import settle
from stages.staged import encode_staged
from tests.pipeline import aws
from tests.pipeline.kit import LOG, Clock, make_batch
from tests.pipeline.test_bad_staged import page_of, pointer


class Scene:
    """A lake with one committed batch, and a queue with the pointers of two more."""

    def __init__(self, lake: Path, catalog: Catalog) -> None:
        self.storage = FolderStorage(lake)
        self.clock = Clock()
        self.queue = MemoryBroker(clock=self.clock, max_receives=4).queue("results")
        tables = Tables(catalog)
        tables.create()
        self._stage(1, 2, 3)
        step = AggregateStep(self.storage, tables, MemoryMetrics(), LOG)
        assert step([self._pointer(1)]) == {}
        self.queue.send([self._pointer(2), self._pointer(3)])

    def _stage(self, *numbers: int) -> None:
        for number in numbers:
            batch = make_batch([], batch_no=number)
            self.storage.put(keys.staged(batch), encode_staged(batch, [page_of(str(number))], lane=""))

    def _pointer(self, number: int) -> bytes:
        return pointer(keys.staged(make_batch([], batch_no=number)))

    def step(self, catalog: Catalog) -> AggregateStep:
        return AggregateStep(self.storage, Tables(catalog, sleep=lambda _: None), MemoryMetrics(), LOG)

    def at_work(self, catalog: Catalog) -> AggregateStep:
        """The same that has read its tables before."""
        step = self.step(catalog)
        assert step([self._pointer(1)]) == {}
        return step

    def fails(self, step: AggregateStep) -> PipelineError:
        """Deliver to this step; gives its error, once every message is back in its queue."""
        self.clock.now += 1000
        received = self.queue.receive(10, wait=0)
        assert len(received) == 2
        with pytest.raises(Unavailable) as raised:
            settle(self.queue, received, step, LOG)
        assert self.queue.depth().waiting == 2
        assert self.queue.dead().depth().waiting == 0
        return raised.value

    def comes_back(self, catalog: Catalog) -> None:
        """After it was mended: what is delivered again commits, and every batch is there once."""
        handle = self.step(catalog)
        assert handle([self._pointer(2), self._pointer(3), self._pointer(1)]) == {}
        assert aws.each_once(catalog) == {("1", 1): 1, ("2", 1): 1, ("3", 1): 1}


def says(error: PipelineError, *words: str) -> None:
    """One line, with these words, and nothing of a library's own address or statement."""
    text = str(error)
    assert [word for word in words if word not in text] == []
    assert "\n" not in text
    assert "sqlalche.me" not in text
    assert "[SQL" not in text
    assert len(text) < 400
