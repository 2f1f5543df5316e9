"""The example file: real questions, nearly all of which the engine can answer."""

import csv
import unicodedata
from pathlib import Path

from pipeline.practice.index import Index

EXAMPLE = Path(__file__).parents[3] / "examples" / "keywords.csv"


def keywords() -> list[str]:
    with EXAMPLE.open(encoding="utf-8", newline="") as file:
        return [row["keyword"] for row in csv.DictReader(file)]


def test_the_file_holds_many_questions_and_a_few_of_them_twice():
    """Duplicates differ in spacing or Unicode form only, so that only who normalises finds them."""
    lines = keywords()
    distinct = {" ".join(unicodedata.normalize("NFKC", line).split()) for line in lines}
    assert len(set(lines)) == len(lines)
    assert len(distinct) >= 550
    assert 3 <= len(lines) - len(distinct) <= 5


def test_questions_of_other_scripts_are_among_them():
    scripts = {
        unicodedata.name(letter).split()[0] for line in keywords() for letter in line if ord(letter) > 255
    }
    assert {"CJK", "HIRAGANA", "ARABIC", "HEBREW", "HANGUL", "SNAKE"} <= scripts


def test_nearly_all_have_results(index: Index):
    lines = keywords()
    answered = sum(index.search(line, 0, 1)[0] > 0 for line in lines)
    assert answered >= 0.98 * len(lines)
