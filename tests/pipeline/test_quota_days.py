"""A run that is larger than its source's quota: it takes days, and loses nothing on any of them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.backlog import BacklogOutlet, Room, release
from pipeline.cli.screen import why_idle
from pipeline.conducting import conduct
from pipeline.metrics import MemoryMetrics
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.queues.names import Queues
from pipeline.queues.protocol import Depth, Received, checked_delay
from pipeline.steps.fetch import FetchStep
from pipeline.steps.shard import ShardStep
from pipeline.storage.folder import FolderStorage
from stages.pace import PaceState
from stages.quota import DAY, MARGIN
from stages.run import ShardTask
from stages.staged import decode_staged
from tests.pipeline.kit import API, LOG, Clock, Engine, make_retriever, make_run
from tests.pipeline.test_conducting import FakeMappings

REMEMBERS = 10 * DAY
"""Seconds after which a queue forgets a message, as SQS does; a message that is sent again begins anew."""

QUOTA = 100
BATCH = 70
RATE = 10.0
HORIZON = 21_600.0
RESETS = 8 * 3_600.0
MIDNIGHT = 20_000 * DAY


class _Message(msgspec.Struct):
    body: bytes
    sent_at: float
    due: float
    number: int


class ForgettingQueue:
    """A queue that forgets what it held for ten days, and says how much that was."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._held: dict[int, _Message] = {}
        self._out: dict[int, _Message] = {}
        self._number = 0
        self.forgotten = 0
        self.oldest = 0.0

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:  # noqa: ARG002
        now = self._clock()
        for body in bodies:
            self._number += 1
            due = now + checked_delay(delay)
            self._held[self._number] = _Message(bytes(body), now, due, self._number)

    def receive(self, most: int, *, wait: float) -> list[Received]:  # noqa: ARG002
        self._forget()
        due = [message for message in self._held.values() if message.due <= self._clock()][:most]
        for message in due:
            self._out[message.number] = self._held.pop(message.number)
            self.oldest = max(self.oldest, self._clock() - message.sent_at)
        return [Received(message.body, 1, message.number, message.sent_at) for message in due]

    def ack(self, received: Received) -> None:
        del self._out[received.receipt]

    def depth(self) -> Depth:
        self._forget()
        return Depth(len(self._held), len(self._out))

    def close(self) -> None:
        pass

    def _forget(self) -> None:
        old = [message for message in self._held.values() if self._clock() - message.sent_at >= REMEMBERS]
        for message in old:
            del self._held[message.number]
        self.forgotten += len(old)


