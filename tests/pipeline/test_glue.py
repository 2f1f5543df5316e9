"""The tables in Glue and S3: lost replies, races, deletes, compaction, removal."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from pyiceberg.catalog import Catalog

from pipeline import iceberg
from pipeline.attaching import create_tables, write_down_tables
from pipeline.catalog import Committed, Tables
from pipeline.compaction import Compactor
from pipeline.errors import (
    CatalogUnavailable,
    CommitConflict,
    Misuse,
    PipelineError,
    StorageUnavailable,
)
from pipeline.expiry import remove_unnamed
from pipeline.glue import SureGlueCatalog, open_glue_catalog
from pipeline.iceberg import UnknownOutcome, find_table, translated
from pipeline.storage.folder import FolderStorage
from stages.shard import ShardRow
from stages.tables import PAGES, SHARDS
from tests.pipeline.aws import (
    DATABASE,
    KEYS,
    REGION,
    Lossy,
    batches,
    client,
    each_once,
    emulator,
    glue,
    pages_of,
    quick,
    refusal,
    rows_of,
    sure,
)
from tests.pipeline.query.deletes import delete_rows
from tests.pipeline.test_catalog import staged

__all__ = ["emulator", "glue", "sure"]


def stored_then(code: str) -> Callable[[Callable[[], Any]], Any]:
    def step(store: Callable[[], Any]) -> None:
        store()
        raise refusal(code)

    return step


def repeated(store: Callable[[], Any]) -> Any:
    """What botocore does when the first reply is lost."""
    store()
    return store()


def never(store: Callable[[], Any]) -> None:
    del store
    raise ReadTimeoutError(endpoint_url="glue")


def stored_unheard(store: Callable[[], Any]) -> None:
    store()
    raise ReadTimeoutError(endpoint_url="glue")


LOST = [repeated, stored_unheard, stored_then("ThrottlingException"), stored_then("InternalServiceException")]


@pytest.mark.parametrize("lost", LOST)
def test_a_commit_whose_reply_was_lost_is_a_commit(
    sure: SureGlueCatalog, glue: Lossy, lost: Callable[[Callable[[], Any]], Any]
):
    """It is in the table: no manifest of it is deleted, and the batch is not committed again."""
    tables = quick(sure)
    tables.create()
    tables.append_pages([staged(1)])
    glue.plan = [lost]
    assert tables.append_pages([staged(2)]) == Committed(3, 3, 0)
    assert each_once(sure) == batches(1, 2)
    assert len(pages_of(sure).snapshots()) == 2


def test_a_lost_reply_is_found_below_the_commits_of_others(sure: SureGlueCatalog, glue: Lossy):
    """Thirty others committed before we could look: the log of metadata files has forgotten ours."""
    tables = quick(sure)
    tables.create()

    def overtaken(store: Callable[[], Any]) -> Any:
        store()
        other = quick(sure)
        for number in range(10, 40):
            other.append_pages([staged(number, keywords=1)])
        return store()

    glue.plan = [overtaken]
    assert tables.append_pages([staged(1)]).pages == 3
    assert len(each_once(sure)) == 33
    assert set(each_once(sure).values()) == {1}


def test_a_race_that_was_lost_leaves_nothing(sure: SureGlueCatalog, glue: Lossy, tmp_path: Path):
    """Another was first for certain: what was written for our commit goes, and the next look commits it."""
    tables = quick(sure)
    tables.create()

    def beaten(store: Callable[[], Any]) -> Any:
        quick(sure).append_pages([staged(2)])
        return store()

    glue.plan = [beaten]
    assert tables.append_pages([staged(1)]).pages == 3
    assert each_once(sure) == batches(1, 2)
    metadata = [path.name for path in (tmp_path / "tables/pages/metadata").iterdir()]
    assert sorted(name[:5] for name in metadata if name.endswith(".json")) == ["00000", "00001", "00002"]
    assert sum(name.endswith(".avro") for name in metadata) == 4


def test_a_commit_that_may_still_come_keeps_its_files(sure: SureGlueCatalog, glue: Lossy):
    """No answer and nothing in the table yet: the attempt lands late, and everything it names is there."""
    tables = quick(sure)
    tables.create()
    late: list[Callable[[], Any]] = []

    def delayed(store: Callable[[], Any]) -> None:
        late.append(store)
        raise ReadTimeoutError(endpoint_url="glue")

    glue.plan = [delayed, never, never]
    with pytest.raises(UnknownOutcome, match="pages"):
        tables.append_pages([staged(1)])
    late[0]()
    assert each_once(sure) == batches(1)
    assert tables.append_pages([staged(1)]).already == 3


def test_an_attempt_without_an_answer_is_made_again(sure: SureGlueCatalog, glue: Lossy):
    tables = quick(sure)
    tables.create()
    glue.plan = [never, never]
    assert tables.append_pages([staged(1)]).pages == 3
    assert each_once(sure) == batches(1)


def test_a_concurrent_modification_of_nothing_is_no_lost_race(sure: SureGlueCatalog, glue: Lossy):
    """The version is still ours: an attempt may be under way, and so its files stay."""
    tables = quick(sure)
    tables.create()

    def spurious(store: Callable[[], Any]) -> None:
        store_later.append(store)
        raise glue.exceptions.ConcurrentModificationException(
            {"Error": {"Code": "ConcurrentModificationException"}}, "UpdateTable"
        )

    store_later: list[Callable[[], Any]] = []
    glue.plan = [spurious, never, never]
    with pytest.raises(CatalogUnavailable):
        tables.append_pages([staged(1)])
    store_later[0]()
    assert each_once(sure) == batches(1)


def test_a_refusal_is_told_as_it_is(sure: SureGlueCatalog, glue: Lossy):
    tables = quick(sure)
    tables.create()
    glue.plan = [lambda _: (_ for _ in ()).throw(refusal("AccessDeniedException"))]
    with pytest.raises(CatalogUnavailable, match="IAM"):
        tables.append_pages([staged(1)])


def test_compaction_keeps_what_a_lost_reply_committed(sure: SureGlueCatalog, glue: Lossy, tmp_path: Path):
    """New files are removed only where it is certain that no snapshot names them."""
    tables = quick(sure)
    tables.create()
    for number in range(4):
        tables.append_pages([staged(number)])
    before = rows_of(sure)
    for plan in ([repeated], [never, stored_unheard]):
        glue.plan = list(plan)
        [done, _, _] = Compactor(sure, tmp_path, sleep=lambda _: None).compact()
        assert done.partitions[0].given_up == 0
        assert rows_of(sure) == before
        tables.append_pages([staged(9)])
        before = rows_of(sure)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (refusal("ThrottlingException"), CatalogUnavailable),
        (refusal("InternalServiceException"), CatalogUnavailable),
        (refusal("OperationTimeoutException"), CatalogUnavailable),
        (refusal("ConcurrentModificationException"), CommitConflict),
        (ReadTimeoutError(endpoint_url="glue"), CatalogUnavailable),
        (EndpointConnectionError(endpoint_url="glue"), CatalogUnavailable),
        (OSError("AWS Error SLOW_DOWN during PutObject operation"), StorageUnavailable),
        (
            OSError("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28"),
            StorageUnavailable,
        ),
    ],
)
def test_errors_of_aws_are_ours(error: Exception, wanted: type[PipelineError]):
    with pytest.raises(wanted), translated():
        raise error


def test_compaction_needs_no_sqlalchemy():
    """The package of the heavy functions leaves it out."""
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "import pipeline.catalog, pipeline.compaction, pipeline.glue, pipeline.attaching\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])  # noqa: S603  # ours


def committed_by(writers: int, opened: Callable[[], Catalog], numbers: Sequence[int]) -> list[int]:
    """The pages that each commit put there, a batch of three in each."""
    local = threading.local()

    def commit(number: int) -> int:
        if not hasattr(local, "tables"):
            local.tables = Tables(opened())
        pages: int = local.tables.append_pages([staged(number)]).pages
        return pages

    with ThreadPoolExecutor(writers) as several:
        return list(several.map(commit, numbers))


def test_fifty_commits_sixteen_at_once_by_glue(glue: Lossy, tmp_path: Path):
    """Nobody fails for the others, no row is lost and none is there twice."""

    def opened() -> Catalog:
        return SureGlueCatalog(DATABASE, glue, warehouse=f"file://{tmp_path}/tables")

    Tables(opened()).create()
    assert committed_by(16, opened, range(50)) == [3] * 50
    assert each_once(opened()) == batches(*range(50))
    assert len(pages_of(opened()).snapshots()) == 50


# On the emulator.


@pytest.fixture
def aws(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Catalog]]:
    """A bucket and a database of a test's own; gives what opens their catalog."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    bucket = f"lake-{uuid4().hex[:12]}"
    database = bucket.replace("-", "_")
    client("s3", emulator).create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    client("glue", emulator).create_database(DatabaseInput={"Name": database})

    def opened() -> Catalog:
        return open_glue_catalog(client("glue", emulator), database, bucket, region=REGION, endpoint=emulator)

    yield opened
    client("glue", emulator).delete_database(Name=database)


