"""What was asked, delivery by delivery, and whether every request that was in vain has an excuse.

A delivery of a cut asks for its tasks and stages what became of them. Where it is the one whose object
stands at the end, its requests count against the retry budget of their tasks. All others were in vain, and
each such delivery must have been killed, or told of an error, or overtaken by another one that staged first.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from pipeline import keys
from pipeline.simulate.deployment import MOST_ATTEMPTS, MOST_REFUSALS
from pipeline.simulate.faults import Violation
from stages.records import Batch

MOST_REQUESTS = 2 * (1 + (MOST_ATTEMPTS - 1) + (MOST_REFUSALS - 1))
"""Of one task: it may fail and be refused once less than what ends it, and then is asked once more.

Each of these may find that the answer has moved, once, and ask there.
"""


class Delivery(msgspec.Struct, eq=False):
    """One delivery of a cut to one process, from when it was taken up."""

    key: str
    who: str
    staged_before: bool
    asked: Counter[str] = msgspec.field(default_factory=Counter)
    failed: bool = False
    """It was killed, or a side effect of it failed."""
    overtaken: bool = False
    """Another delivery, or an operator, staged the cut while this one was at it."""
    stands: bool = False
    """Its object is the one that stands."""


class Asking:
    """Deliveries of one simulation."""

    def __init__(self) -> None:
        self._at_work: dict[str, list[Delivery]] = {}
        self._asked: list[Delivery] = []
        self._batches: dict[str, Batch] = {}
        self.requests = 0

    def begin(self, batch: Batch, who: str, *, staged: bool) -> Delivery:
        """A delivery is taken up; ``staged`` says that its object is there already."""
        key = keys.staged(batch)
        self._batches[key] = batch
        delivery = Delivery(key, who, staged)
        self._at_work.setdefault(key, []).append(delivery)
        return delivery

    def end(self, delivery: Delivery, *, failed: bool) -> None:
        """It is done, or not: an error or a kill ended it."""
        delivery.failed = delivery.failed or failed
        self._at_work[delivery.key].remove(delivery)

    def ask(self, delivery: Delivery, keyword: str, page: int) -> None:
        """A request leaves for the engine. Raises ``Violation`` where the cut was staged before."""
        if delivery.staged_before:
            raise Violation(
                f"{delivery.who} asks for {keyword!r} of {delivery.key}, which was staged before it began"
            )
        if not delivery.asked:
            self._asked.append(delivery)
        delivery.asked[f"{keyword}\0{page}"] += 1
        self.requests += 1

    def staged(self, key: str, who: str) -> None:
        """The object of a cut was written by a process, or by an operator."""
        for delivery in self._at_work.get(key, ()):
            delivery.overtaken = delivery.who != who
        # A process that could not write what it asked holds it, and may write it at the next delivery.
        for delivery in reversed(self._asked):
            if delivery.key == key and delivery.who == who:
                delivery.stands = True
                return

    def check(self) -> int:
        """Whether no task was asked too often; gives the requests in vain. Raises ``Violation``."""
        spent: Counter[tuple[str, str]] = Counter()
        vain = 0
        for delivery in self._asked:
            if delivery.stands:
                # Cuts of a batch share their tasks: those of one run, source, locale and device.
                batch = self._batches[delivery.key]
                of = f"{batch.run_id} {batch.source} {batch.locale} {batch.device}"
                for task, count in delivery.asked.items():
                    spent[of, task] += count
                continue
            vain += delivery.asked.total()
            if not (delivery.failed or delivery.overtaken):
                raise Violation(
                    f"{delivery.who} asked {delivery.asked.total()} times for {delivery.key} and neither "
                    "staged it nor was killed, failed or overtaken"
                )
        for (of, task), count in spent.items():
            if count > MOST_REQUESTS:
                keyword, _, page = task.partition("\0")
                raise Violation(
                    f"{keyword!r} page {page} of {of} was asked {count} times; its budget is {MOST_REQUESTS}"
                )
        return vain
