"""The docs' SQL outside the cookbook: whatever a reader pastes runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlglot
from sqlglot import exp

from pipeline.cli.main import _parser
from pipeline.query import Lake
from stages.views import VIEWS
from tests.pipeline.query import functions, markets
from tests.test_docs import ROOT, TEXT, blocks, commands


def statements() -> list[tuple[str, str]]:
    """The SQL that a reader can paste: blocks, what a command asks, and what stands within a sentence."""
    asked = [(page, _parser().parse_args(words).sql) for page, words in commands() if words[0] == "query"]
    within = [
        (page.name, sql) for page, text in TEXT.items() for sql in re.findall(r"`(SELECT [^`]+)`", text)
    ]
    written = [*blocks("sql"), *within, *asked]
    # Its own test holds query.md's blocks to their answers; those of measure.md ask another table.
    return [(page, sql) for page, sql in written if page not in ("query.md", "measure.md")] + [
        (page, sql) for page, sql in asked if page == "query.md"
    ]


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with Lake(markets.asked(tmp_path_factory.mktemp("docs") / "lake")) as opened:
        yield opened


@pytest.mark.parametrize(("page", "sql"), statements(), ids=lambda value: value[:60])
def test_every_query_of_the_docs_runs_and_finds_something(lake: Lake, page: str, sql: str):
    """What a reader pastes is Athena's SQL, calls functions that Trino has, and runs here."""
    assert isinstance(sqlglot.parse_one(sql, read="athena"), exp.Query), page
    assert not functions.unknown(sql), page
    assert any(lake.ask(sql).chunks()), page


def test_queries_are_found_wherever_they_stand():
    """In blocks, in commands and in sentences: none of the three is passed by."""
    pages = {page for page, _ in statements()}
    assert {"README.md", "aws.md", "first-deploy.md", "query.md"} <= pages
    found = "\n".join(sql for _, sql in statements())
    assert "lane, count(*)" in found
    assert "date_trunc('minute'" in found
    assert "share_of_voice LIMIT 10" in found


def test_the_first_deploy_counts_the_views_and_saved_queries_that_there_are():
    saved = len(list((ROOT / "infra" / "terraform" / "queries").glob("*.sql")))
    numbers = {6: "six", 7: "seven", 8: "eight", 9: "nine"}
    words = f"the {numbers[saved]} saved queries run, and the {numbers[len(VIEWS)]} views open"
    assert words in TEXT[ROOT / "docs" / "first-deploy.md"]
