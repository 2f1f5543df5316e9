"""robots.txt as a request among others: paced, refused, never the trial; and what it says of redirects."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from pipeline.http_client import Slot
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.robots import RobotsShelf
from pipeline.storage.folder import FolderStorage
from stages.records import Request, Response
from stages.robots import LIFETIME, Robots, allowed_by
from stages.source import Limits
from tests.pipeline.kit import API, answer, broken, http, make_retriever
from tests.pipeline.test_robots import Asking, said, statuses

FREE = said(200, b"")


class Scripted:
    """What a host answers to everything but its robots.txt, and what it was asked."""

    def __init__(self, asking: Asking, *answers: Response) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self._robots = asking.host.send
        asking.host.send = self.send  # type: ignore[method-assign]

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        if request.url.endswith("/robots.txt"):
            self.asked.append(request.url)
            return await self._robots(request, limits, slot)
        if slot is not None and not await slot():
            return broken("late")
        self.asked.append(request.url)
        response = self.answers.pop(0) if self.answers else answer("a")
        return msgspec.structs.replace(response, url=request.url)


def politely(asking: Asking, **terms: float) -> None:
    asking.retriever = make_retriever(asking.host, asking.clock, asking.pacer, **terms)


@pytest.mark.parametrize(
    "rules", [said(503), said(429), said(0, failure="timeout"), said(429, retry_after="60")]
)
def test_rules_that_stay_unreadable_end_tasks_after_max_closed(tmp_path: Path, rules: Response):
    """A host that never says what it allows is closed all the time, and rests longer each time."""
    asking = Asking(tmp_path, rules)
    politely(asking, max_closed=3_600, rest=60)
    start, states = asking.clock.now, []
    for _ in range(200):
        retrieved = asking.ask("a")
        states.append(asking.pacer.state(API))
        if not retrieved.left:
            break
        asking.clock.now += max(1.0, min(900.0, retrieved.delay))
    assert [page.status for page in retrieved.pages] == ["refused"]
    assert asking.clock.now - start <= 2 * 3_600
    assert {state.closed_since for state in states} == {start}
    assert max(state.refusals for state in states) >= 3
    assert asking.host.asked == []


def test_rules_that_can_be_read_do_not_reopen_a_source(tmp_path: Path):
    """A host that answers robots.txt and refuses every question rests longer and longer, day after day."""
    asking = Asking(tmp_path, FREE)
    politely(asking, rest=50_000, max_rest=86_400, max_closed=1e9)
    Scripted(asking, *[http(403)] * 20)
    rests = []
    for number in range(5):
        asking.ask(f"k{number}")
        state = asking.pacer.state(API)
        rests.append(state.closed_until - asking.clock.now)
        assert state.refusals == number + 1
        asking.clock.now = state.closed_until + 1
    assert rests == pytest.approx([50_000, 86_400, 86_400, 86_400, 86_400])
    assert asking.host.robots_asked >= 4


def test_behind_the_rules_the_next_request_is_the_trial(tmp_path: Path):
    """Of a batch of five one question is asked, and where that is refused no other."""
    asking = Asking(tmp_path, FREE)
    politely(asking, rest=60, concurrency=4)
    asking.pacer.refuse(API, asking.retriever.source.spec.politeness, None, "http_403")
    asking.clock.now += 61
    wire = Scripted(asking, http(403))
    assert len(asking.ask("a", "b", "c", "d", "e").left) == 5
    assert len(wire.asked) == 2
    assert asking.pacer.state(API).refusals == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_moment_that_rules_name_is_waited_for(tmp_path: Path, status: int):
    """Retry-After holds on robots.txt as on any answer."""
    asking = Asking(tmp_path, said(status, **{"retry-after": "3600"}))
    politely(asking, rest=60)
    assert asking.ask("a").delay == pytest.approx(3_600)
    assert asking.pacer.state(API).closed_until == pytest.approx(asking.clock.now + 3_600)


def test_a_slot_for_the_rules_that_passed_is_forfeited(tmp_path: Path):
    """Used late, it would bunch up with the next one."""

    class Late(Pacer):
        """Its first answer takes a second to arrive."""

        late = True

        def lease(self, *args, **fields):
            granted = super().lease(*args, **fields)
            if self.late:
                self.late = False
                time.sleep(0.9)
            return granted

    asking = Asking(tmp_path, FREE)
    moments: list[float] = []
    pacer = Late(MemoryPaceStore(), time.time)
    asking.clock = time.time  # type: ignore[assignment]
    asking.retriever = make_retriever(asking.host, time.time, pacer, rate=2, burst=1, quota=100)
    wire = Scripted(asking)
    plain = wire.send

    async def send(request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        response = await plain(request, limits, slot)
        moments.append(time.time())
        return response

    asking.host.send = send  # type: ignore[method-assign]
    asking.ask("a")
    robots_at, question_at = moments
    assert question_at - robots_at >= 0.45
    # The slot that passed was nobody's request, so the day's quota has it still.
    assert pacer.state(API).quota_used == 2


def test_rules_are_not_asked_for_while_the_engine_has_nothing_left(tmp_path: Path):
    """What its headers said a moment ago holds for robots.txt too, and the answer's own headers hold next."""
    spent = said(200, **{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "900"})
    asking = Asking(tmp_path, spent)
    politely(asking, concurrency=1)
    retrieved = asking.ask("a", "b")
    assert asking.host.asked == []
    assert retrieved.delay == pytest.approx(900)


