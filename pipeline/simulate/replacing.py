"""The simulated table as the compactor's commit sees it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import CatalogUnavailable
from pipeline.iceberg import UnknownOutcome
from pipeline.simulate.catalog import COMMIT_TAKES, Catalog, DataFile
from pipeline.simulate.faults import Faults, Life
from stages.tables import PAGES


class SimulatedGroup:
    """Files of the simulated table of pages, and the one that is to stand in their place."""

    def __init__(
        self, catalog: Catalog, faults: Faults, life: Life, old: Sequence[DataFile], new: DataFile
    ) -> None:
        self._catalog = catalog
        self._faults = faults
        self._life = life
        self._gone = set(map(id, old))
        self._new = new
        self._tries: set[int] = set()
        self._seen = catalog.current(PAGES.name)

    def look(self) -> None:
        """See the table as it is now."""
        self._faults.look(self._life, f"table {PAGES.name}", CatalogUnavailable)
        self._seen = self._catalog.current(PAGES.name)

    def landed(self) -> bool:
        """Whether a try so far is in the table's history."""
        landed = self._catalog.landed(self._tries)
        if landed:
            self._faults.note("compact", "finds its commit")
        return landed

    def still(self) -> bool:
        """Whether every file is there."""
        return self._gone <= set(map(id, self._seen.files))

    def replace(self) -> None:
        """Commit on what was seen, or lose."""
        seen = self._seen
        if self._faults.happens(self._faults.weather.conflict):
            # Another's commit of something else, between our look and our commit.
            self._catalog.commit(seen, seen.files)
        number = self._catalog.new_attempt()
        self._tries.add(number)
        kept = [file for file in seen.files if id(file) not in self._gone]
        self._faults.effect(
            self._life,
            "compaction",
            f"{PAGES.name} {self._new.rows}",
            lambda: self._catalog.commit(seen, [*kept, self._new], number),
            UnknownOutcome,
            takes=COMMIT_TAKES,
        )

    def discard(self) -> None:
        """No snapshot names the new file, and none ever will."""
