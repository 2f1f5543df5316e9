"""``serpline query``: SQL over the tables of a lake, on this machine or in Athena."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import Misuse
from pipeline.settings import Settings, bucket_of

if TYPE_CHECKING:
    from pipeline.query import Answer
    from pipeline.query.athena import AthenaQuery, Scanned

SHOWN = 100
"""Rows of a printed table; the other formats give every row."""

PIPED = 10_000
"""Characters of a table's line that is no terminal's."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "query",
        parents=[common],
        help="SQL, as for Athena, over the tables of a lake",
        description="SQL in Athena's dialect over tables and views of a lake; docs/query.md has a cookbook.",
    )
    parser.add_argument("sql", metavar="SQL")
    parser.add_argument(
        "--lake", metavar="DIR", help="the folder of tables and runs; s3://BUCKET asks in Athena"
    )
    parser.add_argument(
        "--athena", action="store_true", help="ask in Athena, in the workgroup called as SERPLINE_NAME says"
    )
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")
    parser.add_argument(
        "--explain", action="store_true", help="say what the query will read, and read nothing"
    )
    parser.add_argument(
        "--price", type=_price, default=None, metavar="USD", help="what Athena asks for a TB here (5)"
    )
    parser.set_defaults(command=query)


def query(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run one query and write its answer to standard output."""
    lake = arguments.lake if arguments.lake is not None else settings.lake
    on_aws = bucket_of(lake) is not None
    if arguments.athena and arguments.lake is not None and not on_aws:
        raise Misuse("--athena asks the tables on AWS: leave --lake DIR out, or --athena")
    if arguments.format == "parquet" and not arguments.explain and sys.stdout.isatty():
        raise Misuse("Parquet is no text for a terminal: send it to a file with > FILE")
    if arguments.athena or on_aws:
        return _ask_athena(arguments, settings)
    # DuckDB and sqlglot take half a second to import; only this command needs them.
    from pipeline.query import Lake  # noqa: PLC0415

    if arguments.explain:
        from pipeline.query.explain import sentences  # noqa: PLC0415
        from pipeline.query.lake_plan import lake_readings  # noqa: PLC0415

        print("\n".join(sentences(lake_readings(Path(lake), arguments.sql))))
        return 0
    with Lake(Path(lake)) as opened:
        _write(opened.ask(arguments.sql), arguments.format)
    return 0


def _ask_athena(arguments: argparse.Namespace, settings: Settings) -> int:
    from pipeline.query.athena import USD_A_TB  # noqa: PLC0415
    from pipeline.query.dialect import check_reads  # noqa: PLC0415
    from pipeline.query.explain import athena_readings, sentences  # noqa: PLC0415

    # Before a client is built: what cannot be asked needs no credentials to be told.
    check_reads(arguments.sql, explained=arguments.explain)
    usd_a_tb = arguments.price if arguments.price is not None else USD_A_TB
    with _waiting() as told:
        athena = _athena(settings, usd_a_tb, told)
        if arguments.explain:
            readings = athena_readings(athena, arguments.sql)
        else:
            answer = athena.ask(arguments.sql)
    if arguments.explain:
        print("\n".join(sentences(readings)))
        return 0
    try:
        _write(answer, arguments.format)
        sys.stdout.flush()
    finally:
        # Also where the reader (`| head`) had enough: it is billed all the same.
        print(f"serpline: {_bill(answer.scanned)}", file=sys.stderr)
    return 0


def _athena(settings: Settings, usd_a_tb: float, told: Callable[[str, int, float], None]) -> AthenaQuery:
    from pipeline.bootstrap_aws import aws_clients  # noqa: PLC0415
    from pipeline.query.athena import AthenaQuery  # noqa: PLC0415

    return AthenaQuery(
        aws_clients(settings).athena, settings.name, settings.database, usd_a_tb=usd_a_tb, told=told
    )


@contextmanager
def _waiting() -> Iterator[Callable[[str, int, float], None]]:
    """A line on the terminal that says how far the query is; nothing where standard error is none."""
    from rich.console import Console  # noqa: PLC0415

    from pipeline.query.explain import bytes_text  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        yield lambda _state, _bytes, _seconds: None
        return
    with console.status("asking Athena") as status:
        yield lambda state, read, seconds: status.update(
            f"Athena: {state.lower()}, {bytes_text(read)} read, {seconds:.0f} s (Ctrl-C cancels)"
        )


def _write(answer: Answer, form: str) -> None:
    from pipeline.query import write_table  # noqa: PLC0415
    from pipeline.query.formats import WRITERS  # noqa: PLC0415

    if form == "table":
        # Whoever reads a pipe wants whole values; a terminal has a width.
        write_table(answer, sys.stdout, most=SHOWN, width=None if sys.stdout.isatty() else PIPED)
    else:
        WRITERS[form](answer, sys.stdout.buffer)


def _bill(scanned: Scanned) -> str:
    from pipeline.query.explain import bytes_text  # noqa: PLC0415

    price = f"about ${scanned.cost:.6f}" if scanned.cost else "free"
    return f"{bytes_text(scanned.bytes)} read in {scanned.seconds:.1f} s, {price} (query {scanned.query_id})"


def _price(text: str) -> float:
    price = float(text)
    if not 0 <= price < float("inf"):
        raise ValueError(text)
    return price
