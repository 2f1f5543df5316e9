"""One simulation: a seed's story from the first drop to the last row, and whether the invariants hold."""

from __future__ import annotations

import traceback
from functools import partial
from random import Random

import msgspec

from pipeline import keys
from pipeline.simulate import chaos, checks, operators
from pipeline.simulate.deployment import LANES, SOURCES
from pipeline.simulate.faults import LANDING, Life, Violation
from pipeline.simulate.processes import AggregateProcess, FetchProcess, ShardProcess, worker
from pipeline.simulate.readers import Reader, compactor
from pipeline.simulate.weather import CALM, draw_weather
from pipeline.simulate.world import Parts, World, mapping

TASKS = 500
SHOWN = 40
"""Events at the end of a trace that are shown."""

ROUNDS = 12
"""Times that mending is tried, in any order, before a run must be complete."""

LATE = 30
"""Messages that are delivered once more after the end."""

REST = 10_000
"""Minutes in which the queues must come to rest: days, where a quota is spent day after day."""

COPIES = 2


class Outcome(msgspec.Struct, frozen=True):
    """What became of one seed. ``violation`` is empty where every invariant held."""

    seed: int
    tasks: int
    violation: str
    hash: str
    runs: int
    requests: int
    in_vain: int
    kills: int
    counts: dict[str, int]
    seconds: float
    """Virtual ones."""
    last: list[str]


def simulate(seed: int, tasks: int = TASKS, parts: Parts | None = None) -> Outcome:
    """Simulate one seed. Nothing but the arguments and the code decides what comes of it."""
    random = Random(seed)  # noqa: S311  # a replay is the point
    world = World(random, parts if parts is not None else Parts(), tasks)
    began = world.timeline.now
    violation, in_vain = "", 0
    try:
        _story(world, tasks)
        in_vain = world.asking.check()
        checks.check_rate(world)
        checks.check_quota(world)
    except Violation as found:
        violation = str(found)
    # A defect of the pipeline, or of its model, is found by its seed like anything else.
    except Exception as error:  # noqa: BLE001
        violation = f"unexpected {''.join(traceback.format_exception(error)[-3:])}"
    # What the others do while they are ended is no part of the story.
    outcome = _outcome(world, seed, tasks, violation, in_vain, world.timeline.now - began)
    # Not where Ctrl-C came in the middle of another's turn: those threads end with the process.
    world.timeline.close()
    return outcome


def _outcome(  # what it is made of
    world: World, seed: int, tasks: int, violation: str, in_vain: int, seconds: float
) -> Outcome:
    counts = world.trace.counts
    return Outcome(
        seed=seed,
        tasks=tasks,
        violation=violation,
        hash=world.trace.hash,
        runs=len(world.drops),
        requests=world.asking.requests,
        in_vain=in_vain,
        kills=sum(count for what, count in counts.items() if what.startswith("killed")),
        counts=dict(sorted(counts.items())),
        seconds=seconds,
        last=world.trace.last(SHOWN),
    )


def _story(world: World, tasks: int) -> None:
    reader = Reader(world)
    world.faults.most = 20_000 + 200 * tasks
    world.faults.weather = draw_weather(world.random)
    world.skew = world.faults.weather.skew
    world.moves = world.faults.weather.engine_moves > 0
    world.faults.note("director", "weather", str(world.faults.weather))
    if world.quota is not None:
        world.faults.note("director", "quota", str(world.quota))
    _people(world, reader)
    chaos.play(world, tasks)
    world.faults.weather = CALM
    world.faults.note("director", "calm")
    # What was on its way when its sender gave it up lands, and is not newer than what comes now.
    world.timeline.sleep(LANDING)
    for run in world.runs():
        if b"paused" in world.bucket.objects.get(keys.control(run.run_id), b""):
            operators.resume(world, run)
    _rest(world)
    checks.check_unaided(world)
    checks.check_told(world, unaided=True)
    checks.check_pending(world)
    for dropped in world.drops:
        if checks.frozen(world, dropped.run_id) is None:
            # What was to say that the file is there was lost before anything was written down.
            chaos.send(world, dropped)
    _mend(world)
    _mend_closings(world)
    operators.lives(world, "ledger", lambda life: operators.finish_once(world, life))
    operators.lives(world, "ledger", lambda life: operators.finish_once(world, life))
    reader.look()
    checks.check_ends(world)
    checks.check_told(world)
    _late(world)
    checks.check_ends(world)
    checks.check_told(world)