class ForgettingBroker:
    """Queues that forget."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.queues: dict[str, ForgettingQueue] = {}

    def queue(self, name: str) -> ForgettingQueue:
        return self.queues.setdefault(name, ForgettingQueue(name, self._clock))

    def close(self) -> None:
        pass


class Deployment:
    """Shard, fetch and conduct as they are, on fakes of what stands around them, with time that is told."""

    def __init__(self, lake: Path, quota: int = QUOTA, **politeness: float) -> None:
        self.storage = FolderStorage(lake)
        self.clock = Clock(MIDNIGHT + 20 * 3_600)
        self.broker = ForgettingBroker(self.clock)
        self.queues = Queues(self.broker, "t")
        self.mappings = FakeMappings()
        self.pacer = Pacer(MemoryPaceStore(), self.clock)
        self.engine = Engine(clock=self.clock)
        self.runner = asyncio.Runner()
        self.quota = quota
        self.released = 0
        self.deepest = 0
        terms = {"rate": RATE, "burst": 200, "concurrency": 1, "quota": quota, **politeness}
        retriever = make_retriever(self.engine, self.clock, self.pacer, **terms, quota_resets="07:00-08:00")
        self.fetch = FetchStep(
            self.storage, self.queues, retriever, self.runner, MemoryMetrics(), LOG, lambda _: math.inf
        )

    def drop(self, keywords: int) -> None:
        """Shard a file of so many keywords."""
        content = "".join(f"k{number}\n" for number in range(keywords)).encode()
        run = make_run("keywords/k.txt", size=len(content), batch_size=BATCH)
        self.storage.put(run.key, content)
        self.storage.put(keys.run(run.run_id), msgspec.json.encode(run))
        outlet = BacklogOutlet(self.storage, self.queues, {API: RATE}, HORIZON, {API: self.quota})
        step = ShardStep(self.storage, self.queues, MemoryMetrics(), LOG, outlet)
        step(msgspec.json.encode(ShardTask(run.run_id, 0)))

    def look(self) -> int:
        """One turn of conduct, and fetch with what is due then; gives the messages that came."""
        state, now = self.pacer.state(API), self.clock()
        conduct(self.storage, self.mappings, API, ["lane"], state, now=now, lane_seconds=900.0)
        room = Room(RATE, HORIZON, self.quota)
        self.released += release(self.storage, self.queues, API, room).tasks
        queue = self.queues.fetch(API)
        self.deepest = max(self.deepest, queue.depth().waiting)
        came = 0
        while self.mappings.on and (received := queue.receive(1, wait=0)):
            self.fetch(received[0].body)
            queue.ack(received[0])
            came += 1
        return came

    def run(self, days: float) -> None:
        """Looks every minute while something happens, else once an hour."""
        until = self.clock() + days * DAY
        while self.clock() < until and self.left:
            self.clock.now += 60.0 if self.look() else 3_600.0

    @property
    def left(self) -> bool:
        """Whether anything waits anywhere."""
        waits = any(True for _ in self.storage.keys(keys.BACKLOG))
        return waits or self.queues.fetch(API).depth().waiting > 0

    def pages(self) -> Iterator[tuple[str, str, int]]:
        """Keyword, status and attempts of every page that was staged."""
        for key in self.storage.keys(keys.STAGING):
            if not keys.is_shard(key):
                pages = decode_staged(self.storage.get(key)).columns.pages
                yield from zip(pages.keyword, pages.status, pages.attempts, strict=True)

    @property
    def asked_a_day(self) -> list[int]:
        """Requests in each day of the engine's, in their order."""
        return list(Counter((moment - RESETS) // DAY for moment in self.engine.moments).values())


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes a deployment, and closes it after the test."""
    made: list[Deployment] = []

    def make(**terms: Any) -> Deployment:
        made.append(Deployment(tmp_path, **terms))
        return made[-1]

    yield make
    for place in made:
        place.runner.close()


def test_ten_thousand_tasks_at_a_hundred_a_day_take_a_hundred_days(deploy: Callable[..., Deployment]):
    """None lost, none early, none twice; the queue holds a day's work, and no message gets old in it."""
    place = deploy()
    place.drop(10_000)
    place.run(days=120)
    assert Counter(place.pages()) == {(f"k{number}", "ok", 1): 1 for number in range(10_000)}
    assert len(place.engine.asked) == 10_000
    assert place.asked_a_day == [QUOTA] * 100
    assert place.engine.moments[-1] - (MIDNIGHT + RESETS) < 100 * DAY
    queue = place.broker.queue(keys.fetch_queue("t", API))
    assert queue.forgotten == 0
    assert queue.oldest < 2 * DAY
    assert place.deepest <= 2
    assert place.released > 9_000


def test_a_spent_quota_disables_the_mapping_until_just_before_the_new_day(deploy: Callable[..., Deployment]):
    """Batches that came would only be sent again; two minutes before the day they are taken."""
    place = deploy()
    place.drop(300)
    for _ in range(3):
        place.look()
        place.clock.now += 60
    assert place.asked_a_day == [QUOTA]
    assert place.mappings.on == set()
    opens = MIDNIGHT + DAY + RESETS + MARGIN
    place.clock.now = opens - 121
    place.look()
    assert place.mappings.on == set()
    place.clock.now = opens - 60
    place.look()
    assert place.mappings.on == {"lane"}
    assert place.asked_a_day == [QUOTA]
    place.clock.now = opens + 900
    place.run(days=0.1)
    assert place.asked_a_day == [QUOTA] * 2


def test_a_quota_is_no_closing(deploy: Callable[..., Deployment]):
    """Tasks that wait longer for it than for a closed source do not end as refused, nor spend an attempt."""
    place = deploy(quota=10, max_closed=3_600.0, rest=60.0)
    place.drop(35)
    place.run(days=2.6)
    assert {status for _, status, _ in place.pages()} == {"ok"}
    assert place.pacer.state(API).closed_since == 0
    place.run(days=3)
    assert Counter(place.pages()) == {(f"k{number}", "ok", 1): 1 for number in range(35)}
    assert place.asked_a_day == [10, 10, 10, 5]


@pytest.mark.parametrize(
    ("rate", "quota", "tasks"), [(1.0, 0, 21_600), (1.0, 100, 25), (0.0001, 100, 2.16), (1.0, 10**6, 21_600)]
)
def test_a_queue_has_room_for_what_rate_and_quota_reach(rate: float, quota: int, tasks: float):
    """Six hours of the slower of both."""
    assert Room(rate, HORIZON, quota).tasks == pytest.approx(tasks)


def test_who_watches_a_run_sees_why_nothing_is_asked():
    """A closing, a spent quota and what the engine's headers said are told apart; nothing else is said."""
    now = MIDNIGHT
    assert why_idle(PaceState(), now) == ""
    assert why_idle(PaceState(spent_until=now - 1, held_until=now), now) == ""
    assert "quota is spent" in why_idle(PaceState(spent_until=now + 5, held_until=now + 5), now)
    assert "allows no more until" in why_idle(PaceState(held_until=now + 5), now)
    closed = PaceState(closed_since=now, closed_until=now + 5, reason="http_429", spent_until=now + 9)
    assert "closed until" in why_idle(closed, now)
    assert "(http_429)" in why_idle(closed, now)
