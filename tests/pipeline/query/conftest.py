"""One small lake for the session: no query can change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.query import Lake
from tests.pipeline.query import lakes


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lakes.small(tmp_path_factory.mktemp("small") / "lake")


@pytest.fixture
def lake(small_folder: Path) -> Iterator[Lake]:
    with Lake(small_folder) as opened:
        yield opened
