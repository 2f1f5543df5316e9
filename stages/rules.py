"""The rule languages: how each parses an answer, finds rows, and reads values from a row.

Every rule is compiled once, when its source is.
"""

from __future__ import annotations

from stages.css_rules import CSS
from stages.json_rules import JSON
from stages.xpath_rules import XML, XPATH

LANGUAGES = {"css": CSS, "xpath": XPATH, "xml": XML, "json": JSON}
