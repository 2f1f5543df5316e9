"""``serpline measure report``: the rows of the lake as one file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.cli.main import main
from pipeline.storage.folder import FolderStorage
from stages.measure import Experiment, encode_reading
from tests.pipeline.query import lakes
from tests.stages.measured import reading, write

OLD = "lifetime-20270115T080000Z-aaaa"
NEW = "lifetime-20270116T080000Z-bbbb"
TREE = "scaling-20270114T080000Z-cccc"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two lifetimes and a tree, all in the table."""
    rows = [
        reading(0, experiment=OLD, environment="env-old"),
        reading(0, experiment=NEW, environment="env-new"),
        reading(0, experiment=TREE, kind="scaling", environment="env-tree"),
    ]
    return write(tmp_path / "lake", rows)


def page(lake: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    output = lake.parent / "page.html"
    code = main(["measure", "report", *words, "--lake", str(lake), "--output", str(output)])
    assert code == 0, capsys.readouterr().err
    assert str(output) in capsys.readouterr().out
    return output.read_text("utf-8")


def test_without_a_name_it_is_the_latest_of_each_kind(lake: Path, capsys: pytest.CaptureFixture[str]):
    """One of each, the newest by the moment in its name; older ones are left out."""
    html = page(lake, capsys=capsys)
    assert NEW in html
    assert TREE in html
    assert OLD not in html


def test_two_names_are_compared(lake: Path, capsys: pytest.CaptureFixture[str]):
    """By their beginnings, whichever is named first."""
    html = page(lake, "lifetime-20270116", "lifetime-20270115", capsys=capsys)
    assert NEW in html
    assert OLD in html
    assert TREE not in html
    assert "What changed" in html


def test_what_is_not_yet_in_the_table_is_in_the_report(lake: Path, capsys: pytest.CaptureFixture[str]):
    """A probe that answered a moment ago: its row is committed on the way."""
    storage = FolderStorage(lake)
    name = "lifetime-20270117T080000Z-dddd"
    experiment = Experiment(experiment=name, created_at=1.0, functions=("serpline-probe",), pauses=(300.0,))
    storage.put(keys.experiment(name), msgspec.json.encode(experiment))
    seen = reading(0, experiment=name, probe=f"{name}-0-0", function="probe-of-today")
    storage.put(keys.reading(name, f"{name}-0-0"), encode_reading(seen))
    assert "probe-of-today" in page(lake, capsys=capsys)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["walk"], "there is no experiment walk; there are"),
        (["lifetime"], "2 experiments begin with 'lifetime'"),
        ([NEW, "walk"], "there is no experiment walk"),
    ],
)
def test_a_name_of_nothing_is_told(
    lake: Path, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
):
    """And no file is written."""
    output = lake.parent / "page.html"
    assert main(["measure", "report", *words, "--lake", str(lake), "--output", str(output)]) == 2
    assert what in capsys.readouterr().err
    assert not output.exists()


def test_where_nothing_was_measured_that_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A lake without the table, and no lake at all."""
    lakes.write(tmp_path / "lake", [])
    assert main(["measure", "report", "--lake", str(tmp_path / "lake")]) == 2
    assert "none was started in this lake" in capsys.readouterr().err
    assert main(["measure", "report", "--lake", str(tmp_path / "none")]) == 2
    assert "there is no lake at" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
