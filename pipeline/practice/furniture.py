"""What stands on a results page beside the results: navigation, advertisements, boxes, footer.

All of it carries links and headings as results do, so that only a reader who knows the page's structure
tells them apart.
"""

# ruff: noqa: E501 - markup, styles and scripts stand here as they are sent
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape
from urllib.parse import quote_plus

from pipeline.practice.index import Hit

ICON = (
    '<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path fill="none" stroke="currentColor" '
    'stroke-width="1.6" stroke-linejoin="round" d="M5 3.5h9l5 5V20.500H5zM14 3.500V8.500h5M8.200 12.400h7.600'
    'M8.200 15.200h7.600M8.200 17.900h4.900"/></svg>'
)

_TABS = ("All", "Modules", "Functions", "Classes", "Exceptions", "News", "Videos", "Books", "More")
_FILTERS = {
    "Any version": ("Any version", "3.14", "3.13", "3.12", "3.11", "3.10", "Older"),
    "Any kind": ("Any kind", "Module", "Class", "Function", "Method", "Constant"),
    "All results": ("All results", "Word for word", "With an example"),
}
_FOOTER = (
    "About",
    "How search works",
    "Privacy",
    "Terms",
    "Advertising",
    "Business",
    "Settings",
    "Help",
    "Send feedback",
)
_ADS = (
    (
        "Learn Python in 21 evenings",
        "evenings.example",
        "Live lessons in small groups. First evening free of charge.",
    ),
    (
        "Managed notebooks, from 4 a month",
        "notebooks.example",
        "Your code, your data, our machines. No set-up.",
    ),
    (
        "Hire a Python developer",
        "workbench.example",
        "Vetted people, answering within two days, in your time zone.",
    ),
    (
        "The debugger that remembers",
        "stepback.example",
        "Step backwards through any crash. Try it for 30 days.",
    ),
    ("Code review by people", "secondpair.example", "Send a branch, get it read by tomorrow morning."),
    (
        "Python books, second hand",
        "shelfmark.example",
        "More than 9,000 titles in stock; sent on the same day.",
    ),
    (
        "Keep your servers in one list",
        "inventory.example",
        "What runs where, in which version. Free up to 10 hosts.",
    ),
)


def navigation(hl: str) -> str:
    """Tabs and filters below the search field; the same for every question."""
    tabs = "".join(
        f'<div class="tab" role="listitem"><a class="tab-link{" on" if tab == "All" else ""}" '
        f'href="/tab?kind={tab.lower()}&amp;hl={hl}" data-place="{place}"><span>{tab}</span></a></div>'
        for place, tab in enumerate(_TABS)
    )
    filters = "".join(
        _filter(place, name, choices, hl) for place, (name, choices) in enumerate(_FILTERS.items())
    )
    return (
        f'<nav class="tabs" role="list" aria-label="Kinds of results">{tabs}</nav>'
        f'<div class="filters" role="toolbar" aria-label="Filters">{filters}</div>'
    )


def _filter(place: int, name: str, choices: Sequence[str], hl: str) -> str:
    items = "".join(
        f'<li role="menuitemradio" aria-checked="{str(not n).lower()}"><a href="/filter?f={place}.{n}&amp;hl={hl}" '
        f'rel="nofollow"><span class="choice">{choice}</span></a></li>'
        for n, choice in enumerate(choices)
    )
    return (
        f'<div class="filter"><span tabindex="0" role="button" aria-haspopup="true" aria-expanded="false" '
        f'data-opens="filter-{place}">{name} ▾</span><div class="menu" id="filter-{place}"><ul>{items}</ul></div></div>'
    )


def footer(hl: str) -> str:
    """The end of the page; the same for every question."""
    links = "".join(f'<a href="/page/{quote_plus(name.lower())}?hl={hl}">{name}</a>' for name in _FOOTER)
    return (
        '<footer role="contentinfo"><div class="where"><span>Loopback</span><span>·</span><span>From this machine'
        f"</span></div><div>{links}</div></footer>"
    )


def advertisements(query: str, page: int, many: int) -> list[str]:
    """Paid entries in the results' column, chosen by the question alone."""
    drawn = hashlib.blake2b(f"{page}{query}".encode(errors="replace"), digest_size=8).digest()
    return [_advertisement((drawn[0] + n) % len(_ADS), drawn.hex(), n) for n in range(many)]


def _advertisement(which: int, token: str, place: int) -> str:
    title, host, text = _ADS[which]
    target = f"/aclk?ad={which}&amp;place={place}&amp;token={token}&amp;target=https%3A%2F%2F{host}%2F"
    return (
        f'<div class="ad" data-ad="{which}" data-place="{place}" aria-label="Advertisement"><div class="ad-frame"><div '
        f'class="ad-head"><span class="ad-mark">Sponsored</span><cite class="ad-host">{host}</cite></div><div><a '
        f'class="ad-link" href="{target}" rel="sponsored nofollow"><h3 class="ad-title">{title}</h3></a></div>'
        f'<p class="ad-text">{text}</p></div></div>'
    )


def also_asked(hits: Sequence[Hit], hl: str) -> str:
    """A box of questions between the results."""
    items = "".join(
        f'<li class="asked"><a href="/search?q={quote_plus("what is " + hit.title)}&amp;hl={hl}"><span>What is '
        f"{escape(hit.title)}, and when is it the right {hit.kind}?</span></a></li>"
        for hit in hits
    )
    return f'<div class="box questions"><h2>People also ask</h2><ul class="asked-list">{items}</ul></div>'


def related(hits: Sequence[Hit], hl: str) -> str:
    """The box "Related searches" at the side."""
    words = ("example", "vs alternatives", "performance", "thread safe", "tutorial", "common mistakes")
    asked = [f"{hit.title} {word}" for hit, word in zip(hits, words, strict=False)]
    items = "".join(
        f'<li><a class="related-link" href="/search?q={quote_plus(ask)}&amp;hl={hl}"><span>{escape(ask)}</span></a></li>'
        for ask in asked
    )
    return f'<div class="box related"><h2>Related searches</h2><ul>{items}</ul></div>'


def panel(hit: Hit) -> str:
    """The knowledge panel: what the engine believes the question is about."""
    link = escape(hit.link)
    return (
        f'<div class="box panel" data-about="{escape(hit.title)}"><h2>{escape(hit.title)}</h2><div class="sub">{hit.kind} '
        f'of the Python standard library</div><p class="panel-text">{escape(hit.snippet)} <a class="panel-link" '
        f'href="{link}">Documentation</a></p><dl><dt>Language</dt><dd>Python</dd><dt>Kind</dt><dd>{hit.kind}</dd>'
        f"<dt>Address</dt><dd><cite>{link}</cite></dd></dl></div>"
    )
