"""Compaction in Athena: what is asked of it, in which order, and what becomes of what takes long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.athena_compaction import MOST_ROUNDS, SPARE_SNAPSHOTS, AthenaCompactor, Ran, is_worth_it
from pipeline.athena_statements import AthenaStatements
from pipeline.cli.main import main
from pipeline.errors import Unavailable
from pipeline.expiry import expired_snapshots
from pipeline.functions import compact as compact_function
from pipeline.functions.runtime import Remaining
from pipeline.iceberg import open_folder_catalog
from pipeline.settings import Settings
from tests.pipeline.compaction_kit import compacted, delete, filled, pages
from tests.pipeline.kit import LOG
from tests.pipeline.query.fake_athena import FakeWorkgroup
from tests.pipeline.test_catalog import open_tables, staged

OPTIMIZE = (
    "OPTIMIZE pages REWRITE DATA USING BIN_PACK "
    "WHERE run_date = DATE '2026-11-23' AND source = 'practice_api' AND part = 0"
)
MORE = (
    "ICEBERG_{}_MORE_RUNS_NEEDED: Processed 100 partitions in this round, but there are more remaining. "
    "Please run another command."
)
MB = 2**20
LATER = 25 * 3600.0
"""Seconds after which everything that is not current is older than a day."""


def in_athena(
    lake: Path, athena: FakeWorkgroup, *, after: float = 0.0, late: Callable[[], bool] = lambda: False
) -> list[Ran]:
    asked: Any = athena
    one = AthenaCompactor(
        AthenaStatements(asked, "team-compact", "team", sleep=athena.sleep, clock=athena.clock),
        open_folder_catalog(lake),
        late=late,
        clock=lambda: time.time() + after,
    )
    return list(one.compact(24.0))


def test_nothing_is_asked_where_nothing_is_due(tmp_path: Path):
    """Athena bills ten megabytes even for finding nothing: four small files and young snapshots are left."""
    athena = FakeWorkgroup()
    assert in_athena(filled(tmp_path, 4), athena) == []
    assert athena.ran == []


def test_a_partition_with_many_small_files_is_optimized_by_its_own_condition(tmp_path: Path):
    """Only partition columns may stand in WHERE; the table's properties are said first."""
    athena = FakeWorkgroup()
    done = in_athena(filled(tmp_path, 5), athena)
    assert [one.state for one in done] == ["done", "done"]
    properties, optimize = athena.ran
    assert optimize == OPTIMIZE
    assert properties.startswith("ALTER TABLE pages SET TBLPROPERTIES (")
    assert "'optimize_rewrite_data_file_threshold' = '5'" in properties
    assert done[1].bytes == 10 << 20
    assert done[1].cost > 0


@pytest.mark.parametrize(
    ("sizes", "worth"),
    [
        ([1] * 4, False),
        ([1] * 5, True),
        # Athena's own limit: three quarters of 512 MB is large.
        ([384 * MB] * 9, False),
        ([384 * MB - 1] * 5, True),
        # A large file that would be written again waits for half as much as it holds.
        ([300 * MB, *[20 * MB] * 7], False),
        ([300 * MB, *[20 * MB] * 8], True),
        # But not until they are many: each costs every query a request, however little is in it.
        ([300 * MB, *[1] * 98], False),
        ([300 * MB, *[1] * 99], True),
    ],
)
def test_a_large_file_is_not_written_again_for_each_few_small_ones(sizes: list[int], *, worth: bool):
    assert is_worth_it(sizes) is worth


def test_rows_that_were_deleted_are_a_reason(tmp_path: Path):
    """Two files that delete rows of one file: Athena writes that file anew from there on."""
    lake = filled(tmp_path, 1)
    delete(lake, [0])
    assert in_athena(lake, FakeWorkgroup()) == []
    delete(lake, [1])
    athena = FakeWorkgroup()
    in_athena(lake, athena)
    assert athena.ran[-1] == OPTIMIZE


