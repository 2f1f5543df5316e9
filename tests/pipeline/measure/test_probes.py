"""The functions and schedules as AWS has them: what its answers mean here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.errors import Misuse, Unavailable
from pipeline.measure.probes import Concurrency, Copy, ProbeDied, Probes
from pipeline.measure.schedules import Schedules
from stages.measure import Order
from tests.pipeline.measure.kit import FUNCTION, NAME, REGION, FakeLambda, FakeScheduler, refused

ORDER = Order("lifetime-20270115T080000Z-3f2a", 1_800_000_000.0)


def probes(client: Any) -> Probes:
    return Probes(client, NAME, sleep=lambda _seconds: None)


def test_copies_are_counted_from_the_one_without_a_number():
    """Two copies are ``serpline-probe`` and ``serpline-probe-1``."""
    found = probes(FakeLambda(3)).copies(2)
    assert found == (
        Copy(FUNCTION, f"{REGION}{FUNCTION}", 512),
        Copy(f"{FUNCTION}-1", f"{REGION}{FUNCTION}-1", 512),
    )


def test_the_account_says_how_many_may_run():
    """What is unreserved; less where the mapping hands over less; what is reserved for the probe instead."""
    client = FakeLambda(account=1000, unreserved=400)
    assert probes(client).concurrency() == Concurrency(1000, 400, None, 500)
    assert probes(client).concurrency().most == 400
    client.mapped = 50
    assert probes(client).concurrency().most == 50
    client.mapped, client.reserved = None, 20
    assert probes(client).concurrency().most == 20


def test_a_function_is_waited_for_until_it_is_what_it_should_be():
    """Lambda says so; one that never is, is told after a bounded time."""
    client = FakeLambda()
    probes(client).resize(FUNCTION, 256)
    assert client.updating <= 0
    stuck = FakeLambda()
    stuck.get_function_configuration = lambda FunctionName: {"LastUpdateStatus": "InProgress"}  # type: ignore[method-assign, assignment]  # noqa: ARG005, N803
    with pytest.raises(Unavailable, match="does not get its 256 MB"):
        probes(stuck).resize(FUNCTION, 256)


@pytest.mark.parametrize(
    ("body", "error", "what"),
    [
        (b'{"errorMessage": "2027 Task timed out after 120.00 seconds"}', "Unhandled", "Task timed out"),
        (b"not even json", "Unhandled", "not even json"),
        (b"[1]", "Unhandled", r"\[1\]"),
        (b'{"statusCode": 200}', "", "is no probe of this serpline"),
    ],
)
def test_a_probe_that_gives_no_reading_is_dead(body: bytes, error: str, what: str):
    """Whatever Lambda or the function said instead is told, in one line."""

    class Answering(FakeLambda):
        def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: ARG002, N803
            import io  # noqa: PLC0415

            return {"Payload": io.BytesIO(body), **({"FunctionError": error} if error else {})}

    with pytest.raises(ProbeDied, match=what):
        probes(Answering()).invoke(FUNCTION, ORDER)


def test_schedules_are_listed_page_by_page():
    """All of them, or those of one experiment."""
    client = FakeScheduler()
    schedules = Schedules(client, "serpline-measure")
    for slot in range(5):
        schedules.add(msgspec.structs.replace(ORDER, slot=slot), "arn", "role")
    assert len(list(schedules.names())) == 5
    assert list(schedules.names(f"{ORDER.experiment}-0-3")) == [f"{ORDER.experiment}-0-3"]
    schedules.remove(f"{ORDER.experiment}-0-3")
    schedules.remove(f"{ORDER.experiment}-0-3")
    assert len(list(schedules.names())) == 4


def test_a_scheduler_that_does_not_answer_is_told():
    """As every service; another code than those that are part of its life is not swallowed."""
    client = FakeScheduler()

    def busy(**_given: Any) -> Any:
        raise refused("ThrottlingException")

    client.create_schedule = client.list_schedules = busy  # type: ignore[method-assign]
    client.delete_schedule = busy  # type: ignore[method-assign, assignment]
    schedules = Schedules(client, "serpline-measure")
    with pytest.raises(Unavailable, match="the schedule group serpline-measure is busy"):
        schedules.add(ORDER, "arn", "role")
    with pytest.raises(Unavailable, match="busy"):
        list(schedules.names())
    with pytest.raises(Unavailable, match="busy"):
        schedules.remove("x")


def test_misuse_is_what_an_operator_can_mend():
    """No function at all: the variable that makes it is named."""
    with pytest.raises(Misuse, match=r"0 of 1 probe functions are deployed: set `measure = true`"):
        probes(FakeLambda(0)).copies(1)
