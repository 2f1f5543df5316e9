"""A transaction that looks at a table's metadata without copying all of it each time, and commits once."""

from __future__ import annotations

from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableUpdate


class QuickTransaction(Transaction):
    """The library's, but for its looks at the metadata: they are the same until something is staged.

    The library copies them fifteen times for one append, each snapshot in them too: with a thousand
    snapshots that is nine tenths of a commit's time. Nobody changes what is given: updates make new ones.
    """

    def __init__(self, table: Table, *, autocommit: bool = False) -> None:
        super().__init__(table, autocommit)
        self._looked: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with what is staged."""
        base, staged = self._table.metadata, self._updates
        if self._looked is None or self._looked[0] is not base or self._looked[1] is not staged:
            self._looked = (base, staged, super().table_metadata if staged else base)
        return self._looked[2]

    def commit_transaction(self) -> Table:
        """Commit what is staged, as the library does, but never a second time.

        The library's own retry would append on a newer snapshot than the one that was looked at. It is
        forbidden here and not by the table's property: that one binds Athena too, whose retries are right.
        """
        held = self._table.metadata
        once = {**held.properties, TableProperties.COMMIT_NUM_RETRIES: "0"}
        self._table.metadata = held.model_copy(update={"properties": once})
        # All that is looked for from here on is the table's own id, which nothing staged changes.
        self._looked = (self._table.metadata, self._updates, held)
        try:
            return super().commit_transaction()
        except BaseException:
            self._table.metadata = held
            raise
