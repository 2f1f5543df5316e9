"""The command line: what it prints, what it exits with, and one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.cli.main import main
from pipeline.practice.server import PracticeEngine
from tests.pipeline.test_local import own_sources


@pytest.fixture
def serpline(
    tmp_path: Path,
    engine: PracticeEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Runs a command in this process; gives its exit code, output and error output."""
    monkeypatch.setenv("SERPLINE_SOURCES", str(own_sources(tmp_path / "sources", engine.base_url)))
    monkeypatch.setenv("SERPLINE_LAKE", str(tmp_path / "lake"))
    monkeypatch.delenv("SERPLINE_CONTACT", raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def keywords(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text('keyword\njson dumps\n"open, read a file"\njson  dumps\n')
    return path


def test_run_prints_the_ledger_and_exits_with_0(serpline, keywords: Path):
    """Lines, tasks, duplicates, rejects, statuses and speed; 0 because all is accounted for."""
    code, out, err = serpline("run", str(keywords))
    assert code == 0
    ledger = dict(line.split(maxsplit=1) for line in out.splitlines())
    counts = ("lines", "kept", "duplicates", "rejected", "tasks", "ok", "refused", "failed")
    assert [ledger[name] for name in counts] == ["3", "2", "1", "0", "2", "2", "0", "0"]
    assert "pages/s" in out
    # Where no terminal shows progress the log is on standard error, one JSON object a line.
    logged = [orjson.loads(line) for line in err.splitlines()]
    assert {"shard", "fetch", "aggregate"} <= {line["stage"] for line in logged}
    [staged] = [line for line in logged if line["event"] == "batch staged"]
    assert staged["source"] == "practice_page"
    assert staged["batch_id"] == f"{staged['run_id']}/0/1.0"
    assert all(line["run_id"] == ledger["run"].split()[0] for line in logged)


def test_status_shows_runs_and_one_run(serpline, keywords: Path):
    """Every run a line; one run, by the beginning of its id, its ledger."""
    serpline("run", str(keywords), "--run-id", "first")
    code, out, _ = serpline("status")
    assert code == 0
    assert "first" in out
    assert "complete" in out
    code, out, _ = serpline("status", "fir")
    assert code == 0
    assert out.splitlines()[-1] == "complete"


def test_a_run_made_here_is_traced_and_its_command_mends_it(
    serpline, keywords: Path, monkeypatch: pytest.MonkeyPatch
):
    """The operator's commands find the same lake; what only workers need says so."""
    serpline("run", str(keywords), "--run-id", "first")
    code, out, _ = serpline("trace", "json dumps")
    assert code == 0
    assert "list.csv, line 2, 4" in out
    assert "row: ok, HTTP 200, 1 request," in out
    assert serpline("pause", "first")[0] == 2
    code, _, err = serpline("repair", "first")
    assert code == 2
    assert "--broker" in err
    monkeypatch.setenv("SERPLINE_BROKER", "amqp://127.0.0.1:1")
    code, _, err = serpline("settle", "first")
    assert code == 2
    assert "the same command goes on with it" in err


def test_what_failed_is_run_again_from_a_file(serpline, tmp_path: Path, keywords: Path, engine):
    """`retry --file` and `run` together do on one machine what `retry` does with workers."""
    serpline("run", str(keywords), "--run-id", "first")
    again = tmp_path / "again.jsonl"
    code, out, _ = serpline("retry", "first", "--status", "ok", "--file", str(again))
    assert (code, out) == (0, f"{again}: 2 tasks; `serpline run {again}` asks them again\n")
    assert serpline("run", str(again))[0] == 0
    assert len(engine.arrivals) == 4


def test_a_spread_run_lasts_as_long_as_was_said(serpline, tmp_path: Path, engine: PracticeEngine):
    """The real run of one machine: thirty requests over three seconds, and the ledger is complete."""
    path = tmp_path / "list.txt"
    path.write_text("\n".join(f"spread {number}" for number in range(30)))
    code, out, _ = serpline("run", str(path), "--spread", "3s", "--run-id", "first")
    assert code == 0, out
    moments = sorted(one.at for one in engine.arrivals)
    assert len(moments) == 30
    assert 2.0 <= moments[-1] - moments[0] <= 5.0
    assert serpline("run", str(path), "--spread", "soon")[0] == 2
    code, _, err = serpline("run", str(path), "--run-id", "first")
    assert code == 2
    assert "with other options" in err


def test_sources_list_and_show(serpline):
    """Every source a line; one source with its defaults filled in."""
    assert "practice_api" in serpline("sources", "list")[1]
    code, out, _ = serpline("sources", "show", "practice_api")
    assert code == 0
    shown = orjson.loads(out.rpartition("# from")[0])
    assert shown["politeness"]["max_rest"] == 86_400


MISUSES = {
    "no command": [],
    "an unknown command": ["fly"],
    "an unknown option": ["run", "LIST", "--fast"],
    "no such file": ["run", "missing.csv"],
    "a file of another kind": ["run", "list.docx"],
    "an unknown source": ["run", "LIST", "--source", "nobody"],
    "no locale": ["run", "LIST", "--locale", "english please"],
    "too many pages": ["run", "LIST", "--pages", "11"],
    "no pages": ["run", "LIST", "--pages", "many"],
    "a run id that is a path": ["run", "LIST", "--run-id", "../x"],
    "a status of nothing": ["status", "--lake", "nowhere"],
    "an unknown run": ["status", "nobody"],
    "a source to show that is none": ["sources", "show", "nobody"],
    "a keyword that is none": ["sources", "try", "practice_api", "  "],
    "a worker without a broker": ["worker", "fetch"],
    "a broker of another kind": ["worker", "fetch", "--broker", "http://x"],
    "a stage that is none": ["worker", "fly", "--broker", "redis://x"],
    "a source for another stage": [
        "worker",
        "shard",
        "--broker",
        "redis://127.0.0.1:1",
        "--source",
        "practice_api",
    ],
    "a fault that is none": ["practice", "--port", "0", "--fault", "nonsense=1"],
}


@pytest.mark.parametrize("words", MISUSES.values(), ids=MISUSES.keys())
def test_misuse_is_one_line_and_2(serpline, keywords: Path, words: list[str]):
    """A mistake costs one line that says what to do, never a traceback, never half a run."""
    serpline("run", str(keywords), "--run-id", "first")
    code, out, err = serpline(*(str(keywords) if word == "LIST" else word for word in words))
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("serpline: ")
    assert "Traceback" not in err


def test_verbose_adds_the_traceback(serpline):
    """Whoever wants to know more asks for it."""
    code, _, err = serpline("run", "missing.csv", "--verbose")
    assert code == 2
    assert "Traceback" in err


def test_a_file_that_is_no_keyword_file_is_refused_before_anything_is_asked(serpline, tmp_path: Path, engine):
    """A picture or a table without keywords: one line, exit 2, no run, no request."""
    picture, table = tmp_path / "picture.csv", tmp_path / "table.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    table.write_text("name,city\na,b\n")
    for path in (picture, table):
        code, _, err = serpline("run", str(path))
        assert code == 2
        assert path.name in err
    assert len(engine.arrivals) == 0
    assert serpline("status")[0] == 2


def test_an_empty_file_is_a_complete_run_of_nothing(serpline, tmp_path: Path):
    """Nothing to ask is nothing missing: the ledger says zero lines, and the exit code is 0."""
    path = tmp_path / "empty.txt"
    path.write_bytes(b"")
    code, out, _ = serpline("run", str(path))
    assert code == 0
    assert "lines      0" in out


def test_a_complete_run_is_not_run_again_under_its_own_id(serpline, keywords: Path, engine):
    """The id names one run for ever; asking for it again says so and asks nothing."""
    assert serpline("run", str(keywords), "--run-id", "one")[0] == 0
    asked = len(engine.arrivals)
    code, _, err = serpline("run", str(keywords), "--run-id", "one")
    assert code == 2
    assert "complete" in err
    assert len(engine.arrivals) == asked


def test_an_id_belongs_to_one_file_and_its_options(serpline, keywords: Path, tmp_path: Path):
    """Another list cannot slip into a run that was frozen of this one."""
    serpline("run", str(keywords), "--run-id", "one")
    other = tmp_path / "other.txt"
    other.write_text("something else\n")
    assert serpline("run", str(other), "--run-id", "one")[0] == 2


def test_no_contact_no_live_run(serpline, tmp_path: Path, keywords: Path):
    """A source beyond this machine is not asked anonymously."""
    text = (tmp_path / "sources" / "practice_api.toml").read_text()
    base = text.split('base_url = "')[1].split('"')[0]
    live = text.replace(base, "https://engine.example").replace('name = "practice_api"', 'name = "live"')
    (tmp_path / "sources" / "live.toml").write_text(live)
    code, _, err = serpline("run", str(keywords), "--source", "live")
    assert code == 2
    assert "SERPLINE_CONTACT" in err


def test_a_wrong_source_file_is_refused_with_the_field(serpline, tmp_path: Path):
    """The line names the file and the path of the field in it."""
    path = tmp_path / "sources" / "practice_api.toml"
    path.write_text(path.read_text().replace("rate = 500", "rate = -1"))
    code, _, err = serpline("sources", "list")
    assert code == 2
    assert "practice_api.toml" in err
    assert "politeness.rate" in err


def test_rejected_lines_are_kept_with_their_reason(serpline, tmp_path: Path):
    """One bad line costs itself; where it is kept, number, reason and text stand with it."""
    path = tmp_path / "list.csv"
    path.write_text("keyword,source\njson dumps,\nopen a file,nobody\n", "utf-8")
    code, out, _ = serpline("run", str(path), "--run-id", "one")
    assert code == 0
    assert "rejected   1" in out
    kept = (tmp_path / "lake" / "runs" / "one" / "rejects-0.jsonl").read_text()
    assert orjson.loads(kept) == {"line": 3, "reason": "unknown_source", "text": "open a file"}


def test_rows_may_name_their_own_source_locale_and_pages(serpline, tmp_path: Path, engine):
    """One file asks several sources, locales and depths; each task is its own row."""
    path = tmp_path / "list.csv"
    path.write_text(
        "keyword,source,locale,pages\njson,practice_page,de-DE,2\njson,practice_api,,1\ncsv,,fr_fr,\n",
        "utf-8",
    )
    code, out, _ = serpline("run", str(path), "--source", "practice_api")
    assert code == 0, out
    asked = sorted((arrival.path, arrival.keyword, arrival.page) for arrival in engine.arrivals)
    assert asked == [
        ("/api/search", "csv", 1),
        ("/api/search", "json", 1),
        ("/search", "json", 1),
        ("/search", "json", 2),
    ]


def test_query_answers_in_several_formats(serpline, keywords: Path, tmp_path: Path):
    """A table to look at, CSV and JSON to go on with; SQL as Athena has it."""
    assert serpline("run", str(keywords), "--run-id", "one")[0] == 0
    sql = "SELECT keyword, count(*) AS results FROM results GROUP BY keyword ORDER BY keyword"
    code, out, _ = serpline("query", sql)
    assert code == 0
    assert out.rstrip().endswith("2 rows")
    code, out, _ = serpline("query", sql, "--format", "csv")
    assert out == 'keyword,results\r\njson dumps,10\r\n"open, read a file",10\r\n'
    code, out, _ = serpline("query", sql, "--format", "json")
    assert orjson.loads(out)[0] == {"keyword": "json dumps", "results": 10}
    for words in (["SELECT * FROM nothing"], ["SELECT 1", "--lake", str(tmp_path / "nowhere")], ["SELEC 1"]):
        code, out, err = serpline("query", *words)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
