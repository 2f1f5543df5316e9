"""Functions of Athena that DuckDB lacks and sqlglot passes on by name, as DuckDB macros."""

from __future__ import annotations

# RFC 3986, appendix B, without the parts that are not asked for.
_HOST = r"^[^:/?#]+://(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:]*)"

_EMPTY_IS_NULL = "nullif(regexp_extract(url, '{}', 1), '')"

MACROS = {
    "url_extract_host(url)": _EMPTY_IS_NULL.format(_HOST),
    "url_extract_protocol(url)": _EMPTY_IS_NULL.format("^([^:/?#]+):"),
    "url_extract_path(url)": r"regexp_extract(url, '^(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)', 1)",
    "url_extract_query(url)": _EMPTY_IS_NULL.format(r"^[^?#]*\?([^#]*)"),
    "url_extract_fragment(url)": _EMPTY_IS_NULL.format("^[^#]*#(.*)$"),
    "url_extract_parameter(url, name)": (
        "url_decode(list_filter(string_split(regexp_extract(url, '^[^?#]*\\?([^#]*)', 1), '&'), "
        "lambda pair: split_part(pair, '=', 1) = name)[1][length(name) + 2:])"
    ),
    "to_iso8601(moment)": "strftime(moment, CASE typeof(moment) WHEN 'DATE' THEN '%Y-%m-%d' "
    "ELSE '%Y-%m-%dT%H:%M:%S.%g' END)",
    "map_agg(name, given)": "map(list(name), list(given))",
    "every(given)": "bool_and(given)",
    "arrays_overlap(one, other)": "list_has_any(one, other)",
    "is_infinite(given)": "isinf(given)",
    "infinity()": "CAST('inf' AS DOUBLE)",
    "nan()": "CAST('nan' AS DOUBLE)",
}
"""By signature; what each of them gives is Trino's to say."""
