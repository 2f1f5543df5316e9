"""The index: SQLite's full-text search over the documents, ranked by BM25, built once and then only read."""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import msgspec

from pipeline.errors import Misuse, StorageUnavailable
from pipeline.practice.corpus import Document, source_documents
from pipeline.practice.inspected import inspected_documents
from pipeline.practice.words import excerpt, split_name, terms, words_of

FORMAT = 1
"""Raised whenever documents or tables change, so that an older file is not taken for a newer one."""

SITE = "https://docs.python.example/3/"

_TABLE = """
CREATE VIRTUAL TABLE documents USING fts5(
    title, words, body, path UNINDEXED, kind UNINDEXED, tokenize = 'porter unicode61');
INSERT INTO documents(documents, rank) VALUES ('rank', 'bm25(9.0, 6.0, 1.0)');
"""


class Hit(msgspec.Struct, frozen=True):
    """One document found: its qualified name, its absolute address, what it is, and why it fits."""

    title: str
    link: str
    kind: str
    snippet: str


def default_index_path(cache: Path) -> Path:
    """Where the index of this interpreter's documentation stands below a cache folder."""
    version = ".".join(map(str, sys.version_info[:3]))
    return cache / "serpline" / f"practice-{version}-{FORMAT}.sqlite3"


def build_index(path: Path, documents: Iterable[Document] | None = None) -> int:
    """Write the index (of the standard library unless told otherwise); gives the number of documents.

    It appears whole or not at all: whoever builds at the same time writes a file of their own, and the
    last rename wins with the same content.
    """
    if documents is None:
        documents = chain(source_documents(), inspected_documents())
    distinct: dict[str, Document] = {}
    for document in documents:
        distinct.setdefault(document.title, document)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(unfinished, distinct.values())
        unfinished.replace(path)
    except (OSError, sqlite3.Error) as error:
        if "no such module" in str(error):
            raise Misuse("this Python's SQLite lacks FTS5: use a build that has it") from error
        raise StorageUnavailable(f"cannot write the practice index {path}: {error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return len(distinct)


def _write(path: Path, documents: Iterable[Document]) -> None:
    connection = sqlite3.connect(path)
    try:
        # A file that is renamed when complete needs no journal; a crash leaves only the unfinished one.
        connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLE}")
        connection.executemany(
            "INSERT INTO documents(title, words, body, path, kind) VALUES (?, ?, ?, ?, ?)",
            ((d.title, split_name(d.title), d.body, d.path, d.kind) for d in documents),
        )
        connection.execute("INSERT INTO documents(documents) VALUES ('optimize')")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.commit()
    finally:
        connection.close()


class Index:
    """The index open for reading; builds it where none (or an unfit one) stands."""

    def __init__(self, path: Path) -> None:
        if not _fit(path):
            build_index(path)
        self._connection = _open(path)

    def search(self, query: str, offset: int = 0, limit: int = 10) -> tuple[int, list[Hit]]:
        """How many documents have any of the question's words, and the best of them, from ``offset`` on."""
        searched = terms(query)
        total, match = self._count(searched)
        if not total:
            # "如何用 Python 读取文件" has one word that the documents know, and it is a stopword.
            searched = words_of(query)
            total, match = self._count(searched)
        if not total:
            return 0, []
        rows = self._connection.execute(
            "SELECT title, path, kind, body FROM documents WHERE documents MATCH ?"
            " ORDER BY rank, rowid LIMIT ? OFFSET ?",
            (match, limit, offset),
        ).fetchall()
        return total, [
            Hit(title, SITE + path, kind, excerpt(body, searched)) for title, path, kind, body in rows
        ]

    def _count(self, searched: tuple[str, ...]) -> tuple[int, str]:
        """How many documents have any of the words, and the expression that says so to FTS5."""
        if not searched:
            return 0, ""
        # Words hold letters and digits alone, so quotes make each of them a plain word to FTS5.
        match = " OR ".join(f'"{word}"' for word in searched)
        count = "SELECT count(*) FROM documents WHERE documents MATCH ?"
        (total,) = self._connection.execute(count, (match,)).fetchone()
        return total, match

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    # The file never changes under its name (it is replaced), so no locks are needed to read it.
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(address, uri=True, check_same_thread=False)


def _fit(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        connection = _open(path)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute("SELECT rowid FROM documents LIMIT 1").fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return False
    return bool(version == FORMAT)
