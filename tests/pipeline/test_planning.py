"""Plans: numbers worked by hand, what makes them grow, and the emulator's counts beside them."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import planning
from pipeline.bootstrap_aws import LONGEST_SHARD
from pipeline.cli import plan_command
from pipeline.cli.main import main
from pipeline.cli.quota_note import quota_notes
from pipeline.functions.runtime import MARGIN
from pipeline.planning import EXAMPLES, MONTH, Fleet, Load, Prices, Terms, bill, in_words, of_pages
from pipeline.runs import Given
from pipeline.settings import Settings
from pipeline.source_files import load_sources, renamed, shipped_files

ROOT = Path(__file__).parent.parent.parent
COUNTED = ROOT / "build" / "aws_calls.json"

FREE = Prices(**dict.fromkeys(Prices.__struct_fields__, 0.0))


def test_a_small_load_by_hand():
    """10,000 tasks at 50 a second in batches of 100, by two functions of 1 GB: 200 s of both."""
    terms = Terms(50.0, concurrency=8, copies=2, latency=0.25, memory=1024)
    done = bill([Load("s", terms, 10_000, 100)], lines=10_000)
    assert done.seconds == 200.0
    assert done.count("GB-s of fetch") == 400.0
    # 100 batches and 14 leases more, because none reaches further than a minute.
    assert done.count("writes") == pytest.approx(100 + 400 / 30)
    # Those, a look a second at the state, and conduct's look each minute.
    assert done.count("reads") == pytest.approx(100 + 400 / 30 + 400 + 200 / 60)
    # Ten batches a send, each received and deleted.
    assert done.count("requests of the fetch queues") == pytest.approx(10 + 200)
    # Staged batches, the shard row, three records of the run; two commits a window, and their objects.
    commits = 2 * (200 / 60 + 1) + 1
    assert done.count("PUT") == pytest.approx(101 + 3 + planning.COMMIT_PUTS * commits)
    assert done.of("SQS") == pytest.approx(
        210 * 0.5e-6 + (3 * 101 + 3 + 2 * 200 / 60) * 0.4e-6 + 3 * 5 * 10 * 0.4e-6
    )
    assert done.usd == pytest.approx(sum(line.usd for line in done.lines))


def test_waiting_dominates_a_slow_source_and_not_a_fast_one():
    """The goal: below a dollar a million pages at 50 requests a second, everything counted."""
    slow, fast = (of_pages(1_000_000, terms) for terms in EXAMPLES.values())
    assert slow.count("GB-s of fetch") == 2 * 1_000_000 * 0.5
    assert slow.of("Lambda") > 0.7 * slow.usd
    assert fast.usd < 1.0
    assert fast.count("GB-s of fetch") == 2 * 20_000 * 0.5


def test_functions_that_cannot_keep_up_are_the_limit():
    """Two functions with one open request of a second each reach two pages a second, whatever the rate is."""
    terms = Terms(50.0, concurrency=1, copies=2, latency=1.0)
    assert terms.reach == 2.0
    assert Load("s", terms, 1_000, 10).seconds == 500.0


def test_more_copies_wait_longer_for_the_same_rate():
    """They hold no more requests a second, so each second is paid for as often as there are copies."""
    usd = [of_pages(100_000, Terms(1.0, copies=copies)).of("Lambda") for copies in (2, 4)]
    assert usd[1] > 1.5 * usd[0]


def test_what_the_rate_cannot_reach_waits_in_the_backlog():
    load = Load("s", Terms(1.0), 100_000, 1_000)
    assert load.queued(21_600) == 21_600
    # A chunk is a twentieth of the horizon: one PUT and one GET each.
    more = bill([load], fleet=Fleet(horizon=21_600)).count("PUT") - bill(
        [load], fleet=Fleet(horizon=1e9)
    ).count("PUT")
    assert more == pytest.approx(math.ceil((100_000 - 21_600) / 1_080), abs=1)


def test_a_very_slow_source_sends_its_messages_round():
    """At one request an hour no function waits for it: six messages come back every quarter of an hour."""
    done = bill([Load("s", Terms(1 / 3600), 24, 24)])
    assert done.seconds == 86_400
    # Beside the schedules' turns, the shard and the commits, at most one a page.
    fetched = done.count("invocations") - done.count("turns") - 1 - 24
    assert fetched == pytest.approx(24 + 96 * 6)
    assert done.count("GB-s of fetch") < 24 * 120 + 600


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3_000_000),
    st.integers(1, 3_000_000),
    st.floats(0.001, 200),
    st.integers(1, 64),
    st.integers(2, 50),
    st.floats(0.05, 10),
)
@example(11, 13, 0.03125, 1, 4, 1.0)
def test_more_tasks_never_cost_less(
    one: int, other: int, rate: float, open_: int, copies: int, latency: float
):
    """Time and every sum grow with the tasks."""
    terms = Terms(rate, open_, copies, latency)
    few, many = (of_pages(tasks, terms) for tasks in sorted((one, other)))
    assert few.seconds <= many.seconds
    for less, more in zip(few.lines, many.lines, strict=True):
        assert less.count <= more.count * (1 + 1e-9) + 1e-9, less.what
    assert few.usd <= many.usd * (1 + 1e-9)


def test_prices_can_be_replaced():
    assert of_pages(1_000, Terms(1.0), FREE).usd == 0.0
    assert of_pages(1_000, Terms(1.0), msgspec.structs.replace(FREE, put=1.0)).usd == pytest.approx(
        of_pages(1_000, Terms(1.0)).count("PUT") + of_pages(1_000, Terms(1.0)).count("LIST")
    )


def test_a_deployment_without_work_costs_its_turns():
    """43,200 turns of conduct, 8,640 of the ledger, three queues that five polls look into."""
    idle = planning.standing(MONTH)
    assert idle.count("turns") == 43_200 + 8_640
    assert idle.count("polls") == 3 * 5 * 129_600
    assert idle.count("GB-s of fetch") == 0
    assert idle.count("months of a metric") == 7
    assert idle.usd < 6


def test_what_is_assumed_is_what_terraform_and_the_code_say():
    """Defaults of memory and windows, a function's margin, the longest shard."""
    terraform = ROOT / "infra" / "terraform"
    memory = dict(
        re.findall(r"(\w+)\s*= optional\(number, (\d+)\)", (terraform / "variables_extra.tf").read_text())
    )
    fleet = Fleet()
    for stage in ("shard", "aggregate", "compact", "conduct"):
        assert int(memory[stage]) == getattr(fleet, stage)
    source = dict(
        re.findall(r"(\w+)\s*= optional\(number, (\d+)\)", (terraform / "variables_sources.tf").read_text())
    )
    terms = Terms(1.0)
    assert (terms.concurrency, terms.copies) == (int(source["concurrency"]), int(source["max_concurrency"]))
    assert (terms.memory, terms.timeout) == (int(source["memory"]), float(source["timeout"]))
    assert f"aggregate_window  = {fleet.window:.0f}" in (terraform / "queues.tf").read_text()
    schedules = (terraform / "schedules.tf").read_text()
    assert 'every = "rate(5 minutes)"' in schedules
    assert 'every = "rate(1 minute)"' in schedules
    assert (fleet.ledger_every, fleet.conduct_every) == (300, 60)
    assert fleet.horizon == Settings().horizon
    assert planning.STOPPED == MARGIN
    assert plan_command.LONGEST_SHARD == LONGEST_SHARD


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (3_601, "1 hour"),
        (5_400, "1 hour 30 minutes"),
        (20_000, "5 hours 33 minutes"),
        (86_400 * 1_200, "1,200 days"),
    ],
)
def test_times_in_words(seconds: float, said: str):
    assert in_words(seconds) == said