def test_tables_in_glue_and_s3(aws: Callable[[], Catalog], tmp_path: Path):
    """Batches once, deletes applied, compacted, expired, removed, dropped and attached again."""
    catalog = aws()
    warehouse = catalog.properties["warehouse"]
    tables = Tables(catalog)
    tables.create()
    assert pages_of(catalog).location() == f"{warehouse}/pages"
    for number in range(4):
        assert tables.append_pages([staged(number), staged(0)]).pages == 3
    tables.append_shards([ShardRow("run1", "2026-11-23", "k.txt", 0, 1, 12, 12, 0, 0, tasks=12)])
    assert tables.ledger("run1", "2026-11-23").complete
    table = pages_of(catalog)
    file = min((task.file for task in table.scan().plan_files()), key=lambda one: one.file_path)
    delete_rows(table, file, [0, 2])
    before = rows_of(catalog)
    assert before.total() == 10
    lake = warehouse.removesuffix("/tables")
    [done, _, _] = Compactor(aws(), lake, scratch=tmp_path, clock=lambda: time.time() + 60).compact(0)
    assert (done.partitions[0].files, done.partitions[0].files_after) == (4, 1)
    assert done.snapshots == 5
    assert done.removed.files > 10
    assert rows_of(catalog) == before
    stored = [one.address for one in iceberg.stored_files(table.io, f"{warehouse}/pages/data")]
    assert stored == [task.file.file_path for task in pages_of(catalog).scan().plan_files()]
    assert tables.append_pages([staged(2), staged(9)]) == Committed(3, 3, 3)
    storage = FolderStorage(tmp_path)
    write_down_tables(catalog, storage)
    assert find_table(catalog, PAGES) is None
    assert create_tables(aws(), storage) == {
        "pages": "attached",
        "shards": "attached",
        "closings": "attached",
    }
    assert rows_of(catalog).total() == 13
    assert rows_of(catalog) > before


