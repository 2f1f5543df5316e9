"""Whole runs on this machine against an engine that really answers, and really misbehaves."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.bootstrap import Place, open_place
from pipeline.errors import Misuse, QueueUnavailable
from pipeline.local import RunEnd, run_here
from pipeline.practice.faults import Fault
from pipeline.practice.server import PracticeEngine
from pipeline.queues.names import Queues
from pipeline.runs import Drop, find_run, freeze_run
from pipeline.settings import Settings
from pipeline.source_files import ready_sources
from stages.keywords import normalise
from stages.run import Options, Run
from tests.pipeline.kit import LOG, each_once, example_keywords, table_rows, windows_hold

QUIET: dict[str, int] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
SHIPPED = Path(__file__).parents[2] / "pipeline" / "sources"


def own_sources(folder: Path, base_url: str, **politeness: object) -> Path:
    """A folder of sources: the shipped practice ones at this engine, with these terms."""
    folder.mkdir(exist_ok=True)
    for name in ("practice_page", "practice_api"):
        head, _, tail = (SHIPPED / f"{name}.toml").read_text("utf-8").partition("[politeness]\n")
        terms = {"rate": 500, "burst": 20, "concurrency": 8, "rest": 2, "robots": "false", **politeness}
        written = "".join(f"{key} = {value}\n" for key, value in terms.items())
        text = f"{head}[politeness]\n{written}\n[answer]{tail.partition('[answer]')[2]}"
        (folder / f"{name}.toml").write_text(text.replace("http://127.0.0.1:8650", base_url), "utf-8")
    return folder


def place_for(folder: Path, engine: PracticeEngine, **politeness: object) -> Place:
    sources = own_sources(folder / "sources", engine.base_url, **politeness)
    return ready(open_place(Settings(sources=str(sources)), lake=folder / "lake"))


def ready(place: Place) -> Place:
    """The place with the sources that need no contact and no secret, as `run` makes it."""
    return msgspec.structs.replace(place, sources=ready_sources(place.sources, ""))


def frozen(place: Place, keywords: list[str], source: str = "practice_page", name: str = "k.txt") -> Run:
    place.storage.put(f"keywords/x/{name}", "\n".join(keywords).encode())
    drop = Drop(f"keywords/x/{name}", name, Options(source, "en-US", "desktop", 1))
    return freeze_run(
        place.storage, "run1", drop, lines=len(keywords), sources=place.sources, clock=time.time
    )


def check_whole(place: Place, run: Run, end: RunEnd, keywords: list[str]) -> Counter[object]:
    """Every keyword is in the table exactly once and the ledger adds up; gives pages by status."""
    assert end.ledger.complete, end
    row = end.ledger.shards[0]
    assert row.lines == row.kept + row.duplicates + row.rejected
    once = each_once(place.lake)
    assert set(once.values()) == {1}
    assert len(once) == row.tasks == len({" ".join(keyword.split()) for keyword in keywords})
    assert end.dead == ()
    assert not list(place.storage.keys(keys.staging(run.run_id)))
    return Counter(status for (status,) in table_rows(place.lake, "status"))


@pytest.mark.parametrize("source", ["practice_page", "practice_api"])
def test_a_list_becomes_a_table(tmp_path: Path, engine: PracticeEngine, source: str):
    """Every keyword of a list ends as one page with its ranked results, asked exactly once."""
    keywords = [
        f"how does {module} work" for module in ("asyncio", "csv", "json", "re", "sqlite3", "pathlib")
    ]
    place = place_for(tmp_path, engine)
    run = frozen(place, keywords, source)
    assert check_whole(place, run, run_here(place, run, LOG), keywords) == {"ok": 6}
    assert len(engine.arrivals) == 6
    for status, results, total, url in table_rows(place.lake, "status", "results", "total_results", "url"):
        assert status == "ok"
        assert [entry["rank"] for entry in results] == list(range(1, len(results) + 1))
        assert total >= len(results) > 0
        assert url.startswith(engine.base_url)
        assert all(entry["url"].startswith("https://docs.python.example/") for entry in results)
        assert all(entry["domain"] == "docs.python.example" and entry["title"] for entry in results)


def test_both_sources_tell_the_same_ranks(tmp_path: Path, engine: PracticeEngine):
    """The HTML page and the JSON interface of one engine give the same titles and links, rank by rank."""
    keywords = ["read a csv file", "what is a generator", "walk a directory tree"]
    answers = []
    for source in ("practice_page", "practice_api"):
        place = place_for(tmp_path / source, engine) if (tmp_path / source).mkdir() is None else None
        assert place is not None
        run_here(place, frozen(place, keywords, source), LOG)
        rows = sorted(table_rows(place.lake, "keyword", "results"))
        answers.append([(key, [(r["rank"], r["title"], r["url"]) for r in results]) for key, results in rows])
    assert answers[0] == answers[1]


def test_every_misbehaviour_ends_in_a_row_with_its_reason(tmp_path: Path, engine: PracticeEngine):
    """Whatever an engine answers, its task ends as one row that says why, and its neighbours end well."""
    kinds = {
        "not-found": ("failed", "http_404"),
        "error": ("failed", "http_500"),
        "unavailable": ("failed", "http_503"),
        "layout": ("failed", "unreadable"),
        "garbage": ("failed", "unreadable"),
        "truncated": ("failed", "cut_short"),
        "reset": ("failed", "connection"),
        "redirect-away": ("failed", "redirected_elsewhere"),
        "redirect-loop": ("failed", "too_many_redirects"),
        "huge": ("failed", "too_large"),
        "gzip-bomb": ("failed", "too_large"),
        "charset-utf16": ("ok", ""),
        "charset-latin1": ("ok", ""),
    }
    asked = {kind: f"{kind} import module" for kind in kinds}
    engine.set_faults([Fault(kind=kind, keywords=(keyword,)) for kind, keyword in asked.items()])
    good = ["json dumps", "open a file", "sort a list"]
    place = place_for(tmp_path, engine)
    run = frozen(place, [*asked.values(), *good])
    end = run_here(place, run, LOG)
    check_whole(place, run, end, [*asked.values(), *good])
    found = {
        keyword: (status, reason)
        for keyword, status, reason in table_rows(place.lake, "keyword", "status", "reason")
    }
    assert {kind: found[keyword] for kind, keyword in asked.items()} == kinds
    assert [found[keyword] for keyword in good] == [("ok", "")] * 3
    # Invariant 4: three attempts and two redirects each at most.
    assert max(Counter(arrival.keyword for arrival in engine.arrivals).values()) <= 3


def test_a_slow_drip_ends_at_the_time_limit(tmp_path: Path, engine: PracticeEngine):
    """A body that comes byte by byte costs its own task the time limit, and nobody else anything."""
    engine.set_faults([Fault(kind="drip", keywords=("drip",))])
    place = place_for(tmp_path, engine)
    for file in (tmp_path / "sources").glob("*.toml"):
        file.write_text(file.read_text() + "\n[limits]\ntimeout = 0.5\nattempts = 1\n")
    place = ready(open_place(Settings(sources=str(tmp_path / "sources")), lake=tmp_path / "lake"))
    run = frozen(place, ["drip", "json dumps"])
    started = time.monotonic()
    check_whole(place, run, run_here(place, run, LOG), ["drip", "json dumps"])
    assert time.monotonic() - started < 10
    assert set(table_rows(place.lake, "keyword", "status", "reason")) == {
        ("drip", "failed", "timeout"),
        ("json dumps", "ok", ""),
    }


def test_a_refusal_closes_the_source_and_one_trial_opens_it(tmp_path: Path, engine: PracticeEngine):
    """After a 429 nothing arrives until Retry-After is over, then one request decides; every task ends ok."""
    keywords = [f"question {number} about modules" for number in range(60)]
    engine.set_faults([Fault(kind="throttle", keywords=(keywords[20],), first=1, seconds=3)])
    place = place_for(tmp_path, engine, concurrency=1)
    run = frozen(place, keywords)
    assert check_whole(place, run, run_here(place, run, LOG), keywords) == {"ok": 60}
    arrivals = engine.arrivals
    refused_at = next(arrival.at for arrival in arrivals if arrival.answer == "throttle")
    after = sorted(arrival.at for arrival in arrivals if arrival.at > refused_at)
    assert after[0] - refused_at >= 2.9
    assert len(arrivals) == 61
    # No attempt was spent on the refusal; the request itself is counted.
    assert Counter(attempts for (attempts,) in table_rows(place.lake, "attempts")) == {1: 59, 2: 1}


def test_a_captcha_for_one_keyword_ends_as_refused(tmp_path: Path, engine: PracticeEngine):
    """A refusal page with status 200 is a refusal; a keyword that always meets one ends as a refused row."""
    engine.set_faults([Fault(kind="captcha", keywords=("forbidden fruit",))])
    place = place_for(tmp_path, engine, rest=0.5)
    run = frozen(place, ["json dumps", "forbidden fruit", "open a file"])
    end = run_here(place, run, LOG)
    assert check_whole(place, run, end, ["json dumps", "forbidden fruit", "open a file"]) == {
        "ok": 2,
        "refused": 1,
    }
    assert ("forbidden fruit", "refused", "refusal_page", 3) in table_rows(
        place.lake, "keyword", "status", "reason", "attempts"
    )


def test_the_rate_holds_at_the_engine(tmp_path: Path, engine: PracticeEngine):
    """Invariant 2: the engine's own clock sees no window with more requests than rate and burst allow."""
    keywords = [f"topic {number}" for number in range(150)]
    place = place_for(tmp_path, engine, rate=60, burst=5)
    run = frozen(place, keywords)
    check_whole(place, run, run_here(place, run, LOG), keywords)
    moments = [arrival.at for arrival in engine.arrivals]
    assert windows_hold(moments, rate=60, burst=5, delta=0.25) == ""
    assert len(moments) / (max(moments) - min(moments)) > 60 * 0.9