@pytest.fixture
def keywords(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    rows = "".join(f"word {number},\n" for number in range(250))
    path.write_text(f"keyword,source\n{rows}word 0,\nother,mediawiki\nmore,nobody\n")
    return path


def plan(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["plan", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_plan_says_what_a_file_takes(keywords: Path, capsys: pytest.CaptureFixture[str]):
    """Lines, tasks, time, source by source, and the bill, on a screen."""
    code, out, _ = plan(capsys, str(keywords), "--source", "wikipedia", "--rate", "0.01", "--pages", "2")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) <= 20
    assert lines[0] == "list.csv: 253 lines = 251 kept + 1 duplicates + 1 rejects"
    assert lines[1] == "502 tasks in 502 batches of up to 1, sharded in 1 part"
    assert lines[2].startswith("wikipedia: 13 hours 53 minutes at 0.01/s; 20 results a page")
    assert lines[3] == "  216 tasks wait in its queue (6 hours), 284 in the backlog"
    assert lines[4].startswith("mediawiki: 2 seconds at 1/s")
    assert lines[-2].split()[0] == "together"
    assert lines[-1] == "the table grows by about 1.0 MB: full pages at 100 bytes a result"


def test_plan_says_what_a_spread_comes_to(keywords: Path, capsys: pytest.CaptureFixture[str]):
    """The hours that were said where the rate is faster, the rate's own where it is not; small batches."""
    words = (str(keywords), "--source", "wikipedia", "--rate", "1", "--spread")
    code, out, _ = plan(capsys, *words, "6h")
    assert code == 0
    assert "251 tasks in 251 batches of up to 1," in out
    assert "wikipedia: 6 hours by its spread; asked at most at 1/s; " in out
    [bound] = [line for line in plan(capsys, *words, "1m")[1].splitlines() if line.startswith("wikipedia:")]
    assert bound.startswith("wikipedia: 4 minutes")
    assert " at 1/s; " in bound
    assert "spread" not in bound
    said = json.loads(plan(capsys, *words, "6h", "--format", "json")[1])
    assert {load["spread"] for load in said["loads"]} == {21_600.0}
    assert said["bill"]["seconds"] == 21_600.0
    assert plan(capsys, *words, "soon")[0] == 2


def test_plan_as_json_is_the_same(keywords: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = plan(capsys, str(keywords), "--source", "wikipedia", "--format", "json")
    said = json.loads(out)
    assert code == 0
    assert said["read"]["tasks"] == {"wikipedia": 250, "mediawiki": 1}
    assert said["read"]["row"]["duplicates"] == 1
    assert said["usd"] == pytest.approx(sum(line["usd"] for line in said["bill"]["lines"]))


def test_plan_names_every_source_with_its_requests_and_hours(
    tmp_path: Path, counted_source: str, capsys: pytest.CaptureFixture[str]
):
    """The slowest in full, the others in a line each; in JSON all alike."""
    path = tmp_path / "mixed.csv"
    counts = {"wikipedia": 400, "mediawiki": 300, counted_source: 250, "practice_page": 50}
    rows = [f"w{n},{source}" for source, count in counts.items() for n in range(count)]
    path.write_text("\n".join(["keyword,source", *rows, ""]))
    words = (str(path), "--source", "wikipedia", "--rate", "0.1")
    code, out, _ = plan(capsys, *words)
    assert code == 0
    assert {line.partition(":")[0] for line in out.splitlines()} >= set(counts)
    assert "mediawiki: 300 requests, 5 minutes at 1/s" in out.splitlines()
    said = json.loads(plan(capsys, *words, "--format", "json")[1])["sources"]
    assert {source: (one["tasks"], one["requests"]) for source, one in said.items()} == {
        source: (count, count) for source, count in counts.items()
    }
    assert said["wikipedia"]["hours"] == pytest.approx(4_000 / 3_600)
    assert (said[counted_source]["days"], said["wikipedia"]["days"]) == (3, 0)


def test_plan_estimates_a_long_file(
    keywords: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Only its number of lines is known."""
    monkeypatch.setattr(planning, "COUNTED", 100)
    code, out, _ = plan(capsys, str(keywords), "--source", "wikipedia")
    assert code == 0
    assert out.startswith("list.csv: about 253 lines")
    assert "253 tasks in 3 batches of up to 100" in out


def test_plan_says_what_is_too_slow_or_too_long(
    keywords: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Functions that cannot reach the rate, and a file that the deployment would refuse."""
    monkeypatch.setattr(plan_command, "LONGEST_SHARD", 1e-4)
    code, out, _ = plan(capsys, str(keywords), "--source", "wikipedia", "--rate", "100", "--concurrency", "2")
    assert code == 0
    assert "too many lines for AWS" in out
    assert "reach 13/s at 0.3 s an answer: raise concurrency or max_concurrency" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "0"], "above 0"),
        (["--concurrency", "0"], "at least 1"),
        (["--copies", "0"], "--copies"),
        (["--source", "nobody"], "there is no source"),
        (["--pages", "99"], "pages must be"),
    ],
)
def test_plan_refuses_what_cannot_be(
    keywords: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
):
    code, _, err = plan(capsys, str(keywords), "--source", "wikipedia", *words)
    assert code == 2
    assert said in err