def _people(world: World, reader: Reader) -> None:
    """Everybody who does something by himself."""
    spawn = world.timeline.spawn
    for copy in range(COPIES):
        for name, process in ((f"shard{copy}", ShardProcess), (f"aggregate{copy}", AggregateProcess)):
            spawn(name, partial(worker, world, name, process, _always))
        for source in SOURCES:
            for lane in range(LANES):
                _fetcher(world, source, lane, copy)
    spawn("conduct", lambda: operators.conductor(world))
    spawn("ledger", lambda: operators.ledger_keeper(world))
    spawn("reader", reader.work)
    for copy in range(2):  # by schedule, and by hand beside it
        spawn(f"compact{copy}", lambda: compactor(world))


def _always() -> bool:
    return True


def _fetcher(world: World, source: str, lane: int, copy: int) -> None:
    name = f"fetch-{source}-{lane}{copy}"

    def ready() -> bool:
        return world.mappings[mapping(source, lane)] and copy < world.deployment.copies

    def open_process(world: World, life: Life) -> FetchProcess:
        return FetchProcess(world, life, source, str(lane))

    world.timeline.spawn(name, lambda: worker(world, name, open_process, ready))


def _late(world: World) -> None:
    """Messages of long ago are delivered once more, what is dead is redriven; nobody asks because of it."""
    before = world.asking.requests
    world.faults.note("director", "late deliveries")
    for name, body in world.random.sample(world.mail.archive, min(LATE, len(world.mail.archive))):
        world.mail.put(name, [body])
    operators.lives(world, "redrive", lambda life: operators.redrive_all(world, life))
    _rest(world)
    if world.asking.requests != before:
        raise Violation(
            f"{world.asking.requests - before} requests came of late deliveries to runs that are complete"
        )


def _rest(world: World) -> None:
    """Wait until nothing is waiting or in flight any more. Raises ``Violation`` where that never comes."""
    quiet = 0
    for _ in range(REST):
        world.timeline.sleep(60.0)
        depths = [world.mail.depth(name) for name in operators.QUEUES]
        busy = sum(depth.waiting + depth.in_flight for depth in depths)
        held = any(key.startswith(keys.BACKLOG) for key in world.bucket.objects)
        quiet = 0 if busy or held else quiet + 1
        if quiet == 3:
            return
    raise Violation(f"the queues do not come to rest: {dict(zip(operators.QUEUES, depths, strict=True))}")


def _mend(world: World) -> None:
    """Make every run complete: by one repair alone, by one settling alone, or by anything in any order."""
    way = world.random.choice(("repair", "settle", "any"))
    rounds = ROUNDS if way == "any" else 1
    for number in range(rounds + 1):
        _rest(world)
        waiting = [run for run in world.runs() if not checks.ledger_of(world, run).complete]
        if not waiting:
            return
        for run in waiting:
            if way == "any" and number < ROUNDS // 2:
                operators.mend(world)
                continue
            # Nobody knows the tasks of a part that is not sharded, so nobody can settle it.
            sharded = not checks.unsharded_parts(world, run)
            act = operators.settle_run if way == "settle" and sharded else operators.repair_run
            world.faults.note("director", act.__name__, run.run_id)
            operators.lives(world, way, partial(act, world, run=run))
    told = "; ".join(f"{run.run_id}: {checks.standing(world, run)}" for run in waiting)
    raise Violation(f"runs are incomplete after {rounds} rounds of mending (by {way}): {told}")


def _mend_closings(world: World) -> None:
    """Closings whose pointers were lost: the repair of any run sends those of all sources again."""
    for run in world.runs():
        if not checks.untold(world):
            return
        world.faults.note("director", "repair closings", run.run_id)
        operators.lives(world, "repair", partial(operators.repair_run, world, run=run))
        _rest(world)
