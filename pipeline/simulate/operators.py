"""Operators and schedules: who conducts, finishes, mends, reads and compacts while the stages work."""

from __future__ import annotations

from collections.abc import Callable

from pipeline import keys
from pipeline.backlog import Room, release
from pipeline.catalog import Ledger
from pipeline.conducting import conduct
from pipeline.errors import Misuse, Permanent, PipelineError, Unavailable
from pipeline.finishing import finish_complete_runs
from pipeline.redrive import redrive
from pipeline.repair import repair
from pipeline.run_control import say
from pipeline.settling import settle
from pipeline.simulate.deployment import LANES, SOURCES
from pipeline.simulate.faults import Killed, Life, Violation
from pipeline.simulate.world import NAME, World, mapping
from stages.run import Run

CONDUCT_EVERY = 60.0
LEDGER_EVERY = 300.0


class _Mappings:
    """What hands messages to the lanes."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life

    def works(self, mapping: str) -> bool | None:
        """None while it is being changed, now and then."""
        return None if self._world.faults.happens(0.05) else self._world.mappings[mapping]

    def switch(self, mapping: str, *, on: bool) -> None:
        """At once."""

        def change() -> None:
            self._world.mappings[mapping] = on

        self._world.faults.effect(self._life, "switch", f"{mapping} {on}", change, Unavailable)


class _Events:
    """Who wants to know that a run is complete."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life

    def complete(self, run: Run, ledger: Ledger) -> None:
        """Tell it."""

        def tell() -> None:
            assert ledger.complete  # noqa: S101  # or finishing would be wrong
            self._world.told[run.run_id] += 1

        self._world.faults.effect(self._life, "tell", run.run_id, tell, Unavailable)


def lives(world: World, name: str, act: Callable[[Life], None]) -> bool:
    """Do something in a life of its own; whether it was done."""
    life = world.faults.live(name)
    try:
        act(life)
    except Killed:
        return False
    except Misuse as error:
        world.faults.note(name, "told off", str(error)[:80])
        return False
    except Permanent as error:
        raise Violation(f"{name} was refused for good: {error}") from error
    except PipelineError as error:
        world.faults.note(name, "gave up", str(error)[:80])
        return False
    return True


def conductor(world: World) -> None:
    """Once a minute, as the schedule has it."""
    while True:
        lives(world, "conduct", lambda life: conduct_once(world, life))
        world.timeline.sleep(CONDUCT_EVERY)


def conduct_once(world: World, life: Life) -> None:
    """Lanes and backlog of every source."""
    storage, queues, pacer = world.storage(life), world.queues(life), world.pacer(life)
    for source in SOURCES:
        lanes = [mapping(source, lane) for lane in range(LANES)]
        conduct(
            storage,
            _Mappings(world, life),
            source,
            lanes,
            pacer.state(source),
            now=life.clock(),
            lane_seconds=world.deployment.lane_seconds,
        )
    for source in SOURCES:
        rate = world.deployment.loaded[source].source.spec.politeness.rate
        release(storage, queues, source, Room(rate, world.deployment.horizon))


def ledger_keeper(world: World) -> None:
    """Every few minutes, as the schedule has it."""
    while True:
        world.timeline.sleep(LEDGER_EVERY)
        lives(world, "ledger", lambda life: finish_once(world, life))


def finish_once(world: World, life: Life) -> None:
    """Mark what is complete."""
    finish_complete_runs(world.storage(life), world.tables(life), _Events(world, life), world.timeline)


def redrive_all(world: World, life: Life) -> None:
    """Dead messages of every queue, back to it."""
    queues = world.queues(life)
    for queue in (queues.keywords, *map(queues.fetch, SOURCES), queues.results):
        redrive(queue, clock=world.timeline, sleep=world.timeline.sleep)


def repair_run(world: World, life: Life, *, run: Run) -> None:
    """As the command does."""
    repair(world.place(life), run, world.tables(life), world.queues(life))


def settle_run(world: World, life: Life, *, run: Run) -> None:
    """As the command does."""
    settle(world.place(life), run, world.tables(life), world.queues(life))


def mend(world: World) -> None:
    """One act of somebody who has lost patience: redrive, repair or settle, whichever comes first."""
    what = world.random.choice(("redrive", "repair", "repair", "settle"))
    runs = world.runs()
    if what == "redrive" or not runs:
        lives(world, "redrive", lambda life: redrive_all(world, life))
        return
    run = world.random.choice(runs)
    act = repair_run if what == "repair" else settle_run
    world.faults.note("director", what, run.run_id)
    lives(world, what, lambda life: act(world, life, run=run))


def control(world: World) -> None:
    """Pause or resume a run, or now and then cancel it."""
    runs = world.runs()
    if runs:
        run = world.random.choice(runs)
        said = world.random.choice(("paused", "", "paused", "", "cancelled"))
        if (
            keys.control(run.run_id) in world.bucket.objects
            and b"cancelled" in world.bucket.objects[keys.control(run.run_id)]
        ):
            return
        world.faults.note("director", "control", f"{run.run_id} {said}")
        lives(
            world,
            "control",
            lambda life: say(world.storage(life), run.run_id, said, world.timeline.now),  # type: ignore[arg-type]
        )


QUEUES = (
    keys.keywords_queue(NAME),
    *(keys.fetch_queue(NAME, one) for one in SOURCES),
    keys.results_queue(NAME),
)


def resume(world: World, run: Run) -> None:
    """Take a pause back."""
    lives(world, "control", lambda life: say(world.storage(life), run.run_id, "", world.timeline.now))
