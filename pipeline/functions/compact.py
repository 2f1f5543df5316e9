"""Function compact: tables and views made, small files made few, complete runs marked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pipeline.athena_compaction import AthenaCompactor, workgroup
from pipeline.athena_statements import AthenaStatements
from pipeline.attaching import create_tables, write_down_tables
from pipeline.catalog import Tables
from pipeline.compaction import KEEP_HOURS, Compactor
from pipeline.errors import Unavailable
from pipeline.finishing import finish_complete_runs
from pipeline.functions.runtime import Opened, Remaining, open_function
from pipeline.run_events import BusEvents
from pipeline.view_catalog import create_views, drop_views
from stages.measure_views import MEASURE_VIEWS
from stages.tables import EVERY_TABLE, TABLES, TableSpec
from stages.views import VIEWS, View

Action = Callable[[Mapping[str, Any], Remaining], Any]


def open_compact() -> tuple[Opened, dict[str, Action]]:
    """The function's world, and its actions by name."""
    opened = open_function("compact", with_sources=False)

    def tables(event: Mapping[str, Any], remaining: Remaining) -> Any:
        catalog = opened.place.open_catalog()
        glue, database = opened.clients.glue, opened.settings.database
        if event.get("tf", {}).get("action") == "delete":
            # The bucket outlives the catalog: where each table was is written down for the next apply.
            return {"dropped": drop_views(glue, database), **write_down_tables(catalog, opened.place.storage)}
        specs, views = asked_for(event)
        made = _granted(lambda: create_tables(catalog, opened.place.storage, specs), opened, remaining)
        return {"tables": made, "views": create_views(glue, database, views)}

    def compact(_event: Mapping[str, Any], remaining: Remaining) -> Any:
        if opened.settings.compaction == "athena":
            return in_athena(opened, remaining)
        return in_function(opened, remaining)

    def ledger(_event: Mapping[str, Any], remaining: Remaining) -> Any:
        place = opened.place
        events = BusEvents(opened.clients.events, opened.settings.bus, opened.settings.name)
        done = finish_complete_runs(
            place.storage,
            Tables(place.open_catalog()),
            events,
            place.clock,
            lambda: place.clock() > remaining.until(),
        )
        opened.metrics.add("runs_completed", len(done))
        return {"complete": done}

    return opened, {"tables": tables, "compact": compact, "ledger": ledger}


SHARE = 2 / 3
"""Of a turn that compacts. The last group that was begun and the removal of what is old take the rest."""


def in_function(opened: Opened, remaining: Remaining) -> Any:
    """A turn of compaction here; what it does not reach is left to the next."""
    clock = opened.place.clock
    started = clock()
    end = started + SHARE * (remaining.until() - started)
    compactor = Compactor(opened.place.open_catalog(), opened.place.lake, late=lambda: clock() > end)
    done = []
    for upkeep in compactor.compact():
        done.append(msgspec.to_builtins(upkeep))
        opened.log.info(
            "table compacted",
            table=upkeep.table,
            partitions=len(upkeep.partitions),
            snapshots=upkeep.snapshots,
            removed=upkeep.removed.files,
            late=upkeep.late,
        )
    return done


def in_athena(opened: Opened, remaining: Remaining) -> Any:
    """A turn of compaction in Athena. Raises ``Unavailable`` at its end where a statement failed."""
    settings, place = opened.settings, opened.place
    compactor = AthenaCompactor(
        AthenaStatements(opened.clients.athena, workgroup(settings.name), settings.database),
        place.open_catalog(),
        late=lambda: place.clock() > remaining.until(),
        clock=place.clock,
    )
    done = []
    for ran in compactor.compact(KEEP_HOURS):
        done.append(ran)
        opened.log.info("statement", **msgspec.to_builtins(ran))
    failed = [ran for ran in done if ran.state == "failed"]
    if failed:
        raise Unavailable(
            f"{len(failed)} of {len(done)} statements failed in Athena; the next turn tries again. "
            f"The first: {failed[0].statement}: {failed[0].reason}"
        )
    return [msgspec.to_builtins(ran) for ran in done]


def asked_for(event: Mapping[str, Any]) -> tuple[tuple[TableSpec, ...], tuple[View, ...]]:
    """The tables and views that Terraform wants: with ``measure`` also those of measurements.

    Switched off again it asks for less, and what was made stays.
    """
    if event.get("measure"):
        return EVERY_TABLE, (*VIEWS, *MEASURE_VIEWS)
    return TABLES, VIEWS


GRANT_TRIES = 10
GRANT_PAUSE = 5.0
"""Seconds between tries: a role that was just made is not known everywhere at once."""


def _granted(make: Callable[[], Any], opened: Opened, remaining: Remaining) -> Any:
    for tried in range(GRANT_TRIES):
        try:
            return make()
        except Unavailable as error:
            late = opened.place.clock() + GRANT_PAUSE > remaining.until()
            if late or tried == GRANT_TRIES - 1:
                raise
            opened.log.warning("tables are not made yet", error=str(error))
            time.sleep(GRANT_PAUSE)
    raise AssertionError("the last try raises")
