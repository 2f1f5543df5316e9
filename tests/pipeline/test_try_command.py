"""``serpline sources try``: a question by hand has no manners of its own, it has everyone's."""

from __future__ import annotations

import re
import socket
import time
from datetime import datetime
from pathlib import Path

import boto3
import orjson
import pytest
from moto import mock_aws

from pipeline import keys
from pipeline.cli.main import main
from pipeline.pacers.dynamodb import DynamoPaceStore
from pipeline.pacers.folder import FolderPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.practice.faults import Fault
from pipeline.practice.server import PracticeEngine
from pipeline.source_files import load_sources
from stages.pace import PaceState
from stages.source import Politeness
from tests.pipeline.aws import KEYS, REGION
from tests.pipeline.hostile_engine import HostileEngine, answer
from tests.pipeline.test_dynamodb import make_table
from tests.pipeline.test_local import own_sources


class Trial:
    """A user with a folder of sources and a lake; ``ask`` gives the exit code and what was printed."""

    def __init__(self, folder: Path, engine: PracticeEngine, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.engine = engine
        self._capsys = capsys
        self.source()

    def source(self, **politeness: object) -> Politeness:
        """Write ``practice_page`` with these terms."""
        sources = own_sources(self.folder / "sources", self.engine.base_url, **politeness)
        return load_sources(sources)["practice_page"].source.spec.politeness

    def write(self, **replaced: str) -> None:
        """Change the file of ``practice_page``: each text by another."""
        path = self.folder / "sources" / "practice_page.toml"
        text = path.read_text("utf-8")
        for old, new in replaced.items():
            text = re.sub(rf"^{old} = .*$", new, text, count=1, flags=re.MULTILINE)
        path.write_text(text, "utf-8")

    def ask(self, *words: str, name: str = "practice_page") -> tuple[int, str]:
        code = main(["sources", "try", name, "json dumps", *words])
        printed = self._capsys.readouterr()
        return code, printed.out + printed.err

    @property
    def pacer(self) -> Pacer:
        return Pacer(FolderPaceStore(self.folder / "lake"), time.time)

    @property
    def state(self) -> PaceState:
        return self.pacer.state("practice_page")

    @property
    def searches(self) -> list[float]:
        return [one.monotonic for one in self.engine.arrivals if one.path == "/search"]


@pytest.fixture
def trial(
    tmp_path: Path,
    engine: PracticeEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Trial:
    monkeypatch.setenv("SERPLINE_SOURCES", str(tmp_path / "sources"))
    monkeypatch.setenv("SERPLINE_LAKE", str(tmp_path / "lake"))
    monkeypatch.delenv("SERPLINE_CONTACT", raising=False)
    return Trial(tmp_path, engine, capsys)


def moment_in(out: str) -> float:
    """The moment that a line names, in epoch seconds."""
    found = re.search(r"(?:after|until) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", out)
    assert found, out
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").astimezone().timestamp()


def test_a_try_shows_request_judgement_and_rows(trial: Trial):
    """What is asked, what it meant, what was read; no row goes into a table."""
    code, out = trial.ask()
    assert code == 0
    assert "GET http://127.0.0.1" in out
    assert "judged: ok, 10 results" in out
    assert "https://docs.python.example/" in out
    assert len(trial.searches) == 1
    assert not (trial.folder / "lake" / "runs").exists()


def test_tries_keep_to_the_sources_pace(trial: Trial):
    """Five in a row are five requests of the one rate: none sooner than the file allows."""
    trial.source(rate=4, burst=1)
    for _ in range(5):
        assert trial.ask()[0] == 0
    gaps = [later - earlier for earlier, later in zip(trial.searches, trial.searches[1:], strict=False)]
    assert len(gaps) == 4
    assert min(gaps) > 0.2


def test_a_try_counts_against_the_quota(trial: Trial):
    """Three a day are three a day, whoever asks; the fourth is told when the next day begins."""
    trial.source(quota=3)
    assert [trial.ask()[0] for _ in range(3)] == [0, 0, 0]
    assert trial.state.quota_used == 3
    code, out = trial.ask()
    assert code == 1
    assert "not asked: the day's quota is spent" in out
    assert moment_in(out) > time.time()
    assert len(trial.searches) == 3


def test_a_slot_that_is_far_away_is_told_and_not_waited_for(trial: Trial):
    """One question in 100 seconds: the second try says when, and asks nothing."""
    trial.source(rate=0.01, burst=1)
    assert trial.ask()[0] == 0
    started = time.monotonic()
    code, out = trial.ask()
    assert code == 1
    assert time.monotonic() - started < 10
    assert "not asked: all it may be asked now is taken" in out
    assert 60 < moment_in(out) - time.time() < 101
    assert len(trial.searches) == 1


def test_a_refused_try_closes_the_source_for_everyone(trial: Trial):
    """What an engine refuses to one who tries, a run does not ask; the line says until when."""
    trial.engine.set_faults([Fault("throttle", 1.0, seconds=600)])
    code, out = trial.ask()
    assert code == 1
    assert "judged: refused (http_429); closed for everyone until 2" in out
    assert moment_in(out) == pytest.approx(time.time() + 600, abs=20)
    assert trial.state.reason == "http_429"
    trial.engine.set_faults([])
    code, out = trial.ask()
    assert code == 1
    assert "not asked: the source is closed: it refused (http_429)" in out
    assert len(trial.searches) == 1


@pytest.mark.parametrize("reason", ["closed", "trial", "quota"])
def test_a_source_that_the_fleet_may_not_ask_is_not_tried(trial: Trial, reason: str):
    """One that is closed, tried or out of quota in the lake is not asked by hand either: it says when."""
    terms = trial.source(quota=1, robots="true")
    if reason == "quota":
        trial.pacer.lease("practice_page", terms, 1)
    else:
        ago = 600.0 if reason == "trial" else 0.0
        Pacer(FolderPaceStore(trial.folder / "lake"), lambda: time.time() - ago).refuse(
            "practice_page", terms, None, "http_429"
        )
    if reason == "trial":
        trial.pacer.lease("practice_page", terms, 1)
    code, out = trial.ask()
    assert code == 1
    assert "GET http://127.0.0.1" in out
    said = {"closed": "it refused (http_429)", "trial": "is trying it", "quota": "quota is spent"}
    assert said[reason] in out
    assert moment_in(out) > time.time() - 1
    assert len(trial.engine.arrivals) == 0


def test_a_try_after_the_rest_is_the_trial(trial: Trial):
    """A question by hand decides as a run's does: answered, the source is open again for everyone."""
    terms = trial.source()
    ago = Pacer(FolderPaceStore(trial.folder / "lake"), lambda: time.time() - 600)
    ago.refuse("practice_page", terms, None, "http_429")
    assert trial.ask()[0] == 0
    assert not trial.state.closed_since


@pytest.mark.parametrize(
    ("robots", "said", "asked"),
    [
        ("User-agent: *\nDisallow: /search", "not asked: robots.txt disallows it", 0),
        ("", "not asked: robots.txt answered HTTP 503, which disallows everything", 0),
        ("User-agent: *\nDisallow: /private", "judged: ok", 1),
    ],
)
def test_a_try_obeys_robots_txt(trial: Trial, robots: str, said: str, asked: int):
    """A page is asked where robots.txt lets it; not where that disallows it or cannot say anything."""
    trial.source(robots="true")
    if robots:
        trial.engine.set_robots(robots)
    else:
        trial.engine.set_faults([Fault("unavailable", 1.0, paths=("/robots.txt",))])
    code, out = trial.ask()
    assert code == 1 - asked
    assert "GET http://127.0.0.1" in out
    assert said in out
    assert len(trial.searches) == asked


def test_robots_txt_is_read_once_and_is_a_request_of_the_pace(trial: Trial):
    """Kept for the day beside the runs' own; it takes a slot and a request of the quota, as a run's does."""
    trial.source(robots="true", quota=5)
    trial.ask()
    trial.ask()
    assert [one.path for one in trial.engine.arrivals] == ["/robots.txt", "/search", "/search"]
    assert trial.state.quota_used == 3


@pytest.mark.parametrize("robots", ["true", "false"])
def test_an_engine_that_is_not_there_is_said_and_closes_nothing(trial: Trial, robots: str):
    """Whoever starts it next need not wait for a rest that nobody asked for."""
    trial.source(robots=robots)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (trial.folder / "sources" / "practice_page.toml").read_text("utf-8")
    text = text.replace('"practice_page"', '"mine"').replace(
        trial.engine.base_url, f"http://127.0.0.1:{port}"
    )
    (trial.folder / "sources" / "mine.toml").write_text(text, "utf-8")
    code, out = trial.ask(name="mine")
    assert code == 1
    assert "no connection: it was refused or broke off" in out
    assert "Traceback" not in out
    assert not trial.pacer.state("mine").closed_since


def test_a_rule_that_finds_nothing_is_named(trial: Trial):
    """Not only that the page is unreadable: which selector has no rows, and that no mark says «empty»."""
    trial.write(rows='rows = "div.result"')
    code, out = trial.ask()
    assert code == 1
    assert "judged: failed (unreadable)" in out
    assert "answer.results[0].rows finds nothing: 'div.result'" in out
    assert "answer.empty finds none of its marks" in out
    trial.source()
    trial.write(title='title = "h4"')
    assert "answer.results[0].fields.title finds nothing in 10 of 10 rows: 'h4'" in trial.ask()[1]


def test_an_answer_is_saved_as_a_golden_case(trial: Trial):
    """The body as it came and the rows that are read now; the check holds them from then on."""
    code, out = trial.ask("--page", "2", "--save", "second")
    assert code == 0, out
    folder = trial.folder / "sources" / "golden" / "practice_page"
    assert sorted(path.name for path in folder.iterdir()) == ["second.expected.json", "second.html"]
    expected = orjson.loads((folder / "second.expected.json").read_bytes())
    assert list(expected) == ["status", "total", "results", "page"]
    assert expected["results"][0]["rank"] == 11
    assert main(["sources", "check", "practice_page"]) == 0
    code, out = trial.ask("--save", "second")
    assert code == 2
    assert "already" in out
    assert len(trial.searches) == 1
    trial.write(title='title = "h4"')
    assert main(["sources", "check", "practice_page"]) == 1


def test_a_refusal_is_saved_with_what_decides_it(trial: Trial):
    trial.engine.set_faults([Fault("throttle", 1.0, seconds=600)])
    assert trial.ask("--save", "refused")[0] == 1
    folder = trial.folder / "sources" / "golden" / "practice_page"
    expected = orjson.loads((folder / "refused.expected.json").read_bytes())
    assert expected == {
        "status": "refused",
        "reason": "http_429",
        "http": {"status": 429, "headers": {"retry-after": "600"}},
    }
    assert main(["sources", "check", "practice_page"]) == 0


@pytest.mark.parametrize("words", [("--save", "../x"), ("--save", "a b"), ("--save", "x", "--practice")])
def test_a_case_that_cannot_be_kept_costs_no_request(
    trial: Trial, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    """A name that is a path, or a source that is not the user's own: said before anything is asked."""
    if "--practice" in words:
        monkeypatch.setenv("SERPLINE_SOURCES", "")
    code, _ = trial.ask(*words)
    assert code == 2
    assert not trial.engine.arrivals


VALUE = "k3y-T0ken-that-nobody-sees"
KEYED = """name = "keyed"
kind = "api"
summary = "x"
base_url = "{base}"
[request]
url = "{{base_url}}/s?q={{keyword}}"
headers = {{ Authorization = "Bearer {{secret:KEYED}}" }}
[politeness]
rate = 50
[answer]
language = "json"
[[answer.results]]
rows = "items"
fields = {{ title = "title" }}
"""


def test_no_secret_is_saved_in_any_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A case goes into a repository: what an engine repeats of a secret is masked, in the rows too."""
    body = orjson.dumps({"items": [{"title": f"hello {VALUE}"}]}).decode()
    echo = answer(body.encode("utf-16-le"), "application/json; charset=utf-16-le")
    with HostileEngine({"json dumps": echo}, "json") as engine:
        folder = tmp_path / "sources"
        folder.mkdir()
        (folder / "keyed.toml").write_text(KEYED.format(base=engine.base_url))
        monkeypatch.setenv("SERPLINE_SOURCES", str(folder))
        monkeypatch.setenv("SERPLINE_LAKE", str(tmp_path / "lake"))
        monkeypatch.setenv("SERPLINE_SECRET_KEYED", VALUE)
        assert main(["sources", "try", "keyed", "json dumps", "--save", "full"]) == 0, capsys.readouterr()
    golden = folder / "golden" / "keyed"
    assert orjson.loads((golden / "full.json").read_bytes()) == {"items": [{"title": "hello ***"}]}
    assert VALUE not in (golden / "full.expected.json").read_text("utf-8")
    assert main(["sources", "check", "keyed"]) == 0


def test_on_aws_a_try_keeps_to_the_deployments_pace(trial: Trial, monkeypatch: pytest.MonkeyPatch):
    """The line in `sources` decides there, and the pace is the functions' own record in DynamoDB."""
    for name, value in {**KEYS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SERPLINE_LAKE", "s3://lake-of-tests")
    with mock_aws():
        s3, dynamodb = boto3.client("s3"), boto3.client("dynamodb")
        where = {"LocationConstraint": REGION}
        s3.create_bucket(Bucket="lake-of-tests", CreateBucketConfiguration=where)
        terms = {"practice_page": {"rate": 0.01, "quota": 7}}
        s3.put_object(Bucket="lake-of-tests", Key=keys.TERMS, Body=orjson.dumps(terms))
        make_table(dynamodb, "serpline-pace")
        assert trial.ask()[0] == 0
        assert Pacer(DynamoPaceStore(dynamodb, "serpline-pace"), time.time).state("practice_page").quota_used
        code, out = trial.ask()
    assert code == 1
    assert "not asked: all it may be asked now is taken" in out
    assert len(trial.searches) == 1