@pytest.mark.parametrize("name", ["missing.csv", "list.pdf"])
def test_plan_refuses_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str):
    (tmp_path / "list.pdf").write_bytes(b"%PDF")
    code, _, err = plan(capsys, str(tmp_path / name))
    assert code == 2
    assert name in err


FACTOR = 2.5
"""Between model and emulator, whose mappings have no window and whose runs are short."""

BUSY = 2.0
"""Where a busy machine lets slots pass, what is left of a batch takes one lease more, and another."""


def test_the_emulators_calls_are_of_the_models_size():
    """``build/aws_calls.json`` has what the functions called for so many tasks, as the emulator saw it."""
    if not COUNTED.exists():
        assert not os.environ.get("CI"), "the emulator suite left no build/aws_calls.json"
        pytest.skip("no build/aws_calls.json: the emulator suite writes it")
    said: dict[str, Any] = json.loads(COUNTED.read_text())
    tasks, by_1000 = said["tasks"], said["per_1000_tasks"]

    def counted(*names: str) -> float:
        halves = (by_1000["asking"], by_1000["committing"])
        return float(sum(half.get(name, 0.0) for half in halves for name in names)) * tasks / 1000

    # There each pointer is soon a commit of its own.
    load = Load("s", Terms(100.0, concurrency=8, latency=0.1), tasks, math.ceil(tasks / said["batch"]))
    modelled = bill([load], lines=tasks, fleet=Fleet(window=0.1))
    pairs = {
        "PUT": counted("s3:PutObject"),
        "GET": counted("s3:GetObject", "s3:HeadObject"),
        "reads": counted("dynamodb:GetItem"),
        "writes": counted("dynamodb:UpdateItem"),
        "calls": counted("glue:GetTable", "glue:UpdateTable"),
    }
    for what, real in pairs.items():
        most = FACTOR * (BUSY if what in ("reads", "writes") else 1.0)
        assert real / most <= modelled.count(what) <= real * FACTOR, (what, real, modelled.count(what))


