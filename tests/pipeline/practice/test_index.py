"""What the index finds, and that no question, crash or neighbour can break it."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StorageUnavailable
from pipeline.practice.corpus import Document
from pipeline.practice.index import FORMAT, Index, build_index, default_index_path

BODY = "The quick brown fox jumps over the lazy dog, " * 20


def some(many: int) -> Iterator[Document]:
    for n in range(many):
        yield Document(title=f"zoo.fox{n}", path=f"library/zoo.html#zoo.fox{n}", kind="function", body=BODY)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("difference between deepcopy and copy", "copy.deepcopy"),
        ("how to wait for several coroutines with asyncio gather", "asyncio.gather"),
        ("how do I read CSV rows as dictionaries with DictReader", "csv.DictReader"),
        ("json loads string", "json.loads"),
        ("square root", "math.isqrt"),
        ("ordered dict", "collections.OrderedDict"),
    ],
)
def test_a_question_finds_what_it_is_about(index: Index, question: str, title: str):
    _, hits = index.search(question)
    assert title in [hit.title for hit in hits]


def test_hits_go_on_where_the_page_before_ended(index: Index):
    total, together = index.search("read a file", 0, 20)
    assert total > 20
    assert together == index.search("read a file", 0, 10)[1] + index.search("read a file", 10, 10)[1]
    assert len({hit.link for hit in together}) == 20


def test_a_question_that_has_only_stopwords_and_a_known_word_finds_that(index: Index):
    assert index.search("如何用 Python 读取文件")[0] > 0
    assert index.search("what is this?")[0] > 0


@pytest.mark.parametrize("question", ["", "   ", "🐍", '"', "*", "()", "qqxyzzy"])
def test_a_question_without_a_known_word_finds_nothing(index: Index, question: str):
    assert index.search(question) == (0, [])


@pytest.mark.parametrize(
    "question",
    [
        '"csv',
        "csv AND",
        "NEAR(csv, 5)",
        "csv*",
        "-csv",
        "title:csv",
        "csv^2",
        "{csv}",
        "csv\x00json",
        "csv\ud800",
        "a" * 9000,
    ],
)
def test_what_means_something_to_fts5_is_but_text(index: Index, question: str):
    index.search(question)


@given(question=st.text(), offset=st.integers(0, 200), limit=st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_no_question_breaks_the_index(index: Index, question: str, offset: int, limit: int):
    """Any text gives a total and hits within it, with snippets that fit."""
    total, hits = index.search(question, offset, limit)
    assert len(hits) == max(0, min(limit, total - offset))
    assert all(120 <= len(hit.snippet) <= 300 for hit in hits)


def test_snippets_show_the_words_of_the_question(index: Index):
    _, hits = index.search("argparse mutually exclusive group")
    assert "exclusive" in hits[0].snippet.lower()


def test_the_standard_library_gives_thousands_of_documents(index: Index):
    assert index._connection.execute("SELECT count(*) FROM documents").fetchone()[0] > 4000


def test_the_name_tells_interpreter_and_format(tmp_path: Path):
    version = ".".join(map(str, sys.version_info[:3]))
    assert default_index_path(tmp_path) == tmp_path / "serpline" / f"practice-{version}-{FORMAT}.sqlite3"


def test_building_leaves_the_index_and_nothing_else(tmp_path: Path):
    assert build_index(tmp_path / "deep" / "i.sqlite3", some(3)) == 3
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["i.sqlite3"]


def test_a_build_that_fails_leaves_the_index_as_it_was(tmp_path: Path):
    path = tmp_path / "i.sqlite3"
    build_index(path, some(3))
    before = path.read_bytes()

    def failing() -> Iterator[Document]:
        yield from some(1)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        build_index(path, failing())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["i.sqlite3"]


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match="practice index"):
        build_index(tmp_path / "file" / "i.sqlite3", some(1))


def test_an_open_index_goes_on_while_another_takes_its_place(tmp_path: Path):
    path = tmp_path / "i.sqlite3"
    build_index(path, some(3))
    index = Index(path)
    build_index(path, some(5))
    assert index.search("fox")[0] == 3
    index.close()
    again = Index(path)
    assert again.search("fox")[0] == 5
    again.close()


@pytest.mark.parametrize("damage", ["empty", "garbage", "old"])
def test_a_file_that_is_no_index_is_built_anew(tmp_path: Path, index_path: Path, damage: str):
    path = tmp_path / "i.sqlite3"
    if damage == "old":
        path.write_bytes(index_path.read_bytes())
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
        connection.close()
    else:
        path.write_bytes(b"" if damage == "empty" else b"no database" * 500)
    index = Index(path)
    assert index.search("csv")[0] > 0
    index.close()


def test_processes_that_build_at_once_do_not_disturb_each_other(tmp_path: Path):
    """Each ends with an index that answers, and one file is left."""
    program = (
        "import sys; from pathlib import Path; from pipeline.practice.index import Index;"
        "print(Index(Path(sys.argv[1])).search('csv')[0])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "i.sqlite3")]
    root = Path(__file__).parents[3]
    # The command is this interpreter and the line above.
    both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) for _ in range(2)]  # noqa: S603
    counts = [int(process.communicate()[0]) for process in both]
    assert counts[0] == counts[1] > 0
    assert [file.name for file in tmp_path.iterdir()] == ["i.sqlite3"]