def test_two_runs_on_one_lake_share_one_rate(tmp_path: Path, engine: PracticeEngine):
    """The rate is the source's, not the process's: two commands at once ask no faster than one."""
    sources = own_sources(tmp_path / "sources", engine.base_url, rate=40, burst=2)
    lists = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for at, path in enumerate(lists):
        path.write_text("\n".join(f"list {at} topic {number}" for number in range(60)))
    processes = [command(path, sources, tmp_path / "lake") for path in lists]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert windows_hold([arrival.at for arrival in engine.arrivals], rate=40, burst=2, delta=0.25) == ""
    assert set(each_once(tmp_path / "lake").values()) == {1}


def command(path: Path, sources: Path, lake: Path, *more: str) -> subprocess.Popen[bytes]:
    """``serpline run`` as a process of its own."""
    environment = {**os.environ, "SERPLINE_SOURCES": str(sources)}
    words = [sys.executable, "-m", "pipeline", "run", str(path), "--lake", str(lake), *more]
    return subprocess.Popen(words, env=environment, **QUIET)  # noqa: S603  # our own words


@pytest.mark.timeout(600)
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path, engine: PracticeEngine):
    """Killed with SIGKILL at 20 random moments, the same command ends with every task once.

    A moment is a number of requests and a little more, so that kills fall before the first request, while
    batches are asked, staged and committed, and after the end. Four lists run at once, each in its own lake.
    """
    engine.set_faults([Fault(kind="unavailable", share=0.05), Fault(kind="truncated", share=0.05)])
    sources = own_sources(tmp_path / "sources", engine.base_url, rate=250, burst=10)
    seeded = random.Random(20261123)
    keywords = list(dict.fromkeys(normalise(keyword) for keyword in example_keywords()))[:240]
    cut_down = 0
    for number in range(5):
        killed = []
        for lane in "abcd":
            name = f"{lane}{number}"
            path, lake = tmp_path / f"{name}.txt", tmp_path / f"lake-{name}"
            path.write_text("\n".join(f"{keyword} {name}" for keyword in keywords))
            process = command(path, sources, lake, "--run-id", "killed")
            killed.append((process, path, lake, name, seeded.randrange(-20, 260), seeded.uniform(0, 0.5)))
        for process, _, _, name, requests, more in sorted(killed, key=lambda one: one[4]):
            while process.poll() is None and asked_of(engine, name) < requests <= 240:
                time.sleep(0.02)
            time.sleep(more)
            process.send_signal(signal.SIGKILL)
            process.wait()
            cut_down += 0 < asked_of(engine, name) < 240
        again = [command(path, sources, lake, "--run-id", "killed") for _, path, lake, *_ in killed]
        for process, (_, path, lake, *_) in zip(again, killed, strict=True):
            # 2: the first one was faster than the kill, and the second says that the run is complete.
            assert process.wait(60) in (0, 2)
            assert list(each_once(lake).values()) == [1] * 240, path
    assert cut_down >= 8, "too few kills fell into the work to show anything"
    asked = Counter(arrival.keyword for arrival in engine.arrivals)
    assert len(asked) == 20 * 240
    assert sum(asked.values()) <= 20 * 240 * 2


