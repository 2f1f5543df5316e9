"""What was asked: budgets of tasks, and the excuses of deliveries that came to nothing."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.simulate.asking import Asking, Budget, Delivery
from pipeline.simulate.faults import Violation
from stages.records import Response
from tests.pipeline.kit import make_batch

BUDGET = Budget(attempts=3, refusals=2)
OK = Response(200, {}, b"", "", 5)
FAILED = Response(500, {}, b"", "", 5)
SHUT = Response(429, {}, b"", "", 5)


def asked(
    asking: Asking, answers: list[Response], *, cut: int = 0, stands: bool = True, **before: int
) -> Delivery:
    """A delivery of a batch of one task, which got these answers and staged them, or was killed."""
    batch = make_batch(["a"], cut=cut)
    tasks = (msgspec.structs.replace(batch.tasks[0], **before),)
    batch = msgspec.structs.replace(batch, tasks=tasks)
    delivery = asking.begin(batch, "one", BUDGET, staged=False)
    for answer in answers:
        asking.ask(delivery, "a", 1)
        asking.answered(delivery, "a", 1, answer, whole=True)
    if stands:
        asking.staged(delivery.key, asking.latest(delivery.key, "one"))
    asking.end(delivery, failed=not stands)
    return delivery


def test_requests_in_vain_need_an_excuse():
    """Asked and neither staged nor killed, failed or overtaken: amplification."""
    asking = Asking()
    delivery = asked(asking, [OK], stands=False)
    assert asking.check() == 1
    delivery.failed = False
    with pytest.raises(Violation, match="neither staged"):
        asking.check()
    delivery.overtaken = True
    assert asking.check() == 1
    again = asking.begin(make_batch(["a"]), "two", BUDGET, staged=True)
    with pytest.raises(Violation, match="staged before"):
        asking.ask(again, "a", 1)


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ([FAILED, SHUT, FAILED, OK], ""),
        ([FAILED, FAILED, FAILED], ""),
        ([FAILED, SHUT, SHUT], ""),
        ([FAILED, FAILED, FAILED, OK], "3 failures of 3"),
        ([SHUT, SHUT, OK], "2 refusals of 2"),
        ([OK, FAILED, OK], "2 answers"),
        ([FAILED, SHUT, FAILED, OK, OK], "asked 5 times; its budget is 4"),
    ],
)
def test_a_task_has_a_budget_of_requests(answers: list[Response], wrong: str):
    """One for the answer, and one less than it may fail and be refused; what ends it is the last."""
    asking = Asking()
    for cut, answer in enumerate(answers):
        asked(asking, [answer], cut=cut)
    if not wrong:
        assert asking.check() == 0
        return
    with pytest.raises(Violation, match=wrong):
        asking.check()


def test_a_delivery_in_vain_asks_no_more_than_what_is_left_of_the_budget():
    """Its excuse is for coming to nothing, not for asking again and again."""
    asking = Asking()
    asked(asking, [FAILED, FAILED], cut=2, stands=False, attempts=1, refusals=1)
    assert asking.check() == 2
    asked(asking, [FAILED, FAILED, OK], cut=2, stands=False, attempts=1, refusals=1)
    with pytest.raises(Violation, match="its budget is 2"):
        asking.check()


def test_what_lands_late_of_an_earlier_delivery_overtakes_its_own_process():
    """A process gave a write up, has the same cut in hand again, and there it is: it asked in vain."""
    asking = Asking()
    first = asked(asking, [OK], stands=False)
    given_up = asking.latest(first.key, "one")
    second = asking.begin(make_batch(["a"]), "one", BUDGET, staged=False)
    asking.ask(second, "a", 1)
    asking.staged(second.key, given_up)
    asking.end(second, failed=False)
    assert asking.check() == 1
    assert (first.stands, second.stands, second.overtaken) == (True, False, True)