def test_vacuum_keeps_what_ceased_to_be_current_within_the_time(tmp_path: Path):
    """Athena counts a snapshot's age from its making: one that was current until just now has readers."""
    lake = filled(tmp_path, 4)
    athena = FakeWorkgroup()
    in_athena(lake, athena, after=LATER)
    properties, vacuum = athena.ran[:2]
    assert vacuum == "VACUUM pages"
    assert "'vacuum_max_snapshot_age_seconds' = '86400'" in properties
    metadata = pages(lake).metadata
    young = len(metadata.snapshots) - len(expired_snapshots(metadata, int((time.time() + 3600) * 1000)))
    assert young == 1
    assert f"'vacuum_min_snapshots_to_keep' = '{young + SPARE_SNAPSHOTS}'" in properties
    assert "'vacuum_max_metadata_files_to_keep' = '20'" in properties


def test_vacuum_spares_the_snapshot_that_was_current_at_the_moment_from_which_all_stays(tmp_path: Path):
    """Of three older ones the last was current until the fourth came, so three of the five stay."""
    filled(tmp_path, 3)
    moment = time.time()
    tables = open_tables(tmp_path)
    for number in (7, 8):
        tables.append_pages([staged(number)])
    athena = FakeWorkgroup()
    in_athena(tmp_path, athena, after=moment + 24 * 3600 - time.time())
    assert athena.ran[1] == "VACUUM pages"
    assert f"'vacuum_min_snapshots_to_keep' = '{3 + SPARE_SNAPSHOTS}'" in athena.ran[0]


@pytest.mark.parametrize(("word", "statement"), [("OPTIMIZE", OPTIMIZE), ("VACUUM", "VACUUM pages")])
def test_a_statement_is_repeated_until_athena_says_that_it_is_done(tmp_path: Path, word: str, statement: str):
    """After 100 partitions, or 20,000 files, Athena fails the statement and asks for another run."""
    athena = FakeWorkgroup(lambda sql: [MORE.format(word)] * 3 if sql == statement else [])
    done = in_athena(filled(tmp_path, 6), athena, after=LATER)
    assert athena.ran.count(statement) == 4
    [found] = [one for one in done if one.statement == statement]
    assert (found.state, found.rounds, found.bytes) == ("done", 4, 4 * (10 << 20))


def test_a_statement_that_never_ends_asking_is_left_to_the_next_turn(tmp_path: Path):
    """It got on each time, so it is no failure; a turn runs one statement fifty times at most."""
    athena = FakeWorkgroup(lambda sql: [MORE.format("OPTIMIZE")] * 500 if sql == OPTIMIZE else [])
    done = in_athena(filled(tmp_path, 6), athena)
    assert athena.ran.count(OPTIMIZE) == MOST_ROUNDS == 50
    assert (done[-1].state, done[-1].rounds, done[-1].reason) == ("done", 50, "")


def test_a_statement_is_not_run_again_when_time_is_over(tmp_path: Path):
    """It got on and asks for another run, which is the next turn's."""
    athena = FakeWorkgroup(lambda sql: [MORE.format("OPTIMIZE")] * 9 if sql == OPTIMIZE else [], slow=0)
    done = in_athena(filled(tmp_path, 6), athena, late=lambda: athena.ran.count(OPTIMIZE) == 3)
    assert athena.ran.count(OPTIMIZE) == 3
    assert (done[-1].state, done[-1].rounds, done[-1].reason) == ("done", 3, "")


def test_a_statement_that_fails_is_told_with_its_reason_and_the_others_go_on(tmp_path: Path):
    """A conflict with another commit: the next turn tries again."""
    said = "ICEBERG_COMMIT_ERROR: Failed to commit Iceberg update to table: pages"
    athena = FakeWorkgroup(lambda sql: [said] if sql == "VACUUM pages" else [])
    done = in_athena(filled(tmp_path, 6), athena, after=LATER)
    assert [one.state for one in done] == ["done", "failed", "done"]
    assert done[1].reason == said


def test_without_its_properties_nothing_is_vacuumed(tmp_path: Path):
    """Somebody's own vacuum_max_snapshot_age_seconds could take files that readers are at."""
    athena = FakeWorkgroup(lambda sql: ["no"] if sql.startswith("ALTER") else [])
    done = in_athena(filled(tmp_path, 6), athena, after=LATER)
    assert [one.state for one in done] == ["failed"]
    assert len(athena.ran) == 1


