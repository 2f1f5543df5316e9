"""Runs: frozen before anything derives from them, found again, resumed and ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec

from pipeline import keys
from pipeline.errors import Unreadable
from pipeline.source_files import LoadedSource
from pipeline.storage.protocol import Storage
from stages.keyword_file import count_lines
from stages.records import MAX_BATCH, digest
from stages.run import (
    DEVICES,
    Options,
    Run,
    RunBy,
    batch_size_for,
    canonical_locale,
    parts_for,
    run_id_of,
)
from stages.spread import spread_batch, spread_seconds

_decoder = msgspec.json.Decoder(Run)

BATCH_SIZE = 100
"""Tasks of a batch where the source's rate allows so many in two minutes."""


RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a run id that a user chose may be."""


class Drop(msgspec.Struct, frozen=True):
    """A keyword file that was dropped: the object's key, what the user calls it, and its options.

    ``version`` of the object, where the storage keeps several; ``refused``: why nothing of it is asked;
    ``spread``: how many seconds it should last.
    """

    key: str
    name: str
    options: Options
    by: RunBy = "here"
    version: str = ""
    refused: str = ""
    spread: float = 0.0


class Given(msgspec.Struct, frozen=True):
    """What the one who dropped a file said of it, as text."""

    source: str | None = None
    locale: str | None = None
    device: str | None = None
    pages: str | None = None
    spread: str | None = None


def spread_of(given: Given) -> tuple[float, str]:
    """How many seconds the run should last, 0: nothing is said; and, in a sentence, why that cannot be."""
    if given.spread is None:
        return 0.0, ""
    seconds = spread_seconds(given.spread)
    if seconds is None:
        return 0.0, f"{given.spread!r} is no spread; write 90s, 45m, 6h or 2d, up to 30d"
    return seconds, ""


def new_options(
    given: Given, sources: Mapping[str, LoadedSource], source: str, device: str
) -> tuple[Options, str]:
    """The options of a run, with the ``source`` and ``device`` of those that name none.

    The second value says, in a sentence, what cannot be; it is empty where all can.
    """
    name = given.source if given.source is not None else source
    device = given.device if given.device is not None else device
    if name not in sources:
        return (
            Options(name, given.locale or "", device, 1),
            f"there is no source {name!r} here; there are: {', '.join(sorted(sources)) or 'none'}",
        )
    spec = sources[name].source.spec
    said = given.locale if given.locale is not None else spec.default_locale
    locale = canonical_locale(said)
    pages = int(given.pages) if given.pages is not None and given.pages.isdecimal() else 1
    options = Options(name, locale if locale is not None else said, device, pages)
    if locale is None:
        return options, f"{said!r} is no locale; write language and country, as in en-US"
    if spec.locales and locale not in spec.locales:
        return options, f"source {name} has no locale {locale}; it has: {', '.join(spec.locales)}"
    if device not in DEVICES:
        return options, f"{device!r} is no device; there are: {', '.join(DEVICES)}"
    if (given.pages is not None and not given.pages.isdecimal()) or not 1 <= pages <= spec.paging.most:
        return options, f"pages must be 1 to {spec.paging.most} for source {name}"
    return options, ""


def load_run(storage: Storage, run_id: str) -> Run:
    """The frozen run. Raises ``ObjectMissing`` for an unknown id, ``Unreadable`` for a damaged record."""
    return _decode(storage.get(keys.run(run_id)), run_id)


def find_run(storage: Storage, run_id: str) -> Run | None:
    """The frozen run, or None where there is none of this id."""
    raw = storage.find(keys.run(run_id))
    return _decode(raw, run_id) if raw is not None else None


def _decode(raw: bytes, run_id: str) -> Run:
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise Unreadable(f"the record of run {run_id} is damaged: {error}", key=keys.run(run_id)) from error


def all_runs(storage: Storage) -> Iterator[Run]:
    """Every run of the lake, in no order that means anything."""
    for key in storage.keys(keys.RUNS):
        if key.endswith("/run.json"):
            yield load_run(storage, key.split("/")[1])


def is_complete(storage: Storage, run_id: str) -> bool:
    """Whether the run was seen to account for every task."""
    return storage.find(keys.complete(run_id)) is not None


def unfinished_run_id(
    bucket: str,
    name: str,
    content: str,
    options: Options,
    finished: Callable[[str], bool],
    spread: float = 0.0,
) -> str:
    """The id of the run to go on with, or of a new one, for the same file, content and options.

    ``bucket`` is where it was dropped. The nth drop of the same thing has version n: the first n whose
    run is not complete is meant.
    """
    said = (*msgspec.structs.astuple(options), *([spread] if spread else []))
    asked = digest(content, *map(str, said), size=8)
    number = 1
    while finished(run_id := run_id_of(bucket, name, f"{asked}.{number}")):
        number += 1
    return run_id


def freeze_run(
    storage: Storage,
    run_id: str,
    drop: Drop,
    *,
    lines: int,
    sources: Mapping[str, LoadedSource],
    clock: Callable[[], float],
) -> Run:
    """Freeze a run of a dropped file of about so many lines, or give the one that was frozen before."""
    frozen = find_run(storage, run_id)
    if frozen is not None:
        return frozen
    now = clock()
    asked = sources.get(drop.options.source)
    run = Run(
        run_id=run_id,
        key=drop.key,
        name=drop.name,
        size=storage.size(drop.key, version=drop.version),
        options=drop.options,
        parts=parts_for(lines),
        batch_size=_batch_size(asked, drop, lines),
        run_date=datetime.fromtimestamp(now, UTC).date().isoformat(),
        created_at=now,
        sources={name: loaded.terms for name, loaded in sources.items()},
        software=version("serpline"),
        by=drop.by,
        version=drop.version,
        refused=drop.refused,
        spread=drop.spread,
    )
    if storage.put_new(keys.run(run_id), msgspec.json.encode(run)):
        return run
    return load_run(storage, run_id)


def _batch_size(asked: LoadedSource | None, drop: Drop, lines: int) -> int:
    """Tasks of a batch: fewer where a run is spread, so that its batches come one by one all the time."""
    size = batch_size(asked.source.spec.politeness.rate) if asked is not None else 1
    if drop.spread:
        size = min(size, spread_batch(lines * drop.options.pages, drop.spread))
    return size


def batch_size(rate: float) -> int:
    """Tasks of a batch of a source that may be asked so often a second."""
    return min(BATCH_SIZE, MAX_BATCH, batch_size_for(rate))


def lines_of(storage: Storage, key: str, version: str = "") -> int:
    """About how many lines a keyword file has. Raises ``Malformed`` where it is no keyword file."""
    with storage.open(key, version=version) as stream:
        return count_lines(stream, key.rpartition("/")[2], storage.size(key, version=version))


def finish_run(storage: Storage, run_id: str, now: float) -> None:
    """Mark a run complete."""
    storage.put(keys.complete(run_id), msgspec.json.encode({"run_id": run_id, "completed_at": now}))
    storage.delete(keys.unfinished(run_id))


def unfinished_runs(storage: Storage) -> Iterator[Run]:
    """The runs that were dropped and not yet seen complete."""
    for key in storage.keys(keys.UNFINISHED):
        run = find_run(storage, key.removeprefix(keys.UNFINISHED))
        # Without a run the mark is of a drop on its way, or of one whose file was gone.
        if run is not None:
            yield run


def clear_staging(storage: Storage, run_id: str) -> None:
    """Remove a complete run's staged objects, where no message of it can come any more."""
    for key in list(storage.keys(keys.staging(run_id))):
        storage.delete(key)
