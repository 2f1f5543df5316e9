"""The results page in HTML, as heavy and as winding as a real one; the same question gives the same bytes.

``div#results > div.hit`` are results and nothing else is; ``div.no-hits`` says that there are none.
"""

# ruff: noqa: E501 - markup, styles and scripts stand here as they are sent
from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from html import escape
from urllib.parse import quote, quote_plus, urlencode

import msgspec

from pipeline.practice import furniture
from pipeline.practice.index import Hit, Index
from pipeline.practice.style import behaviour_script, flags_script, styles
from pipeline.practice.words import emphasis, terms

HITS_A_PAGE = 10
MOST_PAGES = 10

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}")


class Ask(msgspec.Struct, frozen=True):
    """One question for one page, cleaned of what no page can be made for."""

    query: str
    page: int = 1
    hl: str = "en"


def ask(query: str, page: str = "", start: str = "", hl: str = "") -> Ask:
    """The question in a request's parameters; nonsense in ``page``, ``start`` and ``hl`` gives their defaults."""
    number = 1
    if page.isdecimal() and len(page) < 6:
        number = max(1, int(page))
    elif start.isdecimal() and len(start) < 6:
        number = int(start) // HITS_A_PAGE + 1
    # A lone half of a surrogate pair cannot be written in UTF-8; the rest of such a question can.
    clean = query.encode(errors="replace").decode()
    return Ask(query=clean, page=number, hl=hl if _LANGUAGE.fullmatch(hl) else "en")


def find(index: Index, asked: Ask, size: int = HITS_A_PAGE) -> tuple[int, list[Hit]]:
    """The total and the hits of one page; past the last page there are none."""
    if asked.page > MOST_PAGES:
        return index.search(asked.query, 0, 0)[0], []
    return index.search(asked.query, (asked.page - 1) * size, size)


def results_page(index: Index, asked: Ask) -> bytes:
    """The page for a question."""
    total, hits = find(index, asked)
    return render(asked, total, hits)


def render(asked: Ask, total: int, hits: Sequence[Hit]) -> bytes:
    """The page of these hits."""
    shown = escape(asked.query)
    begin, middle, after_field, end = _static(asked.hl)
    parts = [begin, shown, middle, shown, after_field, '<div class="sheet"><main role="main">']
    if hits:
        parts.append(f'<div id="stats"><span>About {total:,} results</span></div>')
    parts.append('<div id="results" role="list">')
    if hits:
        parts += _column(asked, hits)
    else:
        parts.append(_nothing(shown))
    parts += ["</div>", _pager(asked, total, found=bool(hits)), '</main><aside role="complementary">']
    if hits:
        parts += [furniture.panel(hits[0]), furniture.related(hits, asked.hl)]
    parts.append(end)
    return "".join(parts).encode()


@lru_cache(maxsize=64)
def _static(hl: str) -> tuple[str, str, str, str]:
    """What no question changes: head up to the title, then up to the field, then up to the results, the end."""
    begin = (
        f'<!doctype html>\n<html lang="{hl}" itemscope itemtype="https://schema.example/SearchResultsPage"><head>'
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="robots" content="noindex"><style>{styles()}</style><script>{flags_script()}</script><title>'
    )
    middle = (
        ' · Practice search</title></head><body class="page"><header class="top" role="banner"><div class="top-row">'
        '<a class="brand" href="/" aria-label="Home">practi<b>search</b></a><form class="ask" action="/search" '
        f'role="search"><input type="hidden" name="hl" value="{hl}"><input name="q" aria-label="Search" '
        'autocomplete="off" maxlength="2048" value="'
    )
    after_field = (
        '"><button type="submit">Search</button></form><div class="account"><a href="/settings">Settings</a>'
        f'<a href="/help">Help</a></div></div>{furniture.navigation(hl)}</header>'
    )
    end = f"</aside></div>{furniture.footer(hl)}<script>{behaviour_script()}</script></body></html>\n"
    return begin, middle, after_field, end


def _column(asked: Ask, hits: Sequence[Hit]) -> list[str]:
    """Advertisements, results and the box of questions, in the order of the column."""
    emphasise = emphasis((*terms(asked.query), "python"))
    first = (asked.page - 1) * HITS_A_PAGE + 1
    token = hashlib.blake2b(f"{asked.page}{asked.query}".encode(), digest_size=16).hexdigest()
    entries = [_hit(hit, first + n, token, emphasise) for n, hit in enumerate(hits)]
    paid = furniture.advertisements(asked.query, asked.page, 3)
    entries[3:3] = [furniture.also_asked(hits[:4], asked.hl)]
    return [*paid[:2], *entries, *paid[2:]]