def test_a_quota_makes_days_of_a_load():
    """10,000 tasks at 100 a day: 99 whole days and the minutes of the last; the rest waits in the backlog."""
    load = Load("s", Terms(1.0, quota=100), 10_000, 100)
    assert load.days == 100
    assert load.seconds == 99 * 86_400 + 100
    assert load.queued(21_600) == 25
    assert Load("s", Terms(1.0, quota=100), 100, 1).seconds == 100
    assert Load("s", Terms(1.0), 10_000, 100).days == 0
    # A quota that the rate does not reach takes nothing longer.
    assert Load("s", Terms(0.001, quota=100), 100, 1).seconds == pytest.approx(100_000)
    # Functions wait for the rate alone: without quota nobody listens.
    assert bill([load]).count("GB-s of fetch") == 2 * 10_000 * 0.5


@pytest.fixture
def counted_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A source of one's own on this machine, with a quota of 100 a day."""
    folder = tmp_path / "own"
    folder.mkdir()
    text = renamed(shipped_files()["practice_api.toml"][0], "counted")
    (folder / "counted.toml").write_text(text.replace("[politeness]\n", "[politeness]\nquota = 100\n"))
    monkeypatch.setenv("SERPLINE_SOURCES", str(folder))
    return "counted"


def test_plan_says_days_of_quota(keywords: Path, counted_source: str, capsys: pytest.CaptureFixture[str]):
    """In the text, and in JSON as a number."""
    code, out, _ = plan(capsys, str(keywords), "--source", counted_source, "--pages", "4")
    assert code == 0
    # 250 keywords of four pages.
    assert "  10 days of its quota of 100 requests a day" in out.splitlines()
    assert "counted: 9 days" in out
    code, out, _ = plan(capsys, str(keywords), "--source", counted_source, "--format", "json")
    assert json.loads(out)["days_of_quota"] == {"counted": 3}


@pytest.mark.parametrize("rows", [100, 101])
def test_run_and_submit_warn_of_a_file_beyond_the_quota(tmp_path: Path, counted_source: str, rows: int):
    """Before anything is asked, and only where a day's quota is not enough."""
    path = tmp_path / "list.txt"
    path.write_text("".join(f"word {number}\n" for number in range(rows)))
    sources = load_sources(tmp_path / "own")
    notes = list(quota_notes(path, Given(counted_source), Settings(), sources))
    said = (
        "counted: 101 tasks take 2 days of its quota of 100 requests a day; "
        "they wait for it, and none is lost"
    )
    assert notes == ([said] if rows > 100 else [])


def test_rows_that_name_a_source_with_a_quota_are_counted(tmp_path: Path, counted_source: str):
    """The run's own source has none; a list without columns is not even read."""
    table, plain = tmp_path / "list.csv", tmp_path / "list.txt"
    table.write_text("keyword,source\n" + "".join(f"w{n},{counted_source}\n" for n in range(250)))
    sources = load_sources(tmp_path / "own")
    notes = list(quota_notes(table, Given("practice_page"), Settings(), sources))
    assert [note.partition(";")[0] for note in notes] == [
        "counted: 250 tasks take 3 days of its quota of 100 requests a day"
    ]
    assert list(quota_notes(plain, Given("practice_page"), Settings(), sources)) == []
