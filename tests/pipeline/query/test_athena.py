"""Queries in Athena: how they are started, waited for, read, stopped, billed, and told where they fail."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from moto import mock_aws

from pipeline.errors import Misuse, Unavailable
from pipeline.query import write_csv, write_json, write_parquet
from pipeline.query.athena import AthenaAnswer, AthenaQuery, cost
from tests.pipeline.query import fake_athena
from tests.pipeline.query.fake_athena import QUERY_ID, FakeAthena, page, refused, state

DONE = state("SUCCEEDED", read=123_456_789)
ONE = page([("x", "integer")], [["x"], ["1"]])
THROTTLED = ClientError(
    {"Error": {"Code": "TooManyRequestsException", "Message": "Rate exceeded"}}, "GetQueryExecution"
)


def _ask(fake: FakeAthena, sql: str = "SELECT 1", **how: Any) -> AthenaAnswer:
    return AthenaQuery(fake, "team-a", "team_a", sleep=fake.sleep, clock=fake.clock, **how).ask(sql)


def _rows(answer: AthenaAnswer) -> list[tuple[Any, ...]]:
    return [row for rows in answer.chunks() for row in rows]


def test_a_query_is_started_in_the_workgroup_and_waited_for():
    """Named database, a token against a second start, and looks that grow apart to two seconds."""
    fake = FakeAthena([state("QUEUED"), *[state("RUNNING", read=7)] * 12, DONE], [ONE])
    told: list[tuple[str, int, float]] = []
    assert _rows(_ask(fake, told=lambda *how: told.append(how))) == [(1,)]
    name, asked = fake.asked[0]
    assert name == "start"
    assert len(asked.pop("ClientRequestToken")) >= 32
    assert asked == {
        "QueryString": "SELECT 1",
        "WorkGroup": "team-a",
        "QueryExecutionContext": {"Catalog": "AwsDataCatalog", "Database": "team_a"},
    }
    assert fake.slept == sorted(fake.slept)
    assert (fake.slept[0], fake.slept[-1]) == (0.1, 2.0)
    assert len(fake.slept) == 13
    assert told[0] == ("QUEUED", 0, 0.0)
    assert told[-1] == ("RUNNING", 7, pytest.approx(sum(fake.slept[:-1])))
    assert "stop" not in fake.calls


def test_each_query_has_a_token_of_its_own():
    fake = FakeAthena([DONE], [ONE])
    for _ in range(2):
        _ask(fake)
    tokens = [asked["ClientRequestToken"] for name, asked in fake.asked if name == "start"]
    assert len(set(tokens)) == 2


def test_values_have_their_types_and_null_is_not_empty_text():
    columns = [
        ("word", "varchar"), ("big", "bigint"), ("small", "integer"), ("share", "double"), ("day", "date"),
        ("moment", "timestamp"), ("yes", "boolean"), ("list", "array"), ("entry", "row"),
        ("zoned", "timestamp with time zone"),
    ]  # fmt: skip
    rows = [
        [name for name, _ in columns],
        ["a", "9007199254740993", "-1", "1.0E-5", "2026-07-01", "2026-07-01 10:00:00.250", "true", "[1, 2]",
         "{rank=1}", "2026-07-01 10:00:00.000 UTC"],
        ["", "0", "0", "NaN", "2026-07-01", "2026-07-01 10:00:00.123456", "false", "[]", "{}", ""],
        [None] * len(columns),
    ]  # fmt: skip
    answer = _ask(FakeAthena([DONE], [page(columns, rows)]))
    assert [(one.name, one.type) for one in answer.columns] == columns
    first, second, third = _rows(answer)
    assert first == (
        "a", 9007199254740993, -1, 1e-5, date(2026, 7, 1), datetime.fromisoformat("2026-07-01T10:00:00.25"),
        True, "[1, 2]", "{rank=1}", "2026-07-01 10:00:00.000 UTC",
    )  # fmt: skip
    assert second[0] == ""
    assert second[3] != second[3]  # NaN
    assert second[5:7] == (datetime.fromisoformat("2026-07-01T10:00:00.123456"), False)
    assert third == (None,) * len(columns)


def test_decimals_keep_their_digits():
    told = page([("money", "decimal")], [["money"], ["12.50"]])
    told["ResultSet"]["ResultSetMetadata"]["ColumnInfo"][0] |= {"Precision": 10, "Scale": 2}
    answer = _ask(FakeAthena([DONE], [told]))
    assert answer.columns[0].type == "decimal(10,2)"
    assert _rows(answer) == [(Decimal("12.50"),)]


def test_pages_are_read_as_they_are_asked_for():
    """Only the first page before the first row; the header once, and a later row that looks like it stays."""
    x = [("x", "varchar")]
    fake = FakeAthena(
        [DONE], [page(x, [["x"], ["a"]], "more"), page(x, [["x"], ["b"]], "last"), page(x, [["c"]])]
    )
    answer = _ask(fake)
    assert fake.calls.count("read") == 1
    rows = answer.chunks()
    assert next(rows) == [("a",)]
    assert fake.calls.count("read") == 1
    assert [row for chunk in rows for row in chunk] == [("x",), ("b",), ("c",)]
    asked = [asked for name, asked in fake.asked if name == "read"]
    assert [one.get("NextToken") for one in asked] == [None, "more", "last"]
    assert {one["QueryExecutionId"] for one in asked} == {QUERY_ID}


def test_a_statement_without_a_header_loses_no_row():
    """SHOW and DESCRIBE have no line of names."""
    told = page([("tab_name", "string")], [["pages"], ["runs"]])
    assert _rows(_ask(FakeAthena([state("SUCCEEDED", kind="UTILITY")], [told]))) == [("pages",), ("runs",)]


def test_an_answer_without_rows_or_columns_is_one():
    assert _rows(_ask(FakeAthena([DONE], [page([("x", "integer")], [["x"]])]))) == []
    assert _rows(_ask(FakeAthena([state("SUCCEEDED", kind="DDL")], [page([], [])]))) == []


def test_every_format_writes_an_answer_of_athena():
    columns = [("word", "varchar"), ("day", "date"), ("share", "double")]
    rows = [["word", "day", "share"], ["a", "2026-07-01", "0.5"], ["", None, None]]

    def answer() -> AthenaAnswer:
        return _ask(FakeAthena([DONE], [page(columns, rows)]))

    out = io.BytesIO()
    write_csv(answer(), out)
    assert out.getvalue() == b'word,day,share\r\na,2026-07-01,0.5\r\n"",,\r\n'
    out = io.BytesIO()
    write_json(answer(), out)
    assert json.loads(out.getvalue()) == [
        {"word": "a", "day": "2026-07-01", "share": 0.5},
        {"word": "", "day": None, "share": None},
    ]
    out = io.BytesIO()
    write_parquet(answer(), out)
    table = pq.read_table(out)
    assert [str(field.type) for field in table.schema] == ["string", "date32[day]", "double"]
    assert table.to_pylist()[0] == {"word": "a", "day": date(2026, 7, 1), "share": 0.5}


@pytest.mark.parametrize(
    ("read", "megabytes"),
    [(0, 10), (1, 10), (10 << 20, 10), ((10 << 20) + 1, 11), (1 << 40, 1 << 20)],
)
def test_the_cost_is_of_whole_megabytes_and_ten_at_least(read: int, megabytes: int):
    assert cost(read) == pytest.approx(megabytes * 5 / (1 << 20))
    assert cost(read, 6.75) == pytest.approx(megabytes * 6.75 / (1 << 20))


def test_what_a_query_read_is_told():
    scanned = _ask(FakeAthena([DONE], [ONE]), usd_a_tb=10.0).scanned
    assert (scanned.query_id, scanned.bytes, scanned.seconds) == (QUERY_ID, 123_456_789, 1.5)
    assert scanned.cost == cost(123_456_789, 10.0)


@pytest.mark.parametrize("kind", ["DDL", "UTILITY"])
def test_what_reads_no_data_is_free(kind: str):
    assert _ask(FakeAthena([state("SUCCEEDED", kind=kind)], [ONE])).scanned.cost == 0


def test_an_answer_that_athena_still_had_is_free():
    reused = state("SUCCEEDED", read=0)
    reused["Statistics"]["ResultReuseInformation"] = {"ReusedPreviousResult": True}
    assert _ask(FakeAthena([reused], [ONE])).scanned.cost == 0


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (
            {"StateChangeReason": "COLUMN_NOT_FOUND: line 1:8: Column 'x' cannot be resolved"},
            Misuse,
            "the query does not work: COLUMN_NOT_FOUND: line 1:8: Column 'x' cannot be resolved",
        ),
        ({"StateChangeReason": "DIVISION_BY_ZERO: / by zero"}, Misuse, "does not work: DIVISION_BY_ZERO"),
        ({"StateChangeReason": "TABLE_NOT_FOUND: x"}, Misuse, "does not work: TABLE_NOT_FOUND"),
        ({"StateChangeReason": "INVALID_CAST_ARGUMENT: Cannot cast 'a'"}, Misuse, "INVALID_CAST_ARGUMENT"),
        ({"StateChangeReason": "odd", "AthenaError": {"ErrorCategory": 2}}, Misuse, "does not work: odd"),
        (
            {"StateChangeReason": "line 1:1: odd", "AthenaError": {"ErrorCategory": 1}},
            Unavailable,
            "ask again",
        ),
        ({"StateChangeReason": "GENERIC_INTERNAL_ERROR: null"}, Unavailable, "could not run query"),
        ({"StateChangeReason": "Query exhausted resources at this scale factor"}, Unavailable, "exhausted"),
        ({"AthenaError": {"ErrorCategory": 3, "ErrorMessage": "SlowDown"}}, Unavailable, "SlowDown"),
        ({}, Unavailable, "gives no reason"),
    ],
)
def test_a_failure_is_one_sentence_of_the_right_kind(
    status: dict[str, Any], error: type[Exception], told: str
):
    """The query's fault is the user's to mend; anything else may work in a moment. None is left to stop."""
    fake = FakeAthena([state("RUNNING"), state("FAILED", **status)])
    with pytest.raises(error, match=told):
        _ask(fake)
    assert "stop" not in fake.calls


def test_athenas_own_words_around_a_reason_are_left_out():
    reason = (
        "SYNTAX_ERROR: line 1:8:\n Column 'x' cannot be resolved. This query ran against the \"team_a\" "
        "database, unless qualified by the query. Please post the error message with Query Id: 1"
    )
    with pytest.raises(Misuse) as raised:
        _ask(FakeAthena([state("FAILED", StateChangeReason=reason)]))
    assert str(raised.value) == (
        "the query does not work: SYNTAX_ERROR: line 1:8: Column 'x' cannot be resolved"
    )


def test_a_query_beyond_the_workgroups_limit_is_told_what_to_do():
    reason = "Query cancelled! : Bytes scanned limit was exceeded"
    with pytest.raises(Misuse, match="narrow it by run_date and source"):
        _ask(FakeAthena([state("CANCELLED", StateChangeReason=reason)]))


def test_a_query_that_someone_cancelled_is_told():
    with pytest.raises(Unavailable, match=f"query {QUERY_ID} was cancelled in Athena"):
        _ask(FakeAthena([state("CANCELLED", StateChangeReason="Query cancelled by user")]))


def test_a_statement_that_is_not_taken_is_told():
    with pytest.raises(Misuse, match="does not take the query: line 1:8: mismatched input 'FORM'"):
        _ask(FakeAthena(start=[refused("line 1:8: mismatched input\n 'FORM'")]))
    with pytest.raises(Misuse, match="WorkGroup is not found: is team-a, from SERPLINE_NAME, the name"):
        _ask(FakeAthena(start=[refused("WorkGroup is not found.")]))


@pytest.mark.parametrize("error", [THROTTLED, EndpointConnectionError(endpoint_url="https://athena.example")])
def test_a_start_that_fails_is_told_at_once(error: Exception):
    """boto3 has tried again by then, under the same token; nothing runs that would have to be stopped."""
    fake = FakeAthena(start=[error])
    with pytest.raises(Unavailable, match="Athena workgroup team-a"):
        _ask(fake)
    assert fake.calls == ["start"]


def test_a_busy_moment_does_not_end_a_query_that_runs():
    """Neither while it is waited for nor between its pages."""
    x = [("x", "integer")]
    fake = FakeAthena(
        [state("RUNNING"), THROTTLED, THROTTLED, DONE],
        [THROTTLED, page(x, [["x"], ["1"]], "more"), THROTTLED, page(x, [["2"]])],
    )
    assert _rows(_ask(fake)) == [(1,), (2,)]
    assert fake.calls.count("start") == 1


def test_athena_that_stays_away_is_given_up_and_the_query_stopped():
    fake = FakeAthena([THROTTLED])
    with pytest.raises(Unavailable, match="busy or throttled"):
        _ask(fake)
    assert 30 <= fake.now <= 34
    assert fake.calls[-1] == "stop"


def test_patience_is_of_one_outage_and_not_of_all_together():
    """A long query may see more busy moments than one outage may last."""
    moments = [one for _ in range(60) for one in (state("RUNNING"), THROTTLED)]
    fake = FakeAthena([*moments, DONE], [ONE])
    assert _rows(_ask(fake)) == [(1,)]
    assert fake.now > 60


def test_ctrl_c_cancels_the_query():
    fake = FakeAthena([state("RUNNING"), KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt, match="is cancelled in Athena; what it had read is billed"):
        _ask(fake)
    assert fake.asked[-1] == ("stop", {"QueryExecutionId": QUERY_ID})


def test_ctrl_c_while_athena_takes_the_query_cancels_it_too():
    """Its id is not known yet: the same start once more tells it, by its token, and no second query runs."""
    fake = FakeAthena(start=[KeyboardInterrupt(), None])
    with pytest.raises(KeyboardInterrupt, match=f"query {QUERY_ID} is cancelled in Athena"):
        _ask(fake)
    assert fake.calls == ["start", "start", "stop"]
    assert fake.asked[0] == fake.asked[1]
    assert fake.asked[2] == ("stop", {"QueryExecutionId": QUERY_ID})


def test_ctrl_c_says_so_where_athena_cannot_tell_whether_it_took_the_query():
    fake = FakeAthena(
        start=[KeyboardInterrupt(), EndpointConnectionError(endpoint_url="https://athena.example")]
    )
    with pytest.raises(KeyboardInterrupt, match="look among the workgroup's recent queries"):
        _ask(fake)
    assert fake.calls == ["start", "start"]


def test_ctrl_c_is_obeyed_also_where_stopping_fails(monkeypatch: pytest.MonkeyPatch):
    fake = FakeAthena([KeyboardInterrupt()])

    def failing(**_asked: Any) -> Any:
        raise THROTTLED

    monkeypatch.setattr(fake, "stop_query_execution", failing)
    with pytest.raises(KeyboardInterrupt):
        _ask(fake)


def test_ctrl_c_between_the_pages_stays_an_interruption():
    fake = FakeAthena([DONE], [page([("x", "integer")], [["x"], ["1"]], "more"), KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        _rows(_ask(fake))


def test_an_outage_between_the_pages_is_ours_also_through_arrow():
    fake = FakeAthena([DONE], [page([("x", "integer")], [["x"], ["1"]], "more"), THROTTLED])
    with pytest.raises(Unavailable, match="busy or throttled"):
        _rows(_ask(fake))


def test_the_calls_are_botocores(monkeypatch: pytest.MonkeyPatch):
    """Names and types of what is sent and read are those of the service's own model."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client = fake_athena.client()
    sent: dict[str, Any] = {}
    client.meta.events.register(
        "provide-client-params.athena.StartQueryExecution", lambda params, **_: sent.update(params)
    )
    with Stubber(client) as stub:
        stub.add_response("start_query_execution", {"QueryExecutionId": QUERY_ID})
        stub.add_response("get_query_execution", {"QueryExecution": state("RUNNING")})
        stub.add_response("get_query_execution", {"QueryExecution": DONE})
        stub.add_response("get_query_results", ONE, {"QueryExecutionId": QUERY_ID, "MaxResults": 1000})
        answer = AthenaQuery(client, "team-a", "team_a", sleep=lambda _: None).ask("SELECT 1")
        assert _rows(answer) == [(1,)]
        stub.assert_no_pending_responses()
        stub.add_response("start_query_execution", {"QueryExecutionId": QUERY_ID})
        stub.add_client_error("get_query_execution", "InvalidRequestException", "no such query")
        stub.add_response("stop_query_execution", {}, {"QueryExecutionId": QUERY_ID})
        with pytest.raises(Misuse, match="no such query"):
            AthenaQuery(client, "team-a", "team_a", sleep=lambda _: None).ask("SELECT 1")
        stub.assert_no_pending_responses()
    assert sent["WorkGroup"] == "team-a"


