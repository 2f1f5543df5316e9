"""The invariants, checked from outside: what was dropped against what stands in the tables."""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

import msgspec

from pipeline import keys
from pipeline.catalog import Ledger
from pipeline.pending import pending, unsharded
from pipeline.simulate.catalog import SimulatedTables
from pipeline.simulate.faults import Life, Violation
from pipeline.simulate.files import KeywordFile, TaskKey
from pipeline.simulate.storage import SimulatedStorage
from pipeline.simulate.timeline import START
from pipeline.simulate.world import World
from stages.pace import GRACE
from stages.quota import DAY, read_resets
from stages.run import Run
from stages.staged import decode_staged
from stages.tables import CLOSINGS, PAGES, SHARDS

_AUDITOR = Life("auditor")


def ledger_of(world: World, run: Run) -> Ledger:
    """What the tables say of a run."""
    return _tables(world).ledger(run.run_id, run.run_date)


def standing(world: World, run: Run) -> str:
    """How far a run is, in words."""
    ledger = ledger_of(world, run)
    tasks = sum(row.tasks for row in ledger.shards)
    return f"{len(ledger.shards)} of {run.parts} parts sharded, {sum(ledger.pages.values())} of {tasks} pages"


def frozen(world: World, run_id: str) -> Run | None:
    """The run, if it was frozen."""
    raw = world.bucket.objects.get(keys.run(run_id))
    return msgspec.json.decode(raw, type=Run) if raw is not None else None


def lost_runs(world: World) -> set[str]:
    """Runs of which a message expired or was buried: they may need to be mended."""
    lost: set[str] = set()
    for body in world.losses:
        for dropped in world.drops:
            if dropped.run_id.encode() in body or body == dropped.event:
                lost.add(dropped.run_id)
    return lost


def check_unaided(world: World) -> None:
    """A run of which no message was lost ends by itself. Raises ``Violation``."""
    lost = lost_runs(world)
    for dropped in world.drops:
        if dropped.run_id in lost:
            continue
        run = frozen(world, dropped.run_id)
        if run is None:
            raise Violation(f"{dropped.file.key} was never frozen, though no message of it was lost")
        if not ledger_of(world, run).complete:
            raise Violation(
                f"run {run.run_id} is incomplete with all queues empty, though no message of it was lost: "
                f"{standing(world, run)}"
            )


def unsharded_parts(world: World, run: Run) -> tuple[int, ...]:
    """The parts of a run that only sharding can mend."""
    storage = SimulatedStorage(world.bucket, world.unharmed, _AUDITOR, _reads)
    return unsharded(storage, run, ledger_of(world, run)).lost


def check_pending(world: World) -> None:
    """What is missing of each run is said by ``pending``, task by task. Raises ``Violation``."""
    tables = _tables(world)
    storage = SimulatedStorage(world.bucket, world.unharmed, _AUDITOR, _reads)
    for run in world.runs():
        ledger = ledger_of(world, run)
        rows = {row.part: row for row in ledger.shards}
        if set(unsharded(storage, run, ledger).lost) & set(rows):
            raise Violation(f"run {run.run_id}: a part with a row is said to be unsharded")
        for part, row in rows.items():
            missing = 0
            for lacking in pending(storage, tables, run, part):
                told = sum(pointer.pages for pointer in lacking.staged)
                told += len(lacking.open.tasks) if lacking.open is not None else 0
                if told != lacking.tasks:
                    raise Violation(
                        f"run {run.run_id}, part {part}: {lacking.tasks} tasks are missing, but staged "
                        f"objects and open cut hold {told}"
                    )
                missing += lacking.tasks
            there = sum(tables.cuts(run.run_id, run.run_date, part).values())
            if there + missing != row.tasks:
                raise Violation(
                    f"run {run.run_id}, part {part}: {there} pages and {missing} pending are not "
                    f"{row.tasks} tasks"
                )


def check_ends(world: World) -> None:
    """Every run is complete, each task exactly one row, and it was told. Raises ``Violation``."""
    rows = _rows_by_run(world)
    for dropped in world.drops:
        run = frozen(world, dropped.run_id)
        if run is None:
            raise Violation(f"{dropped.file.key} was never frozen")
        file = world.replaced.get((run.key, run.version), dropped.file)
        _check_lines(world, file, run)
        tasks = file.expected(run)[0]
        found = rows.pop(run.run_id, Counter())
        if found != tasks:
            raise Violation(f"run {run.run_id}: {_difference(tasks, found)}")
        if keys.complete(run.run_id) not in world.bucket.objects or not world.told[run.run_id]:
            raise Violation(f"run {run.run_id} is complete, but was not marked so or nobody was told")
        if keys.unfinished(run.run_id) in world.bucket.objects:
            raise Violation(f"run {run.run_id} is complete, but still marked as unfinished")
    if rows:
        raise Violation(f"pages of runs that nobody dropped: {sorted(rows)}")
    check_staged(world)


