"""robots.txt: read once a day, paced like anything else, and obeyed without a request."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import msgspec
import pytest

from pipeline.local import run_here
from pipeline.practice.faults import Fault
from pipeline.practice.server import PracticeEngine
from pipeline.retrieve import Retrieved, retrieve
from pipeline.robots import RobotsShelf
from pipeline.storage.folder import FolderStorage
from stages.records import Request, Response
from stages.robots import LIFETIME, MOST_BYTES, Robots, allowed_by, read_robots
from tests.pipeline.kit import API, LOG, Clock, Engine, make_batch, make_retriever, table_rows
from tests.pipeline.test_local import frozen, place_for

NO_API = b"User-agent: *\nDisallow: /api/\n"
OURS = b"User-agent: *\nDisallow: /\n\nUser-agent: serpline\nAllow: /\nDisallow: /*q=secret\n"


class Host(Engine):
    """An engine with a robots.txt."""

    def __init__(self, *answers: Response, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.answers = list(answers)
        self.robots_asked = 0

    async def send(self, request: Request, limits, slot=None):
        if not request.url.endswith("/robots.txt"):
            return await super().send(request, limits, slot)
        if slot is not None and not await slot():
            return said(0, failure="late")
        self.robots_asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return msgspec.structs.replace(answer, url=request.url)


def said(status: int, body: bytes = b"", failure: str = "", **headers: str) -> Response:
    return Response(status, headers, body, "", 1, failure)


class Asking:
    """A lake, a clock and a host, asked for a few keywords."""

    def __init__(self, folder: Path, *answers: Response) -> None:
        self.clock = Clock()
        self.host = Host(*answers, clock=self.clock)
        self.storage = FolderStorage(folder)
        self.retriever = make_retriever(self.host, self.clock)
        self.pacer = self.retriever.pacer

    def ask(self, *keywords: str) -> Retrieved:
        shelf = RobotsShelf(self.storage, self.clock)
        retriever = msgspec.structs.replace(self.retriever, robots=shelf)
        return asyncio.run(retrieve(make_batch(keywords), retriever, lambda: math.inf))


def statuses(retrieved: Retrieved) -> dict[str, tuple[str, str, int]]:
    return {page.task.keyword: (page.status, page.reason, page.attempts) for page in retrieved.pages}


def test_what_is_disallowed_is_refused_without_a_request(tmp_path: Path):
    """A disallowed task ends as ``refused/robots``; the engine is asked for nothing but its rules."""
    asking = Asking(tmp_path, said(200, NO_API))
    assert statuses(asking.ask("a", "b")) == dict.fromkeys("ab", ("refused", "robots", 0))
    assert asking.host.asked == []
    assert asking.host.robots_asked == 1


def test_a_batch_out_of_time_looks_at_no_more_rules(tmp_path: Path):
    """500 kB of patterns for each of many tasks: a batch looks at its deadline between them."""
    rules = b"User-agent: *\n" + b"".join(b"Disallow: /*a*b*c*%d\n" % n for n in range(20_000))
    asking = Asking(tmp_path, said(200, rules))
    shelf = RobotsShelf(asking.storage, asking.clock)
    retriever = msgspec.structs.replace(asking.retriever, robots=shelf)
    looks = 0

    def deadline() -> float:
        nonlocal looks
        looks += asking.host.robots_asked
        return math.inf if looks < 20 else 0.0

    retrieved = asyncio.run(retrieve(make_batch([f"k{n}" for n in range(60)]), retriever, deadline))
    assert len(retrieved.left) == 60
    assert asking.host.asked == []


def test_rules_for_us_go_before_rules_for_everyone(tmp_path: Path):
    """The group that names Serpline decides, pattern by pattern."""
    asking = Asking(tmp_path, said(200, OURS))
    found = statuses(asking.ask("a", "secret plans"))
    assert found["a"][0] == "ok"
    assert found["secret plans"] == ("refused", "robots", 0)


@pytest.mark.parametrize("status", [404, 403, 410, 401])
def test_a_host_without_rules_may_be_asked(tmp_path: Path, status: int):
    """A 4xx says that there are no rules."""
    assert statuses(Asking(tmp_path, said(status)).ask("a"))["a"][0] == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        said(503),
        said(500),
        said(429),
        said(0, failure="timeout"),
        said(200, b"\x1f", **{"content-encoding": "br"}),
    ],
)
def test_a_host_that_cannot_say_is_not_asked(tmp_path: Path, answer: Response):
    """No answer means no: the source is closed, its tasks wait, and no attempt is spent."""
    asking = Asking(tmp_path, answer)
    retrieved = asking.ask("a", "b")
    assert retrieved.pages == []
    assert [task.attempts + task.refusals for task in retrieved.left] == [0, 0]
    assert asking.host.asked == []
    assert asking.pacer.state(API).reason == "robots_unreachable"


def test_a_host_that_can_say_again_is_asked_again(tmp_path: Path):
    """When its rest is over the rules are read as the trial request, and the tasks go on."""
    asking = Asking(tmp_path, said(503), said(200, b""))
    asking.ask("a", "b")
    asking.clock.now += 61
    assert {status for status, _, _ in statuses(asking.ask("a", "b")).values()} == {"ok"}


def test_the_rules_are_read_once_a_day_by_the_whole_fleet(tmp_path: Path):
    """Every batch and every process of a day share one answer; the next day has its own."""
    asking = Asking(tmp_path, said(200, b""))
    for _ in range(3):
        asking.ask("a")
    assert asking.host.robots_asked == 1
    asking.clock.now += LIFETIME + 1
    asking.ask("a")
    assert asking.host.robots_asked == 2


def test_redirects_of_robots_are_followed_on_the_host(tmp_path: Path):
    """Five at most, never elsewhere; a loop says nothing."""
    here = said(301, location="http://127.0.0.1:8650/other/robots.txt")
    away = said(301, location="http://elsewhere.example/robots.txt")
    assert statuses(Asking(tmp_path / "a", here, said(200, NO_API)).ask("x"))["x"][1] == "robots"
    assert Asking(tmp_path / "b", here).ask("x").pages == []
    assert Asking(tmp_path / "c", away).ask("x").pages == []


def test_a_file_of_5_megabytes_counts_up_to_its_limit():
    """What stands in the first 500 KiB holds; reading it takes no time worth mentioning."""
    body = b"User-agent: *\nDisallow: /private\n" + b"# padding\n" * 500_000
    robots = read_robots(said(200, body), 0.0)
    assert isinstance(robots, Robots)
    assert len(robots.text) <= 512_000
    assert not allowed_by(robots, "serpline/1")("http://x/private/1")
    assert allowed_by(robots, "serpline/1")("http://x/search")


def test_a_rule_that_the_limit_cuts_in_two_is_left_out():
    """Half of «Disallow: /secrets» would be «Disallow: /s», and forbid what nobody forbade."""
    head = b"User-agent: *\nDisallow: /private\n"
    rule = b"Disallow: /secrets\n"
    body = head + b"#" * (MOST_BYTES - len(head) - len(b"\nDisallow: /s")) + b"\n" + rule * 10
    for answer in (said(200, body), said(200, body[:MOST_BYTES], "too_large")):
        robots = read_robots(answer, 0.0)
        assert isinstance(robots, Robots)
        assert allowed_by(robots, "serpline/1")("http://x/search")
        assert not allowed_by(robots, "serpline/1")("http://x/private")


def test_a_run_obeys_the_engine_s_robots(tmp_path: Path, engine: PracticeEngine):
    """On the wire: one request for the rules, none for what they disallow, and the run is complete."""
    place = place_for(tmp_path, engine, robots="true")
    engine.set_robots("User-agent: *\nDisallow: /search\n")
    try:
        end = run_here(place, frozen(place, ["json dumps", "open a file"]), LOG)
    finally:
        engine.set_robots("User-agent: *\nDisallow: /private\n")
    assert end.ledger.complete
    assert set(table_rows(place.lake, "status", "reason", "attempts")) == {("refused", "robots", 0)}
    assert [arrival.path for arrival in engine.arrivals] == ["/robots.txt"]


def test_rules_and_questions_share_one_rate(tmp_path: Path, engine: PracticeEngine):
    """Reading the rules takes a slot like any other request."""
    engine.set_faults([Fault(kind="slow", share=0.0)])
    place = place_for(tmp_path, engine, robots="true", rate=4, burst=1)
    run_here(place, frozen(place, ["json dumps", "open a file"]), LOG)
    moments = sorted(arrival.at for arrival in engine.arrivals)
    assert len(moments) == 3
    assert moments[1] - moments[0] > 0.2