def _hit(hit: Hit, position: int, token: str, emphasise: Callable[[str], str]) -> str:
    target = quote(hit.link, safe="")
    sent = f"/url?target={target}&amp;pos={position}&amp;token={token}"
    crumbs = escape(hit.link).replace("https://", "").replace("/", " &rsaquo; ")
    title = escape(hit.title)
    mark = f"{token[position % 16 :]}{position}"
    # Wrappers, labels and attributes without use: real pages are mostly these.
    return (
        f'<div class="hit" role="listitem" data-position="{position}" data-token="{mark}"><div class="hit-frame" '
        f'id="frame-{mark}" data-hover="0" data-seen="0"><div class="hit-body"><div class="hit-top" '
        f'data-context="{mark}:{position}:top"><div class="hit-from"><span class="hit-icon" aria-hidden="true"><span '
        f'class="hit-icon-inner">{furniture.ICON}</span></span><div class="hit-site"><div class="hit-site-name"><span>'
        f'docs.python.example</span></div><div class="hit-address"><cite class="hit-cite" role="text">{crumbs}</cite>'
        f'</div></div></div><div class="hit-title"><span class="hit-jump" data-jump="{mark}"></span><a class="hit-link" '
        f'href="{sent}" data-rank="{position}" data-track="follow;{position};{mark};{target}" rel="noopener" '
        f'target="_self"><h3 class="hit-heading" role="heading" aria-level="3">{title}</h3></a></div></div><div '
        f'class="hit-text" data-context="{mark}:{position}:text"><div class="hit-clamp" style="max-height:9em;'
        f'overflow:hidden;-webkit-line-clamp:4"><div class="hit-snippet"><span class="hit-kind">{hit.kind}</span><span '
        f'class="hit-words">{emphasise(hit.snippet)}</span></div></div></div><div class="hit-tools" role="group" '
        f'aria-label="About {title}"><div class="tool"><a class="tool-link" href="/kept?target={target}&amp;'
        f'token={token}" data-track="kept;{position};{mark}" rel="nofollow">Kept copy</a></div><div class="tool"><a '
        f'class="tool-link" href="/similar?target={target}&amp;token={token}" data-track="similar;{position};{mark}" '
        f'rel="nofollow">Similar</a></div><div class="tool"><a class="tool-link" href="/translate?target={target}&amp;'
        f'token={token}" data-track="translate;{position};{mark}" rel="nofollow">Translate</a></div><div class="tool">'
        f'<span tabindex="0" role="button" aria-label="About this result" aria-haspopup="true" aria-expanded="false" '
        f'data-opens="menu-{mark}">⋮</span><div class="menu" id="menu-{mark}" role="dialog" aria-hidden="true"><div '
        f'class="menu-frame"><div class="menu-head"><b>About the source</b></div><div class="menu-text">The '
        f"documentation of the Python standard library, as found on this machine. The entry describes the {hit.kind} "
        f"{title} and was found by the words of your question, ranked by how often and how near the top they stand."
        f'</div><ul class="menu-list"><li><a href="/report?what=spam&amp;pos={position}&amp;token={mark}" '
        f'rel="nofollow">Report this result</a></li><li><a href="/report?what=stale&amp;pos={position}&amp;'
        f'token={mark}" rel="nofollow">Tell us it is out of date</a></li><li><a href="/hide?pos={position}&amp;'
        f'token={mark}" rel="nofollow">Show fewer like this</a></li></ul></div></div></div></div></div></div></div>'
    )


def _nothing(shown: str) -> str:
    return (
        f'<div class="no-hits" role="status"><p>Nothing was found for <b>{shown}</b>.</p><ul><li>Check the spelling.'
        "</li><li>Try other or fewer words.</li><li>Ask about the Python standard library.</li></ul></div>"
    )


def _pager(asked: Ask, total: int, *, found: bool) -> str:
    last = min(MOST_PAGES, -(-total // HITS_A_PAGE))
    if not found or last < 2:
        return ""
    items = []
    for number in range(1, last + 1):
        if number == asked.page:
            items.append(f'<b aria-current="page">{number}</b>')
        else:
            items.append(f'<a class="page-link" href="{_address(asked, number)}">{number}</a>')
    if asked.page < last:
        items.append(
            f'<a class="next" id="next" rel="next" href="{_address(asked, asked.page + 1)}">Next &rsaquo;</a>'
        )
    return f'<nav class="pages" role="navigation" aria-label="Pages">{"".join(items)}</nav>'


def _address(asked: Ask, page: int) -> str:
    return escape(
        "/search?" + urlencode({"q": asked.query, "page": page, "hl": asked.hl}, quote_via=quote_plus)
    )
