"""Conducting: lanes take turns over time, never because an engine said no."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.conducting import CLOSED_LONG, Conducted, Turn, conduct, may_work, next_turn, shut
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.storage.folder import FolderStorage
from stages.pace import Lease, PaceState, lease
from stages.source import Politeness
from tests.pipeline.kit import Clock

LANES = ("first", "second", "third")
MINUTES = 15 * 60.0
OPEN = PaceState()


class FakeMappings:
    """Mappings that do as they are told at once, except those that are being changed."""

    def __init__(self, *on: str) -> None:
        self.on = set(on)
        self.changing: set[str] = set()
        self.switched: list[tuple[str, bool]] = []

    def works(self, mapping: str) -> bool | None:
        return None if mapping in self.changing else mapping in self.on

    def switch(self, mapping: str, *, on: bool) -> None:
        assert mapping not in self.changing
        self.switched.append((mapping, on))
        (self.on.add if on else self.on.discard)(mapping)


class Bench:
    """Looks at the lanes of one source."""

    def __init__(self, lake: Path) -> None:
        self.storage = FolderStorage(lake)
        self.mappings = FakeMappings()
        self.clock = Clock()

    def look(
        self,
        state: PaceState = OPEN,
        lanes: tuple[str, ...] = LANES,
        *,
        rest: float = 0.0,
        terms: Politeness | None = None,
    ) -> Conducted:
        return conduct(
            self.storage,
            self.mappings,
            "x",
            lanes,
            state,
            now=self.clock(),
            lane_seconds=MINUTES,
            rest_seconds=rest,
            terms=terms,
        )

    def worked(self, looks: int, lanes: tuple[str, ...], rest: float) -> list[int]:
        """The lanes that worked, look by look, one each minute."""
        done = []
        for _ in range(looks):
            done.append(self.look(lanes=lanes, rest=rest).lane)
            self.clock.now += 60
        return done

    def closed(self, for_: float) -> PaceState:
        return PaceState(closed_since=self.clock() - 10, closed_until=self.clock() + for_, refusals=1)

    def turn(self) -> Turn:
        return msgspec.json.decode(self.storage.get(keys.conduct("x")), type=Turn)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_one_lane_works_at_a_time_and_each_in_its_turn(bench: Bench):
    """Looked at every minute, each lane works for its time; after the last the first does."""
    worked = []
    for _ in range(60):
        done = bench.look()
        assert bench.mappings.on == {LANES[done.lane]}
        worked.append(done.lane)
        bench.clock.now += 60
    assert worked == [0] * 15 + [1] * 15 + [2] * 15 + [0] * 15


def test_who_rests_ceases_before_the_next_begins(bench: Bench):
    bench.look()
    bench.clock.now += MINUTES
    bench.mappings.switched.clear()
    assert bench.look() == Conducted(1, working=True, switched=2)
    assert bench.mappings.switched == [("first", False), ("second", True)]


def test_a_look_that_finds_all_as_it_should_be_changes_nothing(bench: Bench):
    bench.look()
    before = bench.turn()
    bench.clock.now += 60
    assert bench.look().switched == 0
    assert bench.turn() == before


def test_two_that_work_at_once_are_one_again(bench: Bench):
    """What somebody switched by hand, or an earlier look could not, is put right."""
    bench.mappings.on = set(LANES)
    bench.look()
    assert bench.mappings.on == {"first"}


@pytest.mark.parametrize("left", [-3600.0, 0.0, 60.0, CLOSED_LONG, CLOSED_LONG + 1, 86_400.0])
def test_while_a_source_is_closed_no_lane_takes_over(bench: Bench, left: float):
    """Also after its rest, while nobody has tried yet: the lane that was refused makes the trial."""
    bench.look()
    bench.clock.now += 10 * MINUTES
    done = bench.look(bench.closed(left))
    assert done.lane == 0
    assert bench.mappings.on <= {"first"}
    bench.clock.now += MINUTES
    assert bench.look(bench.closed(0.0)) == Conducted(0, working=True, switched=int(left > CLOSED_LONG))
    assert bench.mappings.on == {"first"}
    assert bench.look(OPEN).lane == 1


def test_only_what_is_closed_for_long_is_not_listened_to(bench: Bench):
    """A short rest is waited for in the queue; a long one disables the mapping, until two minutes before."""
    bench.look()
    assert bench.look(bench.closed(120.0)).working
    assert bench.mappings.on == {"first"}
    state = bench.closed(121.0)
    assert not bench.look(state).working
    assert bench.mappings.on == set()
    bench.clock.now += 1.0
    assert bench.look(state).working
    assert bench.mappings.on == {"first"}


def test_an_open_source_may_always_work():
    """What remains of an old closing means nothing once it was answered."""
    assert may_work(PaceState(closed_since=0.0, closed_until=1e12), 0.0)


def test_a_mapping_that_is_being_changed_is_left_for_the_next_look(bench: Bench):
    bench.look()
    bench.clock.now += MINUTES
    bench.mappings.changing = {"first", "second"}
    assert bench.look().switched == 0
    bench.mappings.changing = set()
    assert bench.look() == Conducted(1, working=True, switched=2)
    assert bench.mappings.on == {"second"}


def test_a_lane_that_was_removed_gives_its_turn_to_the_first(bench: Bench):
    """Fewer lanes after a deploy: the record names one that is no more."""
    for _ in range(3):
        bench.look()
        bench.clock.now += MINUTES
    assert bench.turn().lane == 2
    assert bench.look(lanes=LANES[:2]).lane == 0
    assert bench.turn() == Turn(0, bench.clock())


def test_a_lane_alone_keeps_its_turn(bench: Bench):
    for _ in range(3):
        assert bench.look(lanes=("only",)) == Conducted(0, working=True, switched=int(_ == 0))
        bench.clock.now += 10 * MINUTES
    assert bench.turn().since == Clock().now


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"lane": "x"}'])
def test_a_damaged_record_costs_a_lane_its_turn_and_nothing_else(bench: Bench, raw: bytes):
    bench.storage.put(keys.conduct("x"), raw)
    assert bench.look() == Conducted(0, working=True, switched=1)
    assert bench.turn() == Turn(0, bench.clock())


def test_a_record_of_an_impossible_lane_begins_anew():
    """Nothing names a lane that is not there."""
    for lane in (-1, 3, 99):
        assert next_turn(Turn(lane, 0.0), 3, OPEN, 50.0, MINUTES) == Turn(0, 50.0)


def test_a_source_closed_for_days_is_listened_to_so_that_no_message_expires(bench: Bench):
    """A queue forgets after ten days without a word; fetch ends what waited too long, with its reason."""
    for days, listens in ((0, False), (2, False), (4, True), (20, True)):
        state = PaceState(
            closed_since=bench.clock() - days * 86_400, closed_until=bench.clock() + 30 * 86_400
        )
        assert may_work(state, bench.clock()) is listens


@pytest.mark.parametrize("what", ["spent_until", "held_until"])
def test_a_source_without_quota_or_with_nothing_left_is_not_listened_to(bench: Bench, what: str):
    """Until two minutes before it may be asked again; it is open all the while, so lanes take their turns."""
    state = PaceState(**{what: bench.clock() + 3_600})
    assert not may_work(state, bench.clock())
    assert not bench.look(state).working
    assert bench.mappings.on == set()
    bench.clock.now += 3_600 - CLOSED_LONG
    assert bench.look(state).working
    assert bench.mappings.on == {LANES[1]}
    assert may_work(state, bench.clock() + 86_400)


def test_a_quota_is_waited_for_also_where_a_source_was_closed_for_days():
    """Closed for so long it would be listened to, but a request could not be made all the same."""
    now = 1.8e9
    state = PaceState(closed_since=now - 4 * 86_400, closed_until=now - 60, spent_until=now + 7_200)
    assert not may_work(state, now)
    assert may_work(state, now + 7_200 - CLOSED_LONG)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (OPEN, 0.0),
        (PaceState(closed_since=5.0, spent_until=1e12), 1.0),
        (PaceState(spent_until=101.0), 0.5),
        (PaceState(held_until=101.0), 0.5),
        (PaceState(spent_until=100.0, held_until=99.0), 0.0),
    ],
)
def test_a_spent_quota_is_neither_a_refusal_nor_a_stall(state: PaceState, told: float):
    """The alarm of refusals begins at 1; the one of tasks that nobody asks for is silent above 0."""
    assert shut(state, 100.0) == told
    alarms = (Path(__file__).parents[2] / "infra" / "terraform" / "alarms.tf").read_text()
    assert "SUM([closed, zero]) == 0 AND" in alarms


REST = 30 * 60.0
TWO = LANES[:2]


def test_a_lane_rests_as_long_as_is_said_before_its_next_turn(bench: Bench):
    """Two lanes of 15 minutes cannot both rest 30: the one that works goes on until the other has."""
    assert bench.worked(150, TWO, REST) == ([0] * 30 + [1] * 30) * 2 + [0] * 30


def test_three_lanes_rest_while_the_two_others_work(bench: Bench):
    """Once each had its first turn, nobody waits: two turns of the others are a rest."""
    bench.worked(75, LANES, REST)
    assert bench.worked(60, LANES, REST) == [0] * 15 + [1] * 15 + [2] * 15 + [0] * 15


def test_a_rest_begins_when_a_lane_is_seen_to_have_ceased(bench: Bench):
    """Told to cease it may take messages for a while: until then it does not rest."""
    bench.worked(30, TWO, REST)
    assert bench.look(lanes=TWO, rest=REST).lane == 1
    bench.mappings.changing = {"first"}
    bench.worked(10, TWO, REST)
    bench.mappings.changing = set()
    assert bench.worked(35, TWO, REST) == [1] * 29 + [0] * 6


def test_who_was_switched_on_by_hand_rests_anew(bench: Bench):
    bench.worked(31, TWO, REST)
    bench.clock.now += 20 * 60
    bench.mappings.on.add("first")
    assert bench.worked(31, TWO, REST) == [1] * 30 + [0]


def test_a_lane_alone_rests_for_nobody(bench: Bench):
    assert bench.worked(50, ("only",), REST) == [0] * 50


def test_a_record_without_rests_lets_nobody_take_over_too_soon(bench: Bench):
    """One of an earlier version: the other lane ceased when this turn began, at the latest."""
    bench.storage.put(keys.conduct("x"), b'{"lane":1,"since":%.1f}' % bench.clock())
    assert bench.worked(31, TWO, REST) == [1] * 30 + [0]


def test_the_lane_that_was_refused_makes_the_trial(bench: Bench):
    """Also where its turn had ended, and its last function was still asking: the turn is its own again."""
    pacer = Pacer(MemoryPaceStore(), bench.clock)
    bench.worked(16, TWO, 0.0)
    assert bench.look(lanes=TWO).lane == 1
    pacer.asking_for("r", "0").refuse("x", Politeness(rate=1.0), bench.clock() + 600, "http_429")
    # What another had on its way is refused a moment later: the trial is the first one's all the same.
    pacer.asking_for("r", "1").refuse("x", Politeness(rate=1.0), None, "http_429")
    closed = pacer.state("x")
    assert bench.look(closed, lanes=TWO) == Conducted(0, working=False, switched=1)
    bench.clock.now += 10 * MINUTES
    assert bench.look(closed, lanes=TWO) == Conducted(0, working=True, switched=1)
    assert bench.mappings.on == {"first"}
    pacer.lease("x", Politeness(rate=1.0), 1)
    pacer.asking_for("r", "1").refuse("x", Politeness(rate=1.0), None, "http_429")
    assert bench.look(pacer.state("x"), lanes=TWO).lane == 1
    bench.clock.now += 3_600
    pacer.lease("x", Politeness(rate=1.0), 1)
    pacer.answered("x")
    assert pacer.state("x").lane == ""


@pytest.mark.parametrize("lane", ["", "7", "x"])
def test_a_refused_lane_that_is_not_here_leaves_the_turn_as_it_is(bench: Bench, lane: str):
    """A worker of one's own, or a lane that was removed since."""
    bench.worked(16, TWO, 0.0)
    closed = msgspec.structs.replace(bench.closed(60), lane=lane)
    assert bench.look(closed, lanes=TWO).lane == 1


