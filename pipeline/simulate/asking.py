"""What was asked, delivery by delivery, and whether every request that was in vain has an excuse.

A delivery of a cut asks for its tasks and stages what became of them. Where it is the one whose object
stands at the end, its requests count against the retry budget of their tasks. All others were in vain, and
each such delivery must have been killed, or told of an error, or overtaken by another one that staged first;
and it asks for no task more often than what was left of that task's budget. Budgets are those of the release
that asked; of several that asked for one task, the largest counts.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline import keys
from pipeline.simulate.faults import Violation
from stages.records import Batch, Response

REFUSALS = (403, 429, 503)
"""How the engine refuses."""

FAILURES = (0, 404, 500)
ANSWER = 200


class Budget(msgspec.Struct, frozen=True):
    """What a task may still cost: attempts and refusals that end it, and whether answers ``move``."""

    attempts: int
    refusals: int
    moves: bool = False

    @property
    def requests(self) -> int:
        """It may fail and be refused once less than what ends it, and then is asked once more.

        Each of these may find that the answer has moved, once, and ask there.
        """
        most = self.attempts + self.refusals - 1
        return most * 2 if self.moves else most

    def left(self, attempts: int, refusals: int) -> Budget:
        """What is left after so many; one of each where a release that allowed more left it behind."""
        return Budget(max(1, self.attempts - attempts), max(1, self.refusals - refusals), self.moves)


class Spent(msgspec.Struct):
    """What a task has cost: requests, and how many of them were answered, failed and were refused."""

    requests: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0

    def over(self, budget: Budget) -> str:
        """What it was asked beyond its budget; empty where nothing."""
        if self.requests > budget.requests:
            return f"was asked {self.requests} times; its budget is {budget.requests}"
        ends = (self.answered, self.failed // budget.attempts, self.refused // budget.refusals)
        if sum(ends) > 1:
            return (
                f"was asked on after its end: {self.answered} answers, {self.failed} failures of "
                f"{budget.attempts}, {self.refused} refusals of {budget.refusals}"
            )
        return ""


class Delivery(msgspec.Struct, eq=False):
    """One delivery of a cut to one process, from when it was taken up."""

    key: str
    who: str
    budget: Budget
    staged_before: bool
    spent: dict[str, Spent] = {}
    failed: bool = False
    """It was killed, or a side effect of it failed."""
    overtaken: bool = False
    """Another delivery, or an operator, staged the cut while this one was at it."""
    stands: bool = False
    """Its object is the one that stands."""

    @property
    def requests(self) -> int:
        """Of all its tasks."""
        return sum(spent.requests for spent in self.spent.values())


class Asking:
    """Deliveries of one simulation."""

    def __init__(self) -> None:
        self._at_work: dict[str, list[Delivery]] = {}
        self._asked: list[Delivery] = []
        self._batches: dict[str, Batch] = {}
        self.requests = 0

    def begin(self, batch: Batch, who: str, budget: Budget, *, staged: bool) -> Delivery:
        """A delivery is taken up; ``staged`` says that its object is there already.

        ``budget`` is that of a task that was never asked, by the source's file of who takes it up.
        """
        key = keys.staged(batch)
        self._batches[key] = batch
        delivery = Delivery(key, who, budget, staged)
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
        if not delivery.spent:
            self._asked.append(delivery)
        delivery.spent.setdefault(_name(keyword, page), Spent()).requests += 1
        self.requests += 1

    def answered(
        self, delivery: Delivery, keyword: str, page: int, response: Response, *, whole: bool
    ) -> None:
        """What came of a request for a task; ``whole`` where its answer is not broken."""
        spent = delivery.spent[_name(keyword, page)]
        if response.status in REFUSALS:
            spent.refused += 1
        elif response.status in FAILURES or not whole:
            spent.failed += 1
        elif response.status == ANSWER:
            spent.answered += 1

    def latest(self, key: str, who: str) -> Delivery | None:
        """The delivery of which a process would stage the cut now: the last that asked for it.

        A process that could not write what it asked holds it, and writes it at the next delivery.
        """
        own = (one for one in reversed(self._asked) if one.key == key and one.who == who)
        return next(own, None)

    def staged(self, key: str, standing: Delivery | None) -> None:
        """The object of a cut was written, of this delivery or by an operator."""
        if standing is not None:
            standing.stands = True
        for delivery in self._at_work.get(key, ()):
            delivery.overtaken = delivery is not standing

    def check(self) -> int:
        """Whether no task was asked too often; gives the requests in vain. Raises ``Violation``."""
        standing: dict[tuple[str, str], list[tuple[Spent, Budget]]] = {}
        vain = 0
        for delivery in self._asked:
            batch = self._batches[delivery.key]
            _check_delivery(delivery, batch)
            if delivery.stands:
                # Cuts of a batch share their tasks: those of one run, source, locale and device.
                of = f"{batch.run_id} {batch.source} {batch.locale} {batch.device}"
                for name, spent in delivery.spent.items():
                    standing.setdefault((of, name), []).append((spent, delivery.budget))
                continue
            vain += delivery.requests
            if not (delivery.failed or delivery.overtaken):
                raise Violation(
                    f"{delivery.who} asked {delivery.requests} times for {delivery.key} and neither "
                    "staged it nor was killed, failed or overtaken"
                )
        for (of, name), each in standing.items():
            wrong = _sum(spent for spent, _ in each).over(_largest(budget for _, budget in each))
            if wrong:
                keyword, _, page = name.partition("\0")
                raise Violation(f"{keyword!r} page {page} of {of} {wrong}")
        return vain


def _check_delivery(delivery: Delivery, batch: Batch) -> None:
    """No delivery asks for a task more often than what is left of its budget, in vain or not."""
    before = {_name(task.keyword, task.page): task for task in batch.tasks}
    for name, spent in delivery.spent.items():
        left = delivery.budget.left(before[name].attempts, before[name].refusals)
        wrong = spent.over(left)
        if wrong:
            raise Violation(f"{delivery.who}: {name!r} of {delivery.key} {wrong}")


def _sum(spent: Iterable[Spent]) -> Spent:
    total = Spent()
    for one in spent:
        total.requests += one.requests
        total.answered += one.answered
        total.failed += one.failed
        total.refused += one.refused
    return total


def _largest(budgets: Iterable[Budget]) -> Budget:
    said = list(budgets)
    return Budget(
        max(one.attempts for one in said), max(one.refusals for one in said), any(one.moves for one in said)
    )


def _name(keyword: str, page: int) -> str:
    return f"{keyword}\0{page}"
