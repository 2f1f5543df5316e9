"""Operators and schedules: who conducts, finishes, mends, reads and compacts while the stages work."""

from __future__ import annotations

from collections.abc import Callable

from pipeline import keys
from pipeline.catalog import Ledger
from pipeline.errors import Misuse, Permanent, PipelineError, StorageUnavailable, Unavailable
from pipeline.finishing import finish_complete_runs
from pipeline.functions.conduct import looking
from pipeline.functions.runtime import Opened, Remaining
from pipeline.metrics import MemoryMetrics
from pipeline.redrive import redrive
from pipeline.repair import repair
from pipeline.run_control import say
from pipeline.settings import Settings
from pipeline.settling import settle
from pipeline.simulate.deployment import LANES, SOURCES
from pipeline.simulate.faults import Killed, Life, Violation
from pipeline.simulate.world import NAME, World, mapping
from stages.run import Run
from stages.source import Politeness

CONDUCT_EVERY = 60.0
CONDUCT_TAKES = 60.0
LEDGER_EVERY = 300.0


class _Lambda:
    """What hands messages to the lanes, as Lambda's own client has it."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, str]:  # noqa: N803  # as boto3 has it
        """Being changed, now and then."""
        self._world.faults.look(self._life, UUID, Unavailable)
        if self._world.faults.happens(0.05):
            return {"State": "Updating"}
        return {"State": "Enabled" if self._world.mappings[UUID] else "Disabled"}

    def update_event_source_mapping(self, *, UUID: str, Enabled: bool) -> None:  # noqa: N803
        """At once."""

        def change() -> None:
            self._world.mappings[UUID] = Enabled

        self._world.faults.effect(self._life, "switch", f"{UUID} {Enabled}", change, Unavailable)


class _Clients:
    """The clients that conduct asks for."""

    def __init__(self, world: World, life: Life) -> None:
        self.lambda_ = _Lambda(world, life)


class _Invocation:
    """One call of the function."""

    aws_request_id = "simulated"

    def get_remaining_time_in_millis(self) -> int:
        """As long as a call may take."""
        return int(CONDUCT_TAKES * 1000)


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
    """The function conduct, invoked once."""
    deployed = world.deployment
    paces = {source: one.source.spec.politeness for source, one in deployed.loaded.items()}
    opened = Opened(
        settings=Settings(
            mappings={source: [mapping(source, lane) for lane in range(LANES)] for source in SOURCES},
            lane_minutes=deployed.lane_seconds / 60,
            lane_rest_minutes=deployed.lane_rest / 60,
            horizon=deployed.horizon,
        ),
        clients=_Clients(world, life),  # type: ignore[arg-type]  # what conduct asks of them
        place=world.place(life),
        metrics=MemoryMetrics(),  # type: ignore[arg-type]
        log=world.log,
    )
    remaining = Remaining(life.clock)
    remaining.begin(_Invocation())

    def terms_of(source: str) -> Politeness:
        world.faults.look(life, keys.own_source(source), StorageUnavailable)
        return paces[source]

    looking(opened, terms_of)({}, remaining)


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