def check_staged(world: World) -> None:
    """What stands in the table is what stands in the staged objects. Raises ``Violation``."""
    for key, pages in world.catalog.current(PAGES.name).batches():
        _, _, run_id, part, batch_no, cut = key
        staged = decode_staged(world.bucket.objects[f"{keys.staging(run_id)}{part}/{batch_no}-{cut}.json.gz"])
        columns = staged.columns.pages
        told = Counter(zip(columns.keyword, columns.page, columns.status, strict=True))
        if told != Counter((keyword, page, status) for keyword, page, _, _, status in pages):
            raise Violation(f"batch {key} stands in the table otherwise than in its staged object")


def untold(world: World) -> set[str]:
    """Closings and reopenings without a row of their own or of a later one that says it, by id."""
    rows = {row["id"] for file in world.catalog.current(CLOSINGS.name).files for row in file.others}
    return set(world.paces.happened) - world.paces.merged - rows


def check_told(world: World, *, unaided: bool = False) -> None:
    """Whatever was a closing or reopening has its row, and nothing else has one. Raises ``Violation``.

    ``unaided``: but for those whose pointers were lost. That no row is there twice is seen at each commit.
    """
    for source, state in world.paces.states.items():
        if state.untold:
            raise Violation(f"nobody told {len(state.untold)} closings of {source}: {state.untold[0]}")
    missing = untold(world)
    if unaided:
        lost = b"\n".join(world.losses)
        missing = {one for one in missing if one.encode() not in lost}
    if missing:
        what = world.paces.happened[min(missing)]
        raise Violation(f"{len(missing)} closings have no row, among them {what}")
    rows = [row for file in world.catalog.current(CLOSINGS.name).files for row in file.others]
    for row in rows:
        event = world.paces.happened.get(row["id"])
        if event is None or (row["source"], row["event"]) != (event.source, event.event):
            raise Violation(f"a row of closings tells what never happened: {row}")


def check_quota(world: World) -> None:
    """No day of the engine holds more requests than its quota. Raises ``Violation``."""
    if world.quota is None:
        return
    first, _ = read_resets(world.quota.resets)
    moments = world.engine.arrivals.get(world.quota.source, [])
    for day, count in Counter((moment - first) // DAY for moment in moments).items():
        if count > world.quota.requests:
            raise Violation(
                f"{world.quota.source} was asked {count} times on day {day:.0f}; "
                f"its quota is {world.quota.requests}"
            )


def check_rate(world: World) -> None:
    """No window of w seconds holds more than rate * (w + skew + 0.25) + burst requests. Raises ``Violation``.

    The rate is the highest of any release: what was leased at an old one may be used beside a new one.
    """
    for source, moments in world.engine.arrivals.items():
        paces = [one.loaded[source].source.spec.politeness for one in world.deployments]
        rate, burst = max(pace.rate for pace in paces), max(pace.burst for pace in paces)
        most = burst + rate * (GRACE + world.skew) + 1e-6
        level, before = 0.0, 0.0
        for moment in moments:
            level = max(0.0, level - (moment - before) * rate) + 1
            before = moment
            if level > most:
                raise Violation(
                    f"source {source} was asked faster than {rate:g} a second with a burst of {burst}: "
                    f"{level:.1f} requests too close together at {moment - START:.3f}"
                )


def _check_lines(world: World, file: KeywordFile, run: Run) -> None:
    _, kept, duplicates, rejected = file.expected(run)
    shards = world.catalog.current(SHARDS.name).files
    rows = [row for file in shards for row in file.others if row["run_id"] == run.run_id]
    if sorted(row["part"] for row in rows) != list(range(run.parts)):
        raise Violation(f"run {run.run_id} has shard rows of parts {sorted(row['part'] for row in rows)}")
    told = tuple(sum(row[name] for row in rows) for name in ("lines", "kept", "duplicates", "rejected"))
    if told != (kept + duplicates + rejected, kept, duplicates, rejected):
        raise Violation(
            f"run {run.run_id}: lines, kept, duplicates and rejects are {told}; the file has "
            f"{kept + duplicates + rejected}, {kept}, {duplicates} and {rejected}"
        )
    noted = sum(
        body.count(b"\n")
        for key, body in world.bucket.objects.items()
        if key.startswith(keys.rejects(run.run_id, 0).rpartition("0")[0])
    )
    # Each part of a file that was refused says so.
    rejects = run.parts if run.refused else rejected
    if noted != rejects:
        raise Violation(f"run {run.run_id} wrote down {noted} of {rejects} rejects")


def _rows_by_run(world: World) -> dict[str, Counter[TaskKey]]:
    rows: dict[str, Counter[TaskKey]] = {}
    for (_, source, run_id, *_), pages in world.catalog.current(PAGES.name).batches():
        of_run = rows.setdefault(run_id, Counter())
        for keyword, page, locale, device, _ in pages:
            of_run[source, locale, device, keyword, page] += 1
    return rows


def _difference(tasks: Counter[TaskKey], found: Counter[TaskKey]) -> str:
    lost, extra = tasks - found, found - tasks
    return (
        f"{lost.total()} tasks have no row ({', '.join(map(str, list(lost)[:3]))}) and {extra.total()} rows "
        f"are too many ({', '.join(map(str, list(extra)[:3]))})"
    )


def _reads(key: str) -> NoReturn:
    raise AssertionError(f"an auditor writes nothing, and not {key}")


def _tables(world: World) -> SimulatedTables:
    return SimulatedTables(world.catalog, world.unharmed, _AUDITOR, 1)
