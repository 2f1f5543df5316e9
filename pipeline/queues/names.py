"""The queues of one installation by what they carry."""

from __future__ import annotations

from pipeline import keys
from pipeline.queues.protocol import Broker, Queue


class Queues:
    """Opens the keywords, fetch and results queues of one broker, each once."""

    def __init__(self, broker: Broker, name: str, *, shared: bool = False) -> None:
        """``shared``: others use this broker too, so closing closes these queues alone."""
        self._broker = broker
        self._shared = shared
        self._name = name
        self._opened: dict[str, Queue] = {}

    @property
    def keywords(self) -> Queue:
        """Parts of runs to shard."""
        return self._open(keys.keywords_queue(self._name))

    @property
    def results(self) -> Queue:
        """Pointers to staged objects."""
        return self._open(keys.results_queue(self._name))

    def fetch(self, source: str) -> Queue:
        """Batches of one source."""
        return self._open(keys.fetch_queue(self._name, source))

    def close(self) -> None:
        """Give back what was received here, and the broker's connections unless others use them."""
        for queue in self._opened.values():
            queue.close()
        if not self._shared:
            self._broker.close()

    def _open(self, name: str) -> Queue:
        if name not in self._opened:
            self._opened[name] = self._broker.queue(name)
        return self._opened[name]
