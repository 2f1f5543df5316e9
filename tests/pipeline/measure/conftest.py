"""The world that each of these tests begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.measure.kit import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One deployed copy, nothing measured yet."""
    return World(tmp_path)
