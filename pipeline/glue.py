"""The catalog on AWS: Glue and S3, with commits whose outcome is looked up before anybody acts on it.

botocore repeats an UpdateTable whose reply was lost. The repetition then meets our own first attempt
and is told of a concurrent modification; the library takes that for a lost race and deletes the
manifests of a commit that is in the table. Here Glue is asked what it holds before an error leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pyarrow.fs import AwsStandardS3RetryStrategy, FileSystem, S3FileSystem
from pyiceberg.catalog import METADATA_LOCATION, Catalog
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.io import FileIO, OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.update import AddSnapshotUpdate, TableRequirement, TableUpdate
from pyiceberg.typedef import EMPTY_DICT, Properties

from pipeline import keys
from pipeline.iceberg import UnknownOutcome, code_of

if TYPE_CHECKING:
    from mypy_boto3_glue.client import GlueClient
    from mypy_boto3_glue.type_defs import TableInputTypeDef

LOOKS = (0.0, 0.2, 1.0)
"""Seconds before each look for a commit without a certain answer."""

_REFUSED = {
    "AccessDeniedException",
    "InvalidInputException",
    "ResourceNumberLimitExceededException",
    "ValidationException",
}
"""Answers that say that nothing was stored."""


def open_glue_catalog(
    client: GlueClient, database: str, bucket: str, *, region: str, endpoint: str = ""
) -> Catalog:
    """The catalog of a Glue database whose tables are in a bucket; the database must exist.

    ``client`` has its own bounds of time and tries; those of the tables' files are set here.
    ``endpoint`` is an emulator's address.
    """
    warehouse = f"s3://{bucket}/{keys.TABLES.rstrip('/')}"
    properties = {
        "warehouse": warehouse,
        "s3.region": region,
        **({"s3.endpoint": endpoint} if endpoint else {}),
    }
    return SureGlueCatalog(database, client, **properties)


class _NewFile(PyArrowFile):
    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: FBT001, FBT002  # the library's own
        """Without the look whether it is there: every name that is written to is made up for the purpose."""
        del overwrite
        return super().create(overwrite=True)


class BucketIO(PyArrowFileIO):
    """Files in S3 with bounds of time and tries, a small one written by one call instead of five."""

    def new_output(self, location: str) -> PyArrowFile:
        """A file to write."""
        given = super().new_output(location)
        return _NewFile(given.location, given._path, given._filesystem, given._buffer_size)  # noqa: SLF001

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        del netloc
        # An endpoint that is given is asked by path, AWS's own by the bucket's host name.
        return S3FileSystem(
            region=self.properties["s3.region"],
            endpoint_override=self.properties.get("s3.endpoint"),
            # A minute at most without an answer: an aggregate function has five for everything.
            connect_timeout=5,
            request_timeout=20,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
            allow_delayed_open=True,  # type: ignore[call-arg]  # the stubs do not know it
        )


class _Doubtful(Exception):
    """UpdateTable ended in an error; ``__cause__`` is it. No outcome that the library may act upon."""

    def __init__(self, location: str, version: str) -> None:
        super().__init__(location)
        self.location = location
        self.version = version


class SureGlueCatalog(GlueCatalog):
    """A Glue catalog that looks up what became of a commit, and keeps one connection to its files."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def __init__(self, name: str, client: GlueClient, **properties: str) -> None:
        super().__init__(name, client, **properties)
        self._io: FileIO | None = None

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Commit; ``CommitFailedException`` means that it is not in the table and never will be.

        Raises ``UnknownOutcome`` where that is not known, and other errors of Glue as they are.
        """
        try:
            return super().commit_table(table, requirements, updates)
        except _Doubtful as doubtful:
            added = {one.snapshot.snapshot_id for one in updates if isinstance(one, AddSnapshotUpdate)}
            found = self._look(table, added, doubtful)
            return CommitTableResponse.model_validate(
                {"metadata": found.metadata, "metadata-location": found.metadata_location}
            )

    def _look(self, table: Table, added: set[int], doubtful: _Doubtful) -> Table:
        """The table with our commit in it."""
        cause = doubtful.__cause__
        for pause in LOOKS:
            self.sleep(pause)
            try:
                entry = self._get_glue_table(*table.name())
                found = self._convert_glue_to_iceberg(entry)
            except NoSuchTableError:
                # Dropped meanwhile, perhaps with our commit in it: its files stay.
                raise
            except Exception:  # noqa: BLE001, S112  # whatever keeps us from looking, it stays unknown
                continue
            if _holds(found, doubtful.location, added):
                return found
            if entry.get("VersionId") != doubtful.version:
                # An attempt that is still under way fails on the version too.
                with suppress(OSError):
                    table.io.delete(doubtful.location)
                raise CommitFailedException(f"another commit to {table.name()} came first") from cause
            if cause is not None and code_of(cause) in _REFUSED:
                raise cause
        raise UnknownOutcome(
            f"Glue did not say whether a commit to {'.'.join(table.name())} was stored: {cause}"
        ) from cause

    def _update_glue_table(
        self, database_name: str, table_name: str, table_input: TableInputTypeDef, version_id: str
    ) -> None:
        try:
            super()._update_glue_table(database_name, table_name, table_input, version_id)
        except Exception as error:  # noqa: BLE001  # it leaves when the outcome was looked up
            told = error.__cause__ if isinstance(error, CommitFailedException) else error
            raise _Doubtful(table_input["Parameters"][METADATA_LOCATION], version_id) from told

    def _is_s3tables_database(self, database_name: str) -> bool:
        """Never: asking would be a call more for each commit."""
        del database_name
        return False

    def _resolve_table_location(self, location: str | None, database_name: str, table_name: str) -> str:
        """A folder a table in the warehouse, whatever the database is called and says of itself."""
        del database_name
        return location.rstrip("/") if location else f"{self.properties['warehouse']}/{table_name}"

    def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        """One for all: the library's own would open new connections for each look at a table."""
        del properties, location
        if self._io is None:
            made = BucketIO if self.properties["warehouse"].startswith("s3://") else PyArrowFileIO
            self._io = made(self.properties)
        return self._io


def _holds(table: Table, location: str, added: set[int]) -> bool:
    """Whether a commit is in the table, under later ones too."""
    if added:
        # The log of metadata files forgets after twenty commits, snapshots stay for a day.
        return any(table.metadata.snapshot_by_id(one) is not None for one in added)
    named = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    return location in named
