"""A keyword file of this machine into a lake, as a frozen run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path

from pipeline import keys
from pipeline.attaching import ready_tables
from pipeline.bootstrap import Place
from pipeline.errors import Misuse
from pipeline.runs import (
    RUN_ID,
    Drop,
    Given,
    find_run,
    finish_run,
    freeze_run,
    is_complete,
    lines_of,
    new_options,
    spread_of,
    unfinished_run_id,
)
from pipeline.settings import Settings
from pipeline.source_files import LoadedSource, pick_source
from stages.keyword_file import file_format
from stages.records import Malformed
from stages.run import Options, Run, RunBy


def drop_file(
    path: Path, given: Given, settings: Settings, place: Place, by: RunBy, run_id: str | None = None
) -> Run:
    """Store the file in the lake and freeze its run, or find the unfinished one of the same drop.

    ``given`` holds for rows that say nothing themselves. ``by`` says who runs it: a run that workers have
    messages of is never taken up here, or the other way. Raises ``Misuse`` for a file, source, locale or
    number of pages that cannot be.
    """
    content = content_hash(path)
    options = _options(given, settings, place.sources)
    spread, objection = spread_of(given)
    if objection:
        raise Misuse(objection)
    key = keys.dropped(content, path.name)
    if run_id is None:
        drop_point = f"{by}:{place.lake}"
        run_id = unfinished_run_id(drop_point, path.name, content, options, _is_finished(place), spread)
    elif not RUN_ID.fullmatch(run_id):
        raise Misuse("--run-id takes up to 64 letters, digits, _ and -")
    frozen = find_run(place.storage, run_id)
    if frozen is not None:
        if frozen.key != key or (frozen.options, frozen.spread) != (options, spread):
            raise Misuse(f"run {run_id} was made of {frozen.name} with other options; give another --run-id")
        if frozen.by != by:
            raise Misuse(
                f"run {run_id} is run by {frozen.by}; `serpline status {run_id}` shows how it goes on"
            )
        return frozen
    with path.open("rb") as file:
        place.storage.put_file(key, file)
    try:
        lines = lines_of(place.storage, key)
    except Malformed as error:
        raise Misuse(f"{path.name}: {error}") from error
    return freeze_run(
        place.storage,
        run_id,
        Drop(key, path.name, options, by, spread=spread),
        lines=lines,
        sources=place.sources,
        clock=place.clock,
    )


def _is_finished(place: Place) -> Callable[[str], bool]:
    """Whether a run is complete: by its mark, or by its ledger, which then earns it the mark."""

    def finished(run_id: str) -> bool:
        if is_complete(place.storage, run_id):
            return True
        run = find_run(place.storage, run_id)
        if run is None:
            return False
        tables = ready_tables(place.open_catalog(), place.storage)
        if not tables.ledger(run.run_id, run.run_date).complete:
            return False
        finish_run(place.storage, run_id, place.clock())
        return True

    return finished


def content_hash(path: Path) -> str:
    """What tells this keyword file from others. Raises ``Misuse`` where it is none, or cannot be read."""
    hashed = blake2b(digest_size=16)
    try:
        file_format(path.name)
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                hashed.update(piece)
    except Malformed as error:
        raise Misuse(str(error)) from error
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}") from error
    return hashed.hexdigest()


def _options(given: Given, settings: Settings, sources: Mapping[str, LoadedSource]) -> Options:
    pick_source(sources, given.source if given.source is not None else settings.source)
    options, objection = new_options(given, sources, settings.source, settings.device)
    if objection:
        raise Misuse(objection)
    return options
