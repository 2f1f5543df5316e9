"""What the documents are."""

import json
import sys
from pathlib import Path

import pytest

from pipeline.practice.corpus import MINIMUM_BODY, Document, source_documents
from pipeline.practice.inspected import inspected_documents


def test_sources_are_read_and_never_run(tmp_path: Path):
    """A module that would end the process when imported is documented all the same."""
    (tmp_path / "fatal.py").write_text(
        '"""Says little."""\nraise SystemExit\n\ndef f(a):\n    """Does it."""\n'
    )
    found = {d.title: d for d in source_documents(tmp_path)}
    assert set(found) == {"fatal", "fatal.f"}
    assert found["fatal.f"].path == "library/fatal.html#fatal.f"
    assert found["fatal.f"].body.startswith("f(a) Does it. From the module fatal: Says little.")
    assert "fatal" not in sys.modules


def test_a_file_that_cannot_be_parsed_costs_nothing_but_itself(tmp_path: Path):
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "null.py").write_bytes(b"\x00")
    (tmp_path / "sound.py").write_text('"""Sound."""\n')
    assert [d.title for d in source_documents(tmp_path)] == ["sound"]


def test_a_package_passes_on_what_its_init_imports(tmp_path: Path):
    """People know ``gather`` as ``asyncio.gather``, wherever its file stands."""
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text('"""A pack."""\nfrom .inner import *\nfrom .other import Named\n')
    (package / "inner.py").write_text(
        '__all__ = ["shown"]\ndef shown():\n    "Yes."\ndef kept():\n    "No."\n',
    )
    (package / "other.py").write_text('class Named:\n    "A."\n    def method(self):\n        "B."\n')
    titles = {d.title for d in source_documents(tmp_path)}
    assert titles == {"pack", "pack.shown", "pack.inner.kept", "pack.Named", "pack.Named.method"}


def test_tests_private_names_and_nested_functions_are_left_out(tmp_path: Path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_x.py").write_text('"""Tests."""\n')
    (tmp_path / "_hidden.py").write_text('"""Hidden."""\n')
    (tmp_path / "open.py").write_text(
        'def a():\n    "A."\n    def inner():\n        "I."\n'
        'def _b():\n    "B."\nif True:\n    def c():\n        "C."\n',
    )
    assert [d.title for d in source_documents(tmp_path)] == ["open.a", "open.c"]


@pytest.mark.parametrize(
    ("title", "kind", "path"),
    [
        ("open", "function", "library/functions.html#open"),
        ("str.split", "function", "library/stdtypes.html#str.split"),
        ("ValueError", "class", "library/exceptions.html#ValueError"),
        ("itertools.chain", "class", "library/itertools.html#itertools.chain"),
        ("math.sqrt", "function", "library/math.html#math.sqrt"),
        ("collections.deque.rotate", "function", "library/collections.html#collections.deque.rotate"),
    ],
)
def test_what_is_written_in_c_is_documented_too(title: str, kind: str, path: str):
    found = {d.title: d for d in inspected_documents()}
    assert (found[title].kind, found[title].path) == (kind, path)


def test_every_body_is_long_enough_for_a_snippet():
    assert all(len(d.body) >= MINIMUM_BODY for d in inspected_documents())


def test_documents_of_a_known_package_have_their_known_names():
    folder = Path(json.__file__).parent
    titles = {d.title for d in source_documents(folder.parent) if isinstance(d, Document)}
    assert {"json", "json.loads", "asyncio.gather", "csv.DictReader", "os.path.join"} <= titles