def test_contention_in_glue_loses_and_doubles_nothing(aws: Callable[[], Catalog]):
    """Ten batches, each committed by two of eight writers at once."""
    Tables(aws()).create()
    assert sum(committed_by(8, aws, [*range(10), *range(10)])) == 30
    assert each_once(aws()) == batches(*range(10))
    assert len(pages_of(aws()).snapshots()) == 10


def test_a_lost_reply_on_the_wire_format_of_glue(aws: Callable[[], Catalog]):
    """As above, with the errors that boto3 makes of the service's answers."""
    catalog = aws()
    glue = Lossy(catalog.glue)  # type: ignore[attr-defined]
    catalog.glue = glue  # type: ignore[attr-defined]
    tables = Tables(catalog)
    tables.create()
    glue.plan = [repeated]
    assert tables.append_pages([staged(1)]).pages == 3
    assert each_once(aws()) == batches(1)
    assert len(pages_of(aws()).snapshots()) == 1


def test_only_old_objects_that_no_snapshot_names_are_removed(aws: Callable[[], Catalog]):
    """Also one whose key has a mark that an address gives a meaning."""
    catalog = aws()
    Tables(catalog).create()
    Tables(catalog).append_pages([staged(1)])
    table = pages_of(catalog)
    fs = table.io.fs_by_scheme("s3", "")
    for name in ("pages/data/a b#c?d.parquet", "elsewhere/old.parquet"):
        with fs.open_output_stream(
            f"{table.location().rpartition('/')[0].removeprefix('s3://')}/{name}"
        ) as out:
            out.write(b"x")
    assert remove_unnamed(table, time.time() - 3600).files == 0
    assert iceberg.stored_files(table.io, table.location())
    removed = remove_unnamed(table, time.time() + 60)
    assert rows_of(catalog).total() == 3
    assert (removed.files, removed.bytes) == (1, 1)


def test_a_table_of_another_bucket_is_left_alone(aws: Callable[[], Catalog], tmp_path: Path):
    catalog = aws()
    Tables(catalog).create()
    for lake in ("s3://lake", tmp_path):
        with pytest.raises(Misuse, match="copied or moved"):
            list(Compactor(catalog, lake).compact(0))


def test_a_database_that_is_missing_is_a_sentence(aws: Callable[[], Catalog], emulator: str):
    bucket = aws().properties["warehouse"].split("/")[2]
    catalog = open_glue_catalog(client("glue", emulator), "nowhere", bucket, region=REGION, endpoint=emulator)
    with pytest.raises(CatalogUnavailable, match="nowhere"):
        Tables(catalog).append_shards([ShardRow("r", "2026-11-23", "k", 0, 1, 0, 0, 0, 0, tasks=0)])
    assert find_table(catalog, SHARDS) is None
