"""The short ways through the rule languages find what the long ways find."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from stages.extract import _unquoted
from stages.rules import LANGUAGES

PAGE = b"""<html><body class="x"><div id="a"><p class="x">one<b>two</b></p><p>three</p></div>
<div id="b"><p class="x y">four</p><section><p class="x">five</p></section></div></body></html>"""


PATHS = (
    ".//p",
    "//p",
    ".//*",
    "//*",
    ".//p[@class='x']",
    '//p[@class="x y"]',
    "//body[@class='x']",
    "//html",
)
NOWHERE = (".//nothing", "//p[@class='']", ".//p[@id='a']")


@pytest.mark.parametrize("path", PATHS + NOWHERE)
@pytest.mark.parametrize("language", ["xpath", "xml"])
def test_a_plain_path_finds_first_what_xpath_finds_first(path: str, language: str):
    """From the root and from inside, the walk that stops at the first match is XPath's first match."""
    rules = LANGUAGES[language]
    root = rules.parse(PAGE)
    find_first, evaluate = rules.find_first(path), etree.XPath(path)
    for node in [root, *root.iter("div"), *root.iter("p")]:
        assert find_first(node) is next(iter(evaluate(node)), None)


@given(st.text("ab%23AF5+/: é", max_size=30))
def test_a_link_is_unquoted_as_the_standard_library_does(text: str):
    """The shortcut for the escapes of every URL changes no answer."""
    assert _unquoted(text) == unquote(text)