def asked_of(engine: PracticeEngine, name: str) -> int:
    """How many different keywords of one list the engine was asked."""
    return len({arrival.keyword for arrival in engine.arrivals if arrival.keyword.endswith(f" {name}")})


def test_the_same_command_after_a_finished_run_makes_a_new_one(tmp_path: Path, engine: PracticeEngine):
    """A repeated measurement is a new run; what changed in between stands beside what was."""
    sources = own_sources(tmp_path / "sources", engine.base_url)
    path = tmp_path / "k.txt"
    path.write_text("json dumps\nopen a file\n")
    for _ in range(2):
        assert command(path, sources, tmp_path / "lake").wait(30) == 0
    runs = {run_id for (run_id,) in table_rows(tmp_path / "lake", "run_id")}
    assert len(runs) == 2
    assert Counter(table_rows(tmp_path / "lake", "keyword")).most_common() == [
        (("json dumps",), 2),
        (("open a file",), 2),
    ]


def test_an_interrupted_run_is_the_one_that_goes_on(tmp_path: Path, engine: PracticeEngine):
    """SIGINT stages what is on its way and exits with 130; the same command fetches only what is missing."""
    sources = own_sources(tmp_path / "sources", engine.base_url, rate=40, burst=1)
    path = tmp_path / "k.txt"
    path.write_text("\n".join(f"topic {number}" for number in range(100)))
    first = command(path, sources, tmp_path / "lake")
    while len(engine.arrivals) < 30:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130
    asked = len(engine.arrivals)
    assert asked < 100
    assert command(path, sources, tmp_path / "lake").wait(60) == 0
    assert len(engine.arrivals) == 100
    assert list(each_once(tmp_path / "lake").values()) == [1] * 100
    assert len({run_id for (run_id,) in table_rows(tmp_path / "lake", "run_id")}) == 1


