"""The docs say what the code does: every command, target, setting and source file in them works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pipeline.cli.main import _parser
from pipeline.golden import Expected
from pipeline.planning import EXAMPLES, MONTH, in_words, of_pages, standing
from pipeline.settings import PREFIX, Settings
from pipeline.source_files import load_sources
from stages.extract import compile_rules
from stages.fetch import plan_request
from stages.records import Batch, Task
from stages.source import TRANSFORMS, AnswerSpec, SourceSpec, parse_source
from stages.source_spec import KINDS
from stages.template import SLOTS
from stages.text_blocks import MAX_LINE, MAX_RATIO

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page: page.read_text("utf-8") for page in PAGES}


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, block)
        for page, text in TEXT.items()
        for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    ]


def commands() -> list[tuple[str, list[str]]]:
    found = []
    for page, block in blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["serpline"]:
                found.append((page, words[1:]))
    return found


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)
def test_every_command_of_the_docs_is_understood(page: str, words: list[str]):
    """What a reader types is parsed, with every option it shows."""
    assert _parser().parse_args(words).command, page


def test_every_make_target_of_the_docs_exists():
    """A target that is named can be made."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {name for text in TEXT.values() for name in re.findall(r"`?make ([a-z-]+)\b", text)} - {
        "a",
        "alone",
    }
    assert named
    assert named <= targets


def test_every_setting_is_documented_and_every_documented_one_exists():
    """One table has them all."""
    words = rf"{PREFIX}([A-Z]+(?:_[A-Z]+)*)"
    named = {name.lower() for text in TEXT.values() for name in re.findall(words, text)}
    # What stands behind SERPLINE_SECRET_ is named by source files.
    named = {name for name in named if name.partition("_")[0] != "secret"}
    assert named == set(Settings.__struct_fields__)


def test_every_link_leads_somewhere():
    """A link within the docs names a file that is there."""
    for page, text in TEXT.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_examples_of_sources_are_sources():
    """Each example of the page is a file that is accepted, as it is or completed by the first one's head."""
    examples = [block for page, block in blocks("toml") if page == "sources.md" and "[answer]" in block]
    whole = [text for text in examples if text.startswith("name = ")]
    head = whole[0].partition("[answer]")[0]
    assert (len(whole), len(examples)) == (2, 5)
    for text in examples:
        compile_rules(parse_source(text if text in whole else head + text).spec.answer)


def test_a_post_in_the_docs_is_what_its_engine_gets():
    """Braces, quotes and slots of the example's body make JSON, and its first page is the engine's 0."""
    [text] = [block for page, block in blocks("toml") if page == "sources.md" and "POST" in block]
    task = Task('say "a"\\b', 2)
    batch = Batch("r1", "2026-01-31", 0, 1, "my_api", "de-AT", "desktop", (task,))
    request = plan_request(task, batch, parse_source(text), "agent")
    assert (request.method, request.url) == ("POST", "http://127.0.0.1:9200/api/search")
    assert msgspec.json.decode(request.body if request.body is not None else b"") == {
        "query": 'say "a"\\b',
        "lang": "de",
        "page": 1,
        "size": 20,
    }


def test_every_field_of_a_source_is_documented():
    """The table of fields has every field that a file may have."""
    page = TEXT[ROOT / "docs" / "sources.md"]

    for name in SourceSpec.__struct_fields__:
        assert re.search(rf"`{name}\b|`{name}\.", page), name
    for name in AnswerSpec.__struct_fields__:
        assert f"`answer.{name}`" in page, name
    for name in SLOTS:
        assert f"{{{name}}}" in page, name
    for name in KINDS:
        assert f"`{name}`" in page, name
    for name in TRANSFORMS:
        assert re.search(rf"`{name}[`:]", page), name


def test_every_shipped_source_is_documented_with_its_secrets():
    """A reader sees what there is and what it needs, and the keyed example is one of them."""
    page = TEXT[ROOT / "docs" / "sources.md"]
    for name, loaded in load_sources(None).items():
        assert f"| `{name}`" in page or f", `{name}`" in page, name
        for secret in loaded.source.secrets:
            assert f"secret `{secret}`" in page, name
        if loaded.source.spec.base_url.startswith("https"):
            assert "https://" in loaded.source.spec.notes, name


def test_the_example_of_a_golden_answer_is_one():
    [example] = [block for page, block in blocks("json") if page == "sources.md"]
    expected = msgspec.json.decode(example, type=Expected)
    assert set(msgspec.json.decode(example)) == set(Expected.__struct_fields__)
    assert expected.results[0].rank == 11


def test_every_reason_of_a_reject_is_documented():
    """What stands in a file of rejects is explained to whoever opens it."""
    page = TEXT[ROOT / "docs" / "keyword-files.md"]
    reasons: set[str] = set()
    for name in ("shard", "keyword_file", "text_blocks", "keywords", "run"):
        source = (ROOT / "stages" / f"{name}.py").read_text("utf-8")
        reasons |= set(re.findall(r'(?:return|reason =|CutOff\(|Reject\([^"]*?,) "([a-z_0-9]+)"', source))
        reasons |= set(re.findall(r'CutOff\("([a-z_]+)"', source))
    reasons -= {"gz", "zst"}
    assert {"not_utf8", "truncated", "unknown_source", "empty"} <= reasons
    assert not {reason for reason in reasons if f"`{reason}`" not in page}
    assert f"{MAX_LINE // 1024} KiB" in page
    assert f"{MAX_RATIO} times" in page


def cost_rows() -> list[str]:
    """The rows of the cost table: calls for 1,000 pages, and US dollars for a million, at two paces."""
    bills = [of_pages(1_000_000, terms) for terms in EXAMPLES.values()]

    def row(name: str, service: str, of_kind: Callable[[str], bool]) -> str:
        cells = [name]
        for one in bills:
            found = [line for line in one.lines if line.service == service and of_kind(line.what)]
            cells.append(
                f"{sum(line.count for line in found) / 1000:,.2f}" if service != "CloudWatch" else ""
            )
            cells.append(f"{sum(line.usd for line in found):.2f}")
        return f"| {' | '.join(cells)} |".replace("|  |", "| |")

    together = " | | ".join(f"**{one.usd:.2f}**" for one in bills)
    return [
        row("Lambda: GB-seconds of fetch", "Lambda", lambda what: what == "GB-s of fetch"),
        row(
            "Lambda: other GB-seconds", "Lambda", lambda what: what.startswith("GB-s") and "fetch" not in what
        ),
        row("Lambda: invocations", "Lambda", lambda what: what == "invocations"),
        row("SQS: requests", "SQS", lambda _: True),
        row("S3: PUT and LIST", "S3", lambda what: what != "GET"),
        row("S3: GET", "S3", lambda what: what == "GET"),
        row("DynamoDB: reads", "DynamoDB", lambda what: what == "reads"),
        row("DynamoDB: writes", "DynamoDB", lambda what: what == "writes"),
        row("Glue: calls", "Glue", lambda _: True),
        row("CloudWatch: GB of logs", "CloudWatch", lambda what: what == "GB of logs"),
        row("CloudWatch: months of a metric", "CloudWatch", lambda what: what != "GB of logs"),
        row("Scheduler: turns", "Scheduler", lambda _: True),
        f"| together | | {together} |",
    ]


def test_the_costs_of_the_docs_are_those_of_the_planner():
    """A table that a reader budgets with, and the sentences around it."""
    page = TEXT[ROOT / "docs" / "aws.md"]
    assert "\n".join(cost_rows()) in page, "\n".join(cost_rows())
    assert f"**{standing(MONTH).usd:.2f} USD a month**" in page
    assert f"{standing(MONTH, 2).usd - standing(MONTH).usd:.2f} USD for each further source" in page
    for terms in EXAMPLES.values():
        assert in_words(of_pages(1_000_000, terms).seconds) in page
    infra = (ROOT / "infra" / "terraform" / "README.md").read_text("utf-8")
    assert f"{standing(MONTH).usd:.2f} USD" in infra


def test_the_outputs_and_variables_of_the_docs_exist():
    """What a reader takes from `terraform output`, or writes into a variables file."""
    terraform = ROOT / "infra" / "terraform"
    outputs = set(re.findall(r'^output "(\w+)"', (terraform / "outputs.tf").read_text("utf-8"), re.MULTILINE))
    code = "\n".join(file.read_text("utf-8") for file in terraform.glob("variables*.tf"))
    variables = set(re.findall(r'^variable "(\w+)"', code, re.MULTILINE))
    for name in ("aws.md", "first-deploy.md"):
        page = TEXT[ROOT / "docs" / name]
        assert set(re.findall(r"terraform output (?:-\w+ )*(\w+)", page)) <= outputs, name
        assert set(re.findall(r"-var (\w+)=", page)) <= variables, name
        for block in re.findall(r"```hcl\n(.*?)```", page, re.DOTALL):
            assert set(re.findall(r"^(\w+) *=", block, re.MULTILINE)) <= variables, name
