"""Golden answers: every shipped source reads its own, and a user's folder is checked the same way."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.cli.main import main
from pipeline.golden import Case, check_case, golden_cases
from pipeline.source_files import LoadedSource, load_sources

SHIPPED = load_sources(None)
CASES = [(name, case) for name, loaded in SHIPPED.items() for case in golden_cases(loaded)]
SORTS = ("full", "last", "empty", "refused", "error", "odd")


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}/{case.name}" for name, case in CASES])
def test_a_shipped_source_reads_its_golden_answer(name: str, case: Case):
    assert check_case(SHIPPED[name], case) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_source_has_golden_answers_of_every_sort(name: str):
    """A full page, the last one, none, a refusal, an error, odd markup: and each means what its name says."""
    cases = golden_cases(SHIPPED[name])
    assert {case.name.partition("-")[0] for case in cases} == set(SORTS)
    for case in cases:
        assert case.expected is not None
        expected = orjson.loads(case.expected.read_bytes())
        sort, count = case.name.partition("-")[0], len(expected.get("results", ()))
        if sort in ("full", "last"):
            size = SHIPPED[name].source.spec.paging.size
            assert expected["status"] == "ok"
            assert count >= size if sort == "full" else (count > 0 and expected["page"] > 1)
        elif sort == "empty":
            assert (expected["status"], count) == ("ok", 0)
        elif sort == "refused":
            assert expected["status"] == "refused"
        elif sort == "error":
            assert expected["status"] in ("failed", "retry")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_page_that_changed_is_unreadable_and_never_empty(name: str):
    """Where an engine's answer has another shape, silence would look like «nothing found»."""
    [changed] = [case for case in golden_cases(SHIPPED[name]) if case.name == "odd-changed"]
    assert changed.expected is not None
    expected = orjson.loads(changed.expected.read_bytes())
    assert (expected["status"], expected["reason"]) == ("failed", "unreadable")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with one source and one golden answer of it."""
    monkeypatch.setenv("SERPLINE_SOURCES", str(tmp_path))
    monkeypatch.delenv("SERPLINE_CONTACT", raising=False)
    assert main(["sources", "copy", "practice_api", "mine", "--base-url", "http://127.0.0.1:9/x/"]) == 0
    folder = tmp_path / "golden" / "mine"
    folder.mkdir(parents=True)
    item = {"position": 1, "title": "One", "link": "https://a.example/1", "snippet": "the first"}
    (folder / "full.json").write_bytes(orjson.dumps({"query": "x", "total": 7, "items": [item]}))
    row = {"rank": 1, "title": "One", "url": "https://a.example/1", "snippet": "the first"}
    write(folder, status="ok", total=7, results=[row])
    return folder


def write(folder: Path, **expected: object) -> None:
    (folder / "full.expected.json").write_bytes(orjson.dumps(expected))


def mine(folder: Path) -> LoadedSource:
    return load_sources(folder.parent.parent)["mine"]


def wrong(folder: Path) -> str:
    [case] = golden_cases(mine(folder))
    return "\n".join(check_case(mine(folder), case))


def test_a_copied_source_is_the_users_own(own: Path, capsys: pytest.CaptureFixture[str]):
    """The same rules under another name, at another address."""
    spec = mine(own).source.spec
    assert (spec.name, spec.base_url) == ("mine", "http://127.0.0.1:9/x")
    assert spec.answer == SHIPPED["practice_api"].source.spec.answer
    assert wrong(own) == ""
    for words in (["practice_api", "mine"], ["practice_api", "../x"], ["nobody", "x"]):
        assert main(["sources", "copy", *words]) == 2
    assert main(["sources", "copy", "practice_api", "other", "--base-url", 'http://x"y']) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(path.name for path in own.parent.parent.glob("*.toml")) == ["mine.toml"]


ROW = {"rank": 1, "title": "One", "url": "https://a.example/1", "snippet": "the first"}


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"status": "ok", "total": 8, "results": [ROW]}, "total: expected 8, got 7"),
        ({"status": "ok", "total": 7, "results": []}, "expected 0 results, got 1"),
        ({"status": "ok", "total": 7, "results": [ROW, ROW]}, "expected 2 results, got 1"),
        (
            {"status": "ok", "total": 7, "results": [{**ROW, "title": "Two"}]},
            "results[0].title: expected 'Two', got 'One'",
        ),
        (
            {"status": "ok", "total": 7, "results": [{**ROW, "domain": "b.example"}]},
            "results[0].domain: expected 'b.example', got 'a.example'",
        ),
        ({"status": "ok", "total": 7, "results": [{**ROW, "kind": "ad"}]}, "results[0].kind"),
        ({"status": "refused", "reason": "http_429"}, "expected refused (http_429), got ok"),
        ({"status": "ok", "http": {"status": 404}}, "expected ok, got failed (http_404)"),
        ({"status": "ok", "results": 5}, "full.expected.json"),
        ({"status": "ok", "rows": []}, "full.expected.json"),
        ({"status": "okay"}, "full.expected.json: Invalid enum value 'okay' - at `$.status`"),
    ],
)
def test_what_is_not_as_expected_is_named(own: Path, expected: dict[str, object], said: str):
    write(own, **expected)
    assert said in wrong(own)


def test_all_that_is_wrong_is_told_at_once(own: Path):
    """One round mends a case: every field, every row that is missing or too much, in one answer."""
    rows = [
        {**ROW, "title": "Two", "snippet": "other"},
        {**ROW, "rank": 2, "title": "Gone", "url": "https://a.example/gone"},
        {**ROW, "rank": 3, "title": "Lost", "url": "https://a.example/lost"},
    ]
    write(own, status="ok", total=8, results=rows)
    assert wrong(own).splitlines() == [
        "total: expected 8, got 7",
        "expected 3 results, got 1",
        "results[0].title: expected 'Two', got 'One'",
        "results[0].snippet: expected 'other', got 'the first'",
        "results[1] is missing: organic 2 'Gone' https://a.example/gone",
        "results[2] is missing: organic 3 'Lost' https://a.example/lost",
    ]


def test_a_row_too_much_is_one_line_and_its_neighbours_ranks(own: Path):
    """A row that came in above moves the others: it is told as what it is, not as ten other titles."""
    items = [{"title": title, "link": f"https://a.example/{title}"} for title in ("New", "A", "B")]
    (own / "full.json").write_bytes(orjson.dumps({"query": "x", "items": items}))
    rows = [
        {"rank": rank, "title": title, "url": f"https://a.example/{title}"}
        for rank, title in ((1, "A"), (2, "B"))
    ]
    write(own, status="ok", results=rows)
    assert wrong(own).splitlines() == [
        "expected 2 results, got 3",
        "results[0].rank: expected 1, got 2",
        "results[1].rank: expected 2, got 3",
        "too much: organic 1 'New' https://a.example/New",
    ]


def test_an_unreadable_case_says_which_rule_finds_nothing(own: Path):
    (own / "full.json").write_bytes(b'{"hits": []}')
    assert wrong(own).splitlines() == [
        "expected ok, got failed (unreadable)",
        "answer.results[0].rows finds nothing: 'items'",
        "answer.total finds nothing: 'total'",
        "answer.empty finds none of its marks: so «nothing found» is not what this says",
    ]


def test_an_answer_under_another_name_is_told_and_not_passed_over(own: Path):
    """`.htm`, or no ending at all: the case fails, where silence would look like a case that holds."""
    (own / "full.json").rename(own / "full.htm")
    assert wrong(own) == "full.htm is no answer: its name must end in .json, .html or .xml"
    (own / "full.htm").rename(own / "full")
    assert wrong(own) == "full is no answer: its name must end in .json, .html or .xml"
    (own / ".DS_Store").write_bytes(b"")
    assert len(golden_cases(mine(own))) == 1


def test_a_case_without_its_other_half_fails(own: Path):
    (own / "full.json").unlink()
    assert "there is no answer" in wrong(own)
    write(own, status="ok")
    (own / "full.expected.json").rename(own / "empty.json")
    assert "there is no empty.expected.json" in wrong(own)


def test_the_command_prints_a_line_a_case_and_fails_with_one(own: Path, capsys: pytest.CaptureFixture[str]):
    """The user's folder beside the shipped ones; 1 as soon as one case is read otherwise."""
    capsys.readouterr()
    assert main(["sources", "check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CASES) + 1
    assert "ok    mine/full" in lines
    write(own, status="failed")
    assert main(["sources", "check", "mine"]) == 1
    assert capsys.readouterr().out == "FAIL  mine/full: expected failed, got ok\n"


def test_a_shipped_sources_cases_are_not_those_of_its_replacement(
    own: Path, capsys: pytest.CaptureFixture[str]
):
    """A user's file of a shipped name is judged by the user's own answers, if there are any."""
    assert main(["sources", "copy", "practice_page", "practice_page"]) == 0
    assert golden_cases(load_sources(own.parent.parent)["practice_page"]) == []
    capsys.readouterr()
    assert main(["sources", "check"]) == 0
    assert "none  practice_page" in capsys.readouterr().out.splitlines()
    assert main(["sources", "check", "practice_page"]) == 2
