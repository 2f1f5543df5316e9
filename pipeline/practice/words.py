"""Words: what of a question is searched for, which part of a text is shown, and what is emphasised in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

SHORTEST_EXCERPT = 120
LONGEST_EXCERPT = 300

_MOST_TERMS = 24
_EXCERPT = 250
_LEAD = 40
_WORD = re.compile(r"[^\W_]+")
_WORD_OR_MARKUP = re.compile(r"[^\W_]+|[&<>\"']")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_ENDINGS = ("", "s", "es", "d", "ed", "ing", "er", "ers")

_STOPWORDS = """
a about after all also an and any are as at be because been before best between but by can cannot
could did difference do does doesn doing don for from get gets getting given good had has have how i
if in instead into is isn it its just like make makes me mean means my need not of on one only or
other our out over properly python python3 right s same several should simple so some such t than
that the their them then there these they thing this through to two up use used using vs want was way
we were what when where which while who whole why will with without work works would you your
"""
STOPWORDS = frozenset(_STOPWORDS.split())
"""Words of questions, and the word that is in all of them."""


def words_of(query: str) -> tuple[str, ...]:
    """The words of a question: distinct, in order, folded as the index folds its own."""
    found = _WORD.findall(unicodedata.normalize("NFKC", query).casefold())
    return tuple(dict.fromkeys(found))[:_MOST_TERMS]


def terms(query: str) -> tuple[str, ...]:
    """The words of a question that are searched for: without stopwords if others remain."""
    words = words_of(query)
    return tuple(word for word in words if word not in STOPWORDS) or words


def split_name(name: str) -> str:
    """The words inside a name: ``csv.DictReader.fieldnames`` gives ``csv Dict Reader fieldnames``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[._]+", " ", name)


def excerpt(body: str, searched: Sequence[str]) -> str:
    """The 120 to 300 characters of the body where most of the searched words stand together."""
    if len(body) <= LONGEST_EXCERPT:
        return body
    lowered = body.lower()
    places = sorted(place for place in map(lowered.find, searched) if place >= 0)
    start, most = 0, 0
    for place in places:
        together = sum(place <= other < place + _EXCERPT - 2 * _LEAD for other in places)
        if together > most:
            start, most = place - _LEAD, together
    start = max(0, min(start, len(body) - _EXCERPT))
    end = start + _EXCERPT
    if start:
        start = _boundary(body, start)
    if end < len(body):
        end = _boundary(body, end - 2 * _LEAD)
    return f"{'… ' if start else ''}{body[start:end].strip()}{' …' if end < len(body) else ''}"


def _boundary(body: str, place: int) -> int:
    """The first space from here on, unless a word without an end makes it too far."""
    space = body.find(" ", place, place + 2 * _LEAD)
    return space if space >= 0 else place


def emphasis(searched: Sequence[str]) -> Callable[[str], str]:
    """A function that escapes a text for HTML and puts the searched words (and their endings) in ``<em>``."""
    forms = {f"{word}{ending}" for word in searched for ending in _ENDINGS}
    forms |= {word[:-1] for word in searched if len(word) > 3 and word.endswith("s")}

    def dress(match: re.Match[str]) -> str:
        found = match.group()
        if found in _ENTITIES:
            return _ENTITIES[found]
        return f"<em>{found}</em>" if found.lower() in forms else found

    return lambda text: _WORD_OR_MARKUP.sub(dress, text)