def test_one_run_is_run_by_one_process(tmp_path: Path, engine: PracticeEngine):
    """A second process for the same run is refused with a sentence, not left to ask everything again."""
    sources = own_sources(tmp_path / "sources", engine.base_url, rate=20, burst=1)
    path = tmp_path / "k.txt"
    path.write_text("\n".join(f"topic {number}" for number in range(60)))
    first = command(path, sources, tmp_path / "lake", "--run-id", "one")
    while len(engine.arrivals) < 5:
        time.sleep(0.05)
    assert command(path, sources, tmp_path / "lake", "--run-id", "one").wait(30) == 2
    assert first.wait(30) == 0
    assert len(engine.arrivals) == 60


def test_a_stage_that_cannot_work_ends_the_run_with_its_reason(tmp_path: Path, engine: PracticeEngine):
    """What kills a stage's thread is raised to the caller, once all of them have ended."""
    place = place_for(tmp_path, engine)
    run = frozen(place, ["json dumps"])
    broken = msgspec.structs.replace(place, open_queues=_Unopenable(place.open_queues))
    with pytest.raises(QueueUnavailable, match="no queue for aggregate"):
        run_here(broken, run, LOG)
    assert check_whole(place, run, run_here(place, run, LOG), ["json dumps"]) == {"ok": 1}


class _Unopenable:
    """Opens queues for everyone but the thread that aggregates."""

    def __init__(self, open_queues: Callable[[], Queues]) -> None:
        self._open = open_queues

    def __call__(self) -> Queues:
        if threading.current_thread().name == "aggregate":
            raise QueueUnavailable("no queue for aggregate")
        return self._open()


def test_a_run_whose_source_is_gone_says_so(tmp_path: Path, engine: PracticeEngine):
    """A run is resumed with the sources it was frozen with, or not at all; nothing is asked halfway."""
    place = place_for(tmp_path, engine)
    run = frozen(place, ["json dumps"])
    fewer = {name: loaded for name, loaded in place.sources.items() if name != "practice_api"}
    with pytest.raises(Misuse, match="practice_api"):
        run_here(msgspec.structs.replace(place, sources=fewer), run, LOG)
    assert len(engine.arrivals) == 0


def test_a_repeated_freeze_keeps_what_was_frozen(tmp_path: Path, engine: PracticeEngine):
    """New defaults or a later day do not change a run that was frozen before."""
    place = place_for(tmp_path, engine)
    run = frozen(place, ["a", "b"])
    drop = Drop(run.key, run.name, Options("practice_api", "de-DE", "mobile", 3))
    again = freeze_run(
        place.storage,
        "run1",
        drop,
        lines=99_000_000,
        sources=place.sources,
        clock=itertools.count(2e9).__next__,
    )
    assert again == run == find_run(place.storage, "run1")
