"""Readers and compaction: what is seen of the tables at any moment."""

from __future__ import annotations

from functools import partial

from pipeline import keys
from pipeline.errors import CatalogUnavailable
from pipeline.replacing import Replaced, replace_group
from pipeline.simulate.catalog import BatchKey, DataFile, Snapshot
from pipeline.simulate.faults import Life, Violation
from pipeline.simulate.operators import lives
from pipeline.simulate.world import World
from stages.compact import FileFacts, plan
from stages.records import Batch
from stages.staged import read_header
from stages.tables import PAGES

READ_EVERY = 45.0
COMPACT_EVERY = 50.0
MERGING = 20.0
"""Seconds that merging takes, at most."""

ROW_BYTES = 1_000
TARGET = 100 * ROW_BYTES
"""Small, so that files of a few batches are worth a compaction."""

NOTES: dict[Replaced, str] = {"replaced": "compacts", "given up": "gives up", "unknown": "does not know"}

Rows = tuple[tuple[str, int, str, str, str], ...]


class Reader:
    """Reads the table of pages again and again, and compares."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: dict[BatchKey, Rows] = {}
        self._pages: dict[str, int] = {}

    def work(self) -> None:
        """Until the simulation ends."""
        while True:
            self._world.timeline.sleep(self._world.random.random() * 2 * READ_EVERY)
            self.look()

    def look(self) -> None:
        """Read one snapshot, file by file, while others commit. Raises ``Violation``."""
        snapshot = self._world.catalog.current(PAGES.name)
        seen: dict[BatchKey, Rows] = {}
        for file in snapshot.files:
            self._world.timeline.sleep(self._world.random.random() * 0.5)
            for key, rows in file.pages.items():
                if key in seen:
                    raise Violation(f"a reader sees batch {key} twice in snapshot {snapshot.number}")
                seen[key] = rows
        for key, rows in self._before.items():
            if seen.get(key) != rows:
                raise Violation(
                    f"a reader saw batch {key}, and in snapshot {snapshot.number} sees other rows of it"
                )
        for key, rows in seen.items():
            if key not in self._before and len(rows) != self._staged_pages(key):
                raise Violation(
                    f"a reader sees {len(rows)} of {self._staged_pages(key)} pages of batch {key} "
                    f"in snapshot {snapshot.number}"
                )
        self._before = seen
        self._world.faults.note("reader", "reads", f"{snapshot.number} {len(seen)}")

    def _staged_pages(self, key: BatchKey) -> int:
        run_date, source, run_id, part, batch_no, cut = key
        batch = Batch(run_id, run_date, part, batch_no, source, "", "", (), cut)
        found = self._world.bucket.objects.get(keys.staged(batch))
        return read_header(found).pages if found is not None else 0


def compactor(world: World) -> None:
    """Merge small files of a partition into one, now and then."""
    while True:
        world.timeline.sleep(world.random.random() * 2 * COMPACT_EVERY)
        lives(world, "compact", partial(compact, world))


def compact(world: World, life: Life) -> None:
    """One turn over the table of pages, as the compactor does it."""
    seen = _look(world, life)
    by_partition: dict[object, list[DataFile]] = {}
    for file in seen.files:
        run_date, source, _, part, *_ = next(iter(file.pages))
        by_partition.setdefault((run_date, source, part), []).append(file)
    for files in by_partition.values():
        named = {str(file.number): file for file in files}
        facts = [FileFacts(name, file.rows * ROW_BYTES, file.rows) for name, file in named.items()]
        for group in plan(facts, TARGET):
            _replace(world, life, [named[fact.path] for fact in group])


def _look(world: World, life: Life) -> Snapshot:
    world.faults.look(life, f"table {PAGES.name}", CatalogUnavailable)
    return world.catalog.current(PAGES.name)


def _replace(world: World, life: Life, old: list[DataFile]) -> None:
    """Write what replaces these files, and commit it as the compactor does."""
    pages = {key: rows for file in old for key, rows in file.pages.items()}
    new = world.catalog.new_file(pages=pages)
    group = world.parts.group(world.catalog, world.faults, life, old, new)
    world.timeline.sleep(world.random.random() * MERGING)
    done = replace_group(group, world.timeline.sleep, world.random.random)
    world.faults.note("compact", NOTES[done], f"{len(old)}")
