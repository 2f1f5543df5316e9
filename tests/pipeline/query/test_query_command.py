"""``serpline query`` where it asks in Athena, and ``--explain``: what is printed where, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pipeline.cli.main import main
from pipeline.settings import Settings
from tests.pipeline.query.fake_athena import QUERY_ID, FakeAthena, page, refused, state

PAGE = page(
    [("keyword", "varchar"), ("rank", "integer")], [["keyword", "rank"], ["red shoes", "1"], ["", None]]
)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs ``serpline query`` against a fake Athena; gives exit code, output, error output."""
    monkeypatch.setenv("SERPLINE_NAME", "team-a")
    monkeypatch.delenv("SERPLINE_LAKE", raising=False)

    def call(fake: FakeAthena | None, *words: str) -> tuple[int, str, str]:
        def aws_clients(settings: Settings) -> Any:
            assert settings.name == "team-a"
            assert fake is not None, "no client is needed"
            return fake.clients()

        module = ModuleType("pipeline.bootstrap_aws")
        module.__dict__["aws_clients"] = aws_clients
        monkeypatch.setitem(sys.modules, "pipeline.bootstrap_aws", module)
        code = main(["query", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def _fake(*states: Any) -> FakeAthena:
    return FakeAthena(states or [state("SUCCEEDED", read=123_456_789)], [PAGE])


def test_rows_are_on_standard_output_and_the_bill_on_standard_error(ask):
    """The answer can be piped; who watches sees what it cost."""
    fake = _fake()
    code, out, err = ask(fake, "--athena", "--format", "csv", "SELECT keyword, rank FROM latest_ranks")
    assert (code, out) == (0, 'keyword,rank\r\nred shoes,1\r\n"",\r\n')
    assert err == f"serpline: 123.5 MB read in 1.5 s, about $0.000563 (query {QUERY_ID})\n"
    asked = fake.asked[0][1]
    assert (asked["WorkGroup"], asked["QueryExecutionContext"]["Database"]) == ("team-a", "team_a")


def test_a_table_is_printed_like_a_local_one(ask):
    code, out, _ = ask(_fake(), "--athena", "SELECT keyword, rank FROM latest_ranks")
    assert code == 0
    assert "red shoes" in out
    assert "NULL" in out
    assert out.rstrip().endswith("2 rows")


@pytest.mark.parametrize("how", ["argument", "setting"])
def test_a_lake_in_a_bucket_is_asked_in_athena(ask, monkeypatch: pytest.MonkeyPatch, how: str):
    words = ["--lake", "s3://bucket"] if how == "argument" else []
    if how == "setting":
        monkeypatch.setenv("SERPLINE_LAKE", "s3://bucket")
    fake = _fake()
    assert ask(fake, *words, "SELECT 1")[0] == 0
    assert "start" in fake.calls


def test_a_folder_beside_a_bucket_setting_is_asked_here(
    ask, monkeypatch: pytest.MonkeyPatch, small_folder: Path
):
    monkeypatch.setenv("SERPLINE_LAKE", "s3://bucket")
    code, out, err = ask(
        None, "--lake", str(small_folder), "--format", "csv", "SELECT count(*) AS n FROM runs"
    )
    assert (code, out, err) == (0, "n\r\n4\r\n", "")


def test_the_price_of_a_region_can_be_given(ask):
    assert "about $0.001125" in ask(_fake(), "--athena", "--price", "10", "SELECT 1")[2]
    for wrong in ("dear", "-1", "nan", "inf"):
        code, _, err = ask(None, "--athena", f"--price={wrong}", "SELECT 1")
        assert (code, "--price" in err) == (2, True)


def test_what_is_free_is_called_so(ask):
    assert (
        "0 bytes read in 1.5 s, free"
        in ask(_fake(state("SUCCEEDED", kind="UTILITY")), "--athena", "SHOW TABLES")[2]
    )


def test_ctrl_c_cancels_and_says_so(ask):
    fake = _fake(KeyboardInterrupt())
    code, out, err = ask(fake, "--athena", "SELECT 1")
    assert (code, out) == (130, "")
    assert err == f"serpline: query {QUERY_ID} is cancelled in Athena; what it had read is billed\n"
    assert fake.calls[-1] == "stop"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--athena", "DELETE FROM pages"], "a query may only read"),
        (["--athena", "--explain", "SHOW TABLES"], "start it with SELECT"),
        (["--athena", "--lake", "lake", "SELECT 1"], "leave --lake DIR out"),
    ],
)
def test_a_misuse_is_told_before_a_client_is_built(ask, words: list[str], told: str):
    code, out, err = ask(None, *words)
    assert (code, out) == (2, "")
    assert told in err


def test_failures_have_their_exit_codes(ask):
    """2 is the user's to mend, 1 is worth another try."""
    wrong = _fake(state("FAILED", StateChangeReason="COLUMN_NOT_FOUND: line 1:8: Column 'x'"))
    assert ask(wrong, "--athena", "SELECT x FROM runs")[0] == 2
    assert ask(FakeAthena(start=[refused("no")]), "--athena", "SELECT 1")[0] == 2
    assert ask(_fake(state("FAILED", StateChangeReason="INTERNAL")), "--athena", "SELECT 1")[0] == 1


def test_the_bill_is_told_also_where_writing_fails(ask):
    twice = page([("x", "integer"), ("x", "integer")], [["x", "x"], ["1", "2"]])
    fake = FakeAthena([state("SUCCEEDED", read=1)], [twice])
    code, _, err = ask(fake, "--athena", "--format", "json", "SELECT 1 AS x, 2 AS x")
    assert code == 2
    assert "about $0.000048" in err
    assert "two columns are called x" in err


def test_a_terminal_sees_how_far_the_query_is(ask, monkeypatch: pytest.MonkeyPatch):
    """On standard error only: the answer stays clean."""
    said: list[str] = []

    @contextmanager
    def status(_console: Console, _text: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(update=said.append)

    monkeypatch.setattr(Console, "is_terminal", property(lambda console: console.stderr))
    monkeypatch.setattr(Console, "status", status)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    fake = _fake(state("QUEUED"), state("RUNNING", read=2_000_000), state("SUCCEEDED"))
    code, out, _ = ask(fake, "--athena", "--format", "csv", "SELECT 1")
    assert (code, out.splitlines()[0]) == (0, "keyword,rank")
    assert said[0].startswith("Athena: queued, 0 bytes read")
    assert said[1].startswith("Athena: running, 2.0 MB read")


def test_explain_says_what_athena_would_read(ask):
    told = '{"inputTableColumnInfos": [{"table": {"schemaTable": {"schema": "team_a", "table": "pages"}}}]}'
    fake = FakeAthena([state("SUCCEEDED", kind="UTILITY")], [page([("Query Plan", "varchar")], [[told]])])
    code, out, err = ask(fake, "--athena", "--explain", "SELECT * FROM pages")
    assert (code, err) == (0, "")
    assert out.startswith("reads team_a.pages, all of it: Athena has no estimate of how much\n")


def test_explain_says_what_is_read_here(ask, small_folder: Path):
    sql = "SELECT * FROM pages WHERE run_date = DATE '2026-07-01'"
    code, out, err = ask(None, "--lake", str(small_folder), "--explain", sql)
    assert (code, err) == (0, "")
    assert out.startswith("reads pages where run_date = 2026-07-01: 1 of 4 files, ")


def test_a_local_query_builds_no_client(ask, small_folder: Path):
    code, out, _ = ask(None, "--lake", str(small_folder), "--format", "csv", "SELECT 1 AS x")
    assert (code, out) == (0, "x\r\n1\r\n")
