"""The docs say what the code does: every command, target, setting and source file in them works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec
import pytest

from pipeline.cli.main import _parser
from pipeline.golden import Expected
from pipeline.settings import PREFIX, Settings
from pipeline.source_files import load_sources
from stages.extract import compile_rules
from stages.source import TRANSFORMS, AnswerSpec, SourceSpec, parse_source
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
    named = {name.lower() for text in TEXT.values() for name in re.findall(rf"{PREFIX}([A-Z]+)", text)}
    # What stands behind SERPLINE_SECRET_ is named by source files.
    assert named - {"secret"} == set(Settings.__struct_fields__)


def test_every_link_leads_somewhere():
    """A link within the docs names a file that is there."""
    for page, text in TEXT.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_examples_of_sources_are_sources():
    """Each example of the page, completed by the first one's head, is a file that is accepted."""
    examples = [block for page, block in blocks("toml") if page == "sources.md"]
    first, *others = [block for block in examples if "[answer]" in block]
    head = first.partition("[answer]")[0]
    assert len(others) == 2
    for text in [first, *(head + other for other in others)]:
        compile_rules(parse_source(text).spec.answer)


def test_every_field_of_a_source_is_documented():
    """The table of fields has every field that a file may have."""
    page = TEXT[ROOT / "docs" / "sources.md"]

    for name in SourceSpec.__struct_fields__:
        assert re.search(rf"`{name}\b|`{name}\.", page), name
    for name in AnswerSpec.__struct_fields__:
        assert f"`answer.{name}`" in page, name
    for name in SLOTS:
        assert f"{{{name}}}" in page, name
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
