"""One word for one thing: a stage's name is the same in files, queues, commands and tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import keys
from pipeline.cli.worker_command import STAGES
from stages.records import Batch, Closing
from stages.tables import CLOSINGS, PAGES, SHARDS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_everywhere(stage: str):
    """``fetch`` is ``stages/fetch.py``, ``pipeline/steps/fetch.py`` and ``tests/stages/test_fetch.py``."""
    for place in (f"stages/{stage}.py", f"pipeline/steps/{stage}.py", f"tests/stages/test_{stage}.py"):
        assert (ROOT / place).is_file(), place
    assert f'stage="{stage}"' in (ROOT / f"pipeline/workers/{stage}.py").read_text("utf-8")
    assert f"queue_function(open_{stage})" in (ROOT / f"lambdas/{stage}.py").read_text("utf-8")


@pytest.mark.parametrize("function", ["conduct", "probe"])
def test_a_function_beside_the_stages_has_one_name_too(function: str):
    """``probe`` is ``lambdas/probe.py``, ``pipeline/functions/probe.py`` and a handler's test, no stage."""
    assert function not in STAGES
    for place in (f"pipeline/functions/{function}.py", f"tests/lambdas/test_{function}_handler.py"):
        assert (ROOT / place).is_file(), place
    door = (ROOT / f"lambdas/{function}.py").read_text("utf-8")
    assert f"from pipeline.functions.{function} import" in door
    assert door.startswith(f'"""Function {function}: ')


def test_queues_are_named_after_what_they_carry():
    """The queue of a source's batches is ``<name>-fetch-<source>``, in letters that SQS accepts."""
    assert keys.fetch_queue("serpline", "practice_page") == "serpline-fetch-practice_page"
    assert keys.keywords_queue("serpline") == "serpline-keywords"
    assert keys.results_queue("serpline") == "serpline-results"
    assert keys.probe_queue("serpline") == keys.probe_function("serpline") == "serpline-probe"


def test_no_word_that_says_nothing():
    """Files are named after what they are about; ``utils`` is about nothing."""
    vague = {"utils", "util", "common", "helper", "helpers", "manager", "misc", "base"}
    for path in ROOT.rglob("*.py"):
        if not {".venv", "build"} & set(path.parts):
            assert not vague & set(path.stem.split("_")), path


def test_the_identity_of_a_batch_is_in_its_row():
    """Every part of a batch's id is a column of ``pages``, so that a commit can look it up."""
    columns = set(PAGES.schema.names)
    assert {"run_id", "part", "batch_no", "cut", "source", "locale", "device", "run_date"} <= columns
    assert {"run_id", "part", "batch_no", "cut", "source", "locale", "device", "run_date"} <= set(
        Batch.__struct_fields__
    )
    assert set(PAGES.partition) <= columns
    assert set(SHARDS.partition) <= set(SHARDS.schema.names)


def test_a_closing_is_a_row_of_its_table():
    """Every column of ``closings`` is a field of what is told, but for the day, which follows from it."""
    assert set(CLOSINGS.schema.names) == {*Closing.__struct_fields__, "event_date"}
