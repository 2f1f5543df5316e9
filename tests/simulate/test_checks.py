"""The checks of a story look at what they say they look at."""

from __future__ import annotations

from random import Random

import pytest

from pipeline import keys
from pipeline.simulate import checks
from pipeline.simulate.deployment import Quota
from pipeline.simulate.faults import Life, Violation
from pipeline.simulate.operators import conduct_once
from pipeline.simulate.timeline import START
from pipeline.simulate.world import Parts, World
from stages.closings import noted
from stages.pace import GRACE, PaceState
from stages.records import Closing
from stages.tables import CLOSINGS


def closed_world() -> tuple[World, Closing]:
    """A world in which a source was closed by somebody who did not live to tell it."""
    world = World(Random(1), Parts())
    now = world.timeline.now
    state = PaceState(closed_since=now, closed_until=now + 60.0, refusals=1, reason="http_429")
    world.paces.store("alpha", noted(PaceState(), state, "alpha", now))
    [event] = world.paces.happened.values()
    return world, event


def commit(world: World, *rows: dict[str, str]) -> None:
    catalog = world.catalog
    current = catalog.current(CLOSINGS.name)
    catalog.commit(current, [*current.files, catalog.new_file(others=rows)])


def test_what_is_left_untold_is_told_by_the_function_conduct():
    """The real one: nothing else in a story tells what a killed fetch closed."""
    world, event = closed_world()
    with pytest.raises(Violation, match="nobody told 1 closings of alpha"):
        checks.check_told(world)
    conduct_once(world, Life("conduct", world.timeline))
    assert world.paces.state("alpha").untold == ()
    assert keys.staged_closing("alpha", event.id) in world.bucket.objects
    assert world.mail.depth(keys.results_queue("t")).waiting == 1
    with pytest.raises(Violation, match="1 closings have no row"):
        checks.check_told(world, unaided=True)
    world.losses.append(b'{"key":"' + keys.staged_closing("alpha", event.id).encode() + b'"}')
    checks.check_told(world, unaided=True)
    with pytest.raises(Violation, match="1 closings have no row"):
        checks.check_told(world)
    commit(world, {"id": event.id, "source": "alpha", "event": "closed"})
    checks.check_told(world)
    world.timeline.close()


def test_a_closing_that_never_happened_has_no_row():
    world, event = closed_world()
    world.paces.store("alpha", PaceState())
    commit(world, {"id": event.id, "source": "alpha", "event": "closed"})
    checks.check_told(world)
    commit(world, {"id": "other", "source": "alpha", "event": "closed"})
    with pytest.raises(Violation, match="never happened"):
        checks.check_told(world)
    world.timeline.close()


def test_a_closing_that_a_later_one_says_too_needs_no_row():
    """A state holds only so much untold: what went for a newer one is told by that."""
    world, event = closed_world()
    state = world.paces.state("alpha")
    longer = PaceState(closed_since=state.closed_since, closed_until=state.closed_until + 60.0, refusals=2)
    newer = noted(state, longer, "alpha", state.closed_since + 1.0)
    world.paces.store("alpha", newer)
    [later] = set(world.paces.happened) - {event.id}
    world.paces.store("alpha", PaceState())
    commit(world, {"id": later, "source": "alpha", "event": "closed"})
    checks.check_told(world)
    world.timeline.close()


def test_no_moment_holds_more_than_rate_and_burst():
    """By the highest pace of any release, with the grace of a slot and what clocks differ."""
    world = World(Random(1), Parts())
    terms = world.deployment.loaded["alpha"].source.spec.politeness
    interval = 1.0 / terms.rate
    fair = [START + n * interval for n in range(50)]
    world.engine.arrivals["alpha"] = [*[START] * (terms.burst - 1), *fair]
    checks.check_rate(world)
    late = 0.9 * GRACE
    world.engine.arrivals["alpha"] = [moment + late * (n % 2) for n, moment in enumerate(fair)]
    checks.check_rate(world)
    most = int(terms.burst + terms.rate * GRACE)
    world.engine.arrivals["alpha"] = [START] * (most + 1)
    with pytest.raises(Violation, match="source alpha was asked faster"):
        checks.check_rate(world)
    world.skew = 2 * interval
    checks.check_rate(world)
    world.engine.arrivals["alpha"] = [START + n * 0.9 * interval for n in range(10_000)]
    with pytest.raises(Violation, match="source alpha was asked faster"):
        checks.check_rate(world)
    world.timeline.close()


def test_a_day_holds_no_more_requests_than_its_quota():
    """By the engine's own day, which begins where it says so."""
    world = World(Random(1), Parts())
    world.quota = Quota("alpha", 2, "08:05")
    midnight = START - START % 86_400 + 8 * 3_600 + 5 * 60
    arrivals = world.engine.arrivals["alpha"] = [midnight - 60, midnight - 6, midnight + 6, midnight + 86_000]
    world.engine.arrivals["beta"] = [midnight] * 10
    checks.check_quota(world)
    arrivals.append(midnight + 86_390)
    with pytest.raises(Violation, match="asked 3 times"):
        checks.check_quota(world)
    world.timeline.close()
