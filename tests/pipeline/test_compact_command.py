"""``serpline compact``: what it prints, and what it exits with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.main import main
from tests.pipeline.kit import each_once
from tests.pipeline.test_catalog import open_tables, staged


def lake_of(folder: Path) -> Path:
    tables = open_tables(folder)
    for number in range(3):
        tables.append_pages([staged(number)])
    return folder


def test_it_prints_each_partition_and_then_that_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Files and megabytes before and after; the second time there is nothing to do. Both exit with 0."""
    lake = lake_of(tmp_path)
    assert main(["compact", "--lake", str(lake)]) == 0
    [line] = capsys.readouterr().out.splitlines()
    name = "pages run_date=2026-11-23/source=practice_api/part=0"
    assert line == f"{name}: 3 files (0.0 MB) → 1 file (0.0 MB)"
    assert main(["compact", "--lake", str(lake), "--older-than", "30"]) == 0
    assert capsys.readouterr().out == "nothing to compact\n"
    assert set(each_once(lake).values()) == {1}


@pytest.mark.parametrize("hours", ["0", "0.5", "-3", "nan", "inf", "soon"])
def test_an_age_that_could_take_files_in_use_is_refused(
    tmp_path: Path, hours: str, capsys: pytest.CaptureFixture[str]
):
    lake = lake_of(tmp_path)
    assert main(["compact", "--lake", str(lake), f"--older-than={hours}"]) == 2
    assert "--older-than" in capsys.readouterr().err


def test_a_folder_without_a_lake_is_a_misuse_and_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["compact", "--lake", str(tmp_path)]) == 2
    assert "no lake" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
