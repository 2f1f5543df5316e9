"""The plan beside the run that follows it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.practice.server import PracticeEngine
from tests.pipeline.test_local import own_sources

RATE = 50.0
WORDS = (Path(__file__).parents[2] / "examples" / "keywords.csv").read_text("utf-8").splitlines()[1:]


@pytest.mark.timeout(120)
def test_a_plan_comes_true_within_a_fifth(
    tmp_path: Path,
    engine: PracticeEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Time, requests and the table's growth are as planned from what the lake holds already."""
    sources = own_sources(tmp_path / "sources", engine.base_url, rate=RATE, burst=1)
    monkeypatch.setenv("SERPLINE_SOURCES", str(sources))
    monkeypatch.setenv("SERPLINE_LAKE", str(tmp_path / "lake"))

    def keywords(name: str, lines: list[str]) -> str:
        path = tmp_path / name
        path.write_text("\n".join(["keyword", *lines]), "utf-8")
        return str(path)

    def table_bytes() -> int:
        return sum(
            file.stat().st_size for file in (tmp_path / "lake" / "tables").glob("*/pages/data/**/*.parquet")
        )

    earlier, listed = keywords("a.csv", WORDS[:800:2]), keywords("b.csv", WORDS[1:800:2])
    assert main(["run", earlier]) == 0
    before = table_bytes()
    engine.reset()
    capsys.readouterr()
    assert main(["plan", listed, "--format", "json", "--latency", "0.05"]) == 0
    planned = json.loads(capsys.readouterr().out)

    began = time.monotonic()
    assert main(["run", listed]) == 0
    assert planned["read"]["tasks"] == {"practice_page": len(engine.arrivals)}
    asking = engine.arrivals[-1].at - engine.arrivals[0].at
    assert planned["bill"]["seconds"] == pytest.approx(asking, rel=0.2)
    assert time.monotonic() - began < 2 * asking
    assert planned["table_bytes"]["practice_page"] == pytest.approx(table_bytes() - before, rel=0.2)