@pytest.fixture
def athena(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = fake_athena.client("us-east-1")
        client.create_work_group(
            Name="team-a",
            Configuration={"ResultConfiguration": {"OutputLocation": "s3://bucket/athena/"}},
        )
        yield client


def test_a_query_runs_against_motos_athena(athena: Any):
    """Canned rows, through every call that a query makes."""
    rows = [
        {"Data": [{"VarCharValue": "keyword"}, {"VarCharValue": "rank"}]},
        {"Data": [{"VarCharValue": "red shoes"}, {"VarCharValue": "1"}]},
        {"Data": [{"VarCharValue": ""}, {}]},
    ]
    columns = [
        {"CatalogName": "hive", "Name": name, "Label": name, "Type": kind}
        for name, kind in (("keyword", "varchar"), ("rank", "integer"))
    ]
    requests.post(
        "http://motoapi.amazonaws.com/moto-api/static/athena/query-results",
        json={"account_id": "123456789012", "region": "us-east-1",
              "results": [{"rows": rows, "column_info": columns}]},
        timeout=10,
    )  # fmt: skip
    answer = AthenaQuery(athena, "team-a", "team_a").ask("SELECT keyword, rank FROM latest_ranks")
    assert _rows(answer) == [("red shoes", 1), ("", None)]
