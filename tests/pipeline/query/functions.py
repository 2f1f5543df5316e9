"""The functions that views and the docs' SQL may call, by Trino's documentation.

sqlglot parses the grammar of Athena and takes any name for a function: one that Trino lacks would be seen
only by whoever runs the query there. Add a name here after looking it up among Trino's functions.
"""

from __future__ import annotations

import re

TRINO = """
abs any_match approx_percentile array_agg array_join array_sort cardinality cast coalesce count count_if
date_diff date_trunc greatest lag least max min min_by nullif round row row_number sum
"""
_WORDS = "and as by filter from in join not on or over select then unnest values when where"
# A table's alias with columns, ``AS t (rank, kind)``, is no call.
_CALLS = re.compile(r"(?<!\bAS )\b([a-z_]\w*)\s*\(", re.IGNORECASE)


def unknown(sql: str) -> set[str]:
    """What a statement calls that is not among Trino's functions here."""
    return {name.lower() for name in _CALLS.findall(sql)} - {*_WORDS.split(), *TRINO.split()}
