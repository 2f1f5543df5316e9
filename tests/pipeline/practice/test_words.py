"""What is searched for, shown and emphasised."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from pipeline.practice.words import emphasis, excerpt, split_name, terms


def test_stopwords_are_dropped_unless_nothing_else_is_left():
    assert terms("How do I use the csv module in Python?") == ("csv", "module")
    assert terms("what is it") == ("what", "is", "it")


def test_letters_of_any_form_are_the_same_word():
    assert terms("\uff23\uff33\uff36 csv Csv") == ("csv",)


def test_names_are_split_where_people_hear_two_words():
    assert split_name("csv.DictReader.field_names") == "csv Dict Reader field names"


@given(
    st.text("ab c日é.", min_size=130).map(lambda text: "".join(text.split()) + " word " * 20),
    st.text("abc", min_size=1),
)
def test_an_excerpt_has_the_promised_length(body: str, searched: str):
    """Also where a word is longer than the excerpt."""
    assert 120 <= len(excerpt(body, [searched, "word"])) <= 300


def test_an_excerpt_is_cut_where_the_words_stand_together():
    body = "alpha " + "filler " * 200 + "alpha beta gamma " + "filler " * 200
    assert "alpha beta gamma" in excerpt(body, ["alpha", "beta", "gamma"])


def test_emphasis_covers_endings_and_leaves_entities_alone():
    emphasise = emphasis(["file", "amp"])
    assert emphasise("Files & <file>") == "<em>Files</em> &amp; &lt;<em>file</em>&gt;"


@given(st.text(), st.text())
def test_emphasised_text_reads_as_the_text(text: str, query: str):
    """Whatever the text and the question, a reader of HTML sees the text and no element but ``em``."""
    seen, elements = list[str](), set[str]()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            elements.add(tag)
            assert not attrs

        def handle_data(self, data: str) -> None:
            seen.append(data)

    reader = Reader()
    reader.feed(emphasis(terms(query))(text))
    reader.close()
    assert "".join(seen) == text
    assert elements <= {"em"}