def test_a_quota_that_was_raised_is_used_at_once(bench: Bench):
    """What was spent was the old one: its day need not end. Raised to none it is as good."""
    small, now = Politeness(rate=1000.0, burst=1000, quota=10), bench.clock()
    spent, _ = lease(PaceState(), small, now, 100)
    assert not may_work(spent, now, small)
    for quota in (11, 0):
        raised = msgspec.structs.replace(small, quota=quota)
        assert may_work(spent, now, raised)
        assert isinstance(lease(spent, raised, now + 1, 100)[1], Lease)
        assert bench.look(spent, terms=raised).working


def test_what_waited_too_long_for_a_closed_source_is_ended_when_that_is_so(bench: Bench):
    """Fetch ends it, so it must be given the messages: after what the file says, not after three days."""
    hour = Politeness(rate=1.0, max_closed=3_600.0)
    for hours, listens in ((0, False), (0.9, False), (1.1, True), (60, True)):
        closed = PaceState(closed_since=bench.clock() - hours * 3_600, closed_until=bench.clock() + 86_400)
        assert may_work(closed, bench.clock(), hour) is listens
        assert bench.look(closed, terms=hour).working is listens
    week = Politeness(rate=1.0, max_closed=7 * 86_400.0)
    closed = PaceState(closed_since=bench.clock() - 4 * 86_400, closed_until=bench.clock() + 86_400)
    assert may_work(closed, bench.clock(), week)
