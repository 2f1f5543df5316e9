"""How much of a lake a page takes: what the snapshots say of the pages that are there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from pipeline.iceberg import NAMESPACE, equal, open_folder_catalog, translated


def bytes_a_page(folder: Path, source: str) -> float | None:
    """Bytes of Parquet for a page of a source in the lake of a folder; None where it has none of it.

    Only metadata is read. Raises what ``translated`` says.
    """
    if not (folder / "catalog.sqlite3").is_file():
        return None
    with translated(), closing(open_folder_catalog(folder.absolute())) as catalog:
        if not catalog.table_exists((NAMESPACE, "pages")):
            return None
        scan = catalog.load_table((NAMESPACE, "pages")).scan(row_filter=equal("source", source))
        files = [task.file for task in scan.plan_files()]
    pages = sum(file.record_count for file in files)
    return sum(file.file_size_in_bytes for file in files) / pages if pages else None