def test_what_outlasts_its_turn_runs_on_and_the_next_turn_waits_for_it(tmp_path: Path):
    """Never stopped, never started twice: the workgroup itself says what is under way."""
    lake = filled(tmp_path, 5)
    athena = FakeWorkgroup(slow=20)
    # The properties take 20 looks; time is over in the middle of the next statement.
    first = in_athena(lake, athena, late=lambda: len(athena.ran) == 2)
    assert [one.state for one in first] == ["done", "running"]
    assert athena.ran[-1] == OPTIMIZE
    # What it did, as seen by the next turn.
    athena.happens = lambda _sql: compacted(lake)
    second = in_athena(lake, athena)
    assert [(one.statement, one.state) for one in second] == [(OPTIMIZE, "done")]
    assert athena.ran.count(OPTIMIZE) == 1


def test_nothing_is_started_when_time_is_over(tmp_path: Path):
    athena = FakeWorkgroup()
    assert in_athena(filled(tmp_path, 6), athena, late=lambda: True) == []
    assert athena.ran == []


def test_a_name_with_a_quote_stays_a_name(tmp_path: Path):
    """What a source is called comes from a file: it cannot leave its place in the statement."""
    athena = FakeWorkgroup()
    in_athena(filled(tmp_path, 5, source="it's"), athena)
    assert "AND source = 'it''s' AND" in athena.ran[-1]


class _Remaining(Remaining):
    def __init__(self, until: float) -> None:
        super().__init__()
        self._at = until

    def until(self) -> float:
        return self._at


def turn(lake: Path, athena: FakeWorkgroup, until: float = math.inf) -> Any:
    """A turn of the function by its schedule, in a deployment that says ``athena``."""
    place = SimpleNamespace(open_catalog=lambda: open_folder_catalog(lake), clock=time.time)
    opened: Any = SimpleNamespace(
        settings=Settings(name="team", compaction="athena"), clients=athena.clients(), place=place, log=LOG
    )
    return compact_function.in_athena(opened, _Remaining(until))


def test_the_function_has_athena_do_it_and_says_what_it_did(tmp_path: Path):
    """In the workgroup of compaction; a turn that is over starts nothing."""
    athena = FakeWorkgroup(slow=0)
    lake = filled(tmp_path, 5)
    assert turn(lake, athena, until=0.0) == []
    told = turn(lake, athena)
    assert [one["statement"] for one in told] == athena.ran
    assert told[-1]["statement"] == OPTIMIZE
    assert athena.workgroups == {"team-compact"}


def test_a_turn_in_which_a_statement_failed_is_an_error_of_the_function(tmp_path: Path):
    """So that the alarm on its errors tells, also where Athena refuses hour after hour."""
    athena = FakeWorkgroup(lambda sql: ["Query timeout"] if sql == OPTIMIZE else [], slow=0)
    with pytest.raises(Unavailable, match=r"1 of 2 statements.*OPTIMIZE pages.*Query timeout"):
        turn(filled(tmp_path, 5), athena)


def by_hand(lake: Path, athena: FakeWorkgroup, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("pipeline.bootstrap_aws.aws_clients", lambda _settings: athena.clients())
    monkeypatch.setattr("pipeline.cli.compact_command.open_place", lambda _settings, **_: place)
    place = SimpleNamespace(open_catalog=lambda: open_folder_catalog(lake), clock=time.time)
    return main(["compact", "--lake", "s3://bucket", "--with-athena"])


def test_by_hand_each_statement_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """With what it read and cost; 1 where one failed."""
    lake = filled(tmp_path, 5)
    assert by_hand(lake, FakeWorkgroup(slow=0), monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{OPTIMIZE}: done, 10.5 MB read, about $0.000048"
    assert by_hand(lake, FakeWorkgroup(lambda _sql: ["no"], slow=0), monkeypatch) == 1
    assert "no, 10.5 MB read" in capsys.readouterr().out
    compacted(lake)
    assert by_hand(lake, FakeWorkgroup(slow=0), monkeypatch) == 0
    assert capsys.readouterr().out == "nothing to compact\n"


def test_a_folder_is_not_for_athena(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lake = filled(tmp_path, 1)
    assert main(["compact", "--lake", str(lake), "--with-athena"]) == 2
    assert "no lake on AWS" in capsys.readouterr().err
