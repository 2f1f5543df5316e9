"""Results pages as files, for measurements in which the engine itself must not take part."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

from pipeline.practice.index import Index
from pipeline.practice.page import ask, results_page


def write_static(
    folder: Path,
    queries: Iterable[str],
    pages: int = 1,
    *,
    index_path: Path,
    gzipped: bool = False,
) -> list[Path]:
    """Write ``pages`` pages of each question as ``<n>.html``, n from 0 on; gives the files in order.

    With ``gzipped`` each also stands beside itself as ``.html.gz`` (nginx: ``gzip_static on``).
    """
    folder.mkdir(parents=True, exist_ok=True)
    index, written = Index(index_path), list[Path]()
    try:
        for query in queries:
            for number in range(1, pages + 1):
                body = results_page(index, ask(query, page=str(number)))
                file = folder / f"{len(written)}.html"
                file.write_bytes(body)
                if gzipped:
                    file.with_suffix(".html.gz").write_bytes(gzip.compress(body, compresslevel=6, mtime=0))
                written.append(file)
    finally:
        index.close()
    return written
