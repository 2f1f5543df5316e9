"""One index for all tests, kept in ``build/`` for as long as the code that builds it stays the same."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.practice import corpus, inspected, words
from pipeline.practice import index as index_module
from pipeline.practice.index import Index, default_index_path
from pipeline.practice.server import PracticeEngine

BUILD = Path(__file__).parents[2] / "build"


@pytest.fixture(scope="session")
def index_path() -> Path:
    """The index of this interpreter's standard library."""
    made_by = b"".join(Path(m.__file__).read_bytes() for m in (corpus, inspected, words, index_module))
    path = default_index_path(BUILD / f"practice-{hashlib.blake2b(made_by, digest_size=6).hexdigest()}")
    Index(path).close()
    return path


@pytest.fixture(scope="session")
def index(index_path: Path) -> Iterator[Index]:
    """The index, open."""
    opened = Index(index_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def running(index_path: Path) -> Iterator[PracticeEngine]:
    """An engine that a module's tests share."""
    with PracticeEngine(index_path) as engine:
        yield engine


@pytest.fixture
def engine(running: PracticeEngine) -> PracticeEngine:
    """The shared engine, behaving well and remembering nothing."""
    running.set_faults([])
    running.reset()
    return running