SORRY = b"User-agent: *\nDisallow: /sorry\n"


def test_a_redirect_into_what_is_disallowed_is_not_followed(tmp_path: Path):
    """The task ends as ``refused/robots``, with the one request that was made."""
    asking = Asking(tmp_path, said(200, SORRY))
    wire = Scripted(asking, http(302, location="/sorry/index?q=a&page=1"))
    assert statuses(asking.ask("a")) == {"a": ("refused", "robots", 1)}
    assert [url for url in wire.asked if "/sorry" in url] == []


def test_another_host_s_rules_are_read_before_a_redirect_there_is_followed(tmp_path: Path):
    """Each allowed host has its own robots.txt; the others of the batch go on meanwhile."""
    there = "http://127.0.0.1:9999/api/search?q=a&page=1"
    for rules, expected in ((said(200, b"User-agent: *\nDisallow: /api\n"), "robots"), (FREE, "")):
        asking = Asking(tmp_path / expected, FREE, rules)
        source = asking.retriever.source
        both = msgspec.structs.replace(source, hosts=source.hosts | {"127.0.0.1:9999"})
        asking.retriever = msgspec.structs.replace(asking.retriever, source=both)
        wire = Scripted(asking, http(302, location=there))
        found = statuses(asking.ask("a", "b"))
        assert found["b"] == ("ok", "", 1)
        assert found["a"] == (("refused", "robots", 1) if expected else ("ok", "", 2))
        assert wire.asked.count("http://127.0.0.1:9999/robots.txt") == 1
        assert wire.asked.count(there) == (0 if expected else 1)


def test_a_redirect_to_a_host_without_readable_rules_ends(tmp_path: Path):
    """It is not followed, and spends attempts until they are spent: nobody is asked for ever."""
    asking = Asking(tmp_path, FREE, said(503))
    source = asking.retriever.source
    both = msgspec.structs.replace(source, hosts=source.hosts | {"127.0.0.1:9999"})
    asking.retriever = msgspec.structs.replace(asking.retriever, source=both)
    wire = Scripted(asking, http(302, location="http://127.0.0.1:9999/api/search?q=a&page=1"))
    (left,) = asking.ask("a").left
    assert left.attempts == 1
    assert [url for url in wire.asked if "9999/api" in url] == []


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("User-agent: *\nDisallow:\n\nUser-agent: example\nDisallow: /\n", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: org\nAllow: /\n", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: you@example.org\nAllow: /\n", False),
        ("User-agent: *\nAllow: /\n\nUser-agent: Serpline\nDisallow: /\n", False),
        ("User-agent: *\nAllow: /\n\nuser-agent: SERPLINE/9.1 (all of them)\r\nDisallow: /\n", False),
        ("User-agent: *\nAllow: /\n\nUser-agent: serpline-images\nDisallow: /\n", True),
    ],
)
def test_the_group_is_found_by_the_product_s_name_alone(rules: str, *, allowed: bool):
    """Neither the operator's contact nor the version has a say in whose rules hold (RFC 9309, 2.2.1)."""
    asked = allowed_by(Robots(0.0, "rules", rules), "serpline/1.2 (+you@example.org)")
    assert asked("http://h/search") is allowed


def test_what_another_process_read_is_seen_when_the_own_copy_is_out_of_date(tmp_path: Path):
    """A process of several days asks no host for what the fleet knows."""
    now = 1_800_000_000.0
    storage = FolderStorage(tmp_path)
    ours, theirs = (RobotsShelf(storage, lambda: now) for _ in range(2))
    ours.keep("http://h/", Robots(now, "none"))
    now += LIFETIME + 1
    assert ours.find("http://h/") is None
    theirs.keep("http://h/", Robots(now, "rules", "User-agent: *\nDisallow: /\n"))
    found = ours.find("http://h/")
    assert found is not None
    assert found.kind == "rules"
