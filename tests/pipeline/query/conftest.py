"""Small lakes for the session: no query can change them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.query import Lake
from tests.pipeline.query import lakes, markets


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lakes.small(tmp_path_factory.mktemp("small") / "lake")


@pytest.fixture
def lake(small_folder: Path) -> Iterator[Lake]:
    with Lake(small_folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def asked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return markets.asked(tmp_path_factory.mktemp("asked") / "lake")


@pytest.fixture
def asked(asked_folder: Path) -> Iterator[Lake]:
    with Lake(asked_folder) as opened:
        yield opened
