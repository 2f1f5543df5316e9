"""``python -m bench``: run the benchmarks, print the table, write ``build/bench.json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from rich.console import Console

from bench.aggregating import bench_aggregate
from bench.cold_start import NAMES as COLD_STARTS
from bench.cold_start import bench_cold_start
from bench.committing import NAMES as COMMITS
from bench.committing import bench_commits
from bench.compacting import NAMES as COMPACTIONS
from bench.compacting import bench_compact
from bench.figures import Failed, Figure, figures_table, write_figures
from bench.lookup import bench_lookup
from bench.lookups_by_size import HUGE as HUGE_PARTITION
from bench.lookups_by_size import SIZES, bench_huge_lookups, bench_lookups
from bench.lookups_by_size import names as lookup_names
from bench.pages import bench_json, bench_pages
from bench.process import BUILD
from bench.reading import NAMES as READS
from bench.reading import bench_reading
from bench.sharding import bench_bucket, bench_huge, bench_shard

Benchmark = Callable[[float, int, Collection[str]], Iterator[Figure]]

BENCHMARKS: tuple[tuple[Benchmark, tuple[str, ...]], ...] = (
    (
        bench_pages,
        (
            "pages_css_vs_scrapy",
            "pages_css_cpu_milliseconds",
            "pages_xpath_vs_scrapy",
            "pages_xpath_cpu_milliseconds",
        ),
    ),
    (bench_json, ("json_pages_per_cpu_second",)),
    (
        bench_shard,
        ("shard_keywords_per_second", "shard_peak_megabytes", "shard_tidy_keywords_per_second"),
    ),
    (
        bench_bucket,
        ("shard_object_megabytes", "shard_object_lines_per_second", "shard_object_peak_megabytes"),
    ),
    (bench_aggregate, ("aggregate_results_per_second", "aggregate_peak_megabytes")),
    (bench_compact, COMPACTIONS),
    (bench_lookup, ("lookup_megabytes",)),
    (bench_lookups, lookup_names(SIZES)),
    (bench_commits, COMMITS),
    (bench_reading, READS),
    (bench_cold_start, COLD_STARTS),
)
HUGE: tuple[tuple[Benchmark, tuple[str, ...]], ...] = (
    (bench_huge, ("shard_huge_lines_per_second", "shard_huge_peak_megabytes")),
    (bench_huge_lookups, lookup_names([HUGE_PARTITION])),
)


def main() -> int:
    """Run what was asked for; 0 if everything was measured, whether or not it reached its goal."""
    given = _arguments()
    chosen = [*BENCHMARKS, *(HUGE if given.huge else [])]
    known = [name for _, names in chosen for name in names]
    wanted = given.only or known
    if unknown := [name for name in wanted if name not in known]:
        print(f"bench: there is no {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    code = 0
    for benchmark, names in chosen:
        asked = [name for name in names if name in wanted]
        if not asked:
            continue
        print(f"measuring {', '.join(asked)}", file=sys.stderr, flush=True)
        try:
            found = benchmark(given.scale, given.repeat, asked)
            figures.extend(figure for figure in found if figure.name in asked)
        except Failed as error:
            # The others are worth having; the code tells that one is missing.
            print(f"bench: {error}", file=sys.stderr)
            code = 1
    write_figures(figures, given.output)
    screen = Console(highlight=False)
    (screen if screen.is_terminal else Console(highlight=False, width=200)).print(figures_table(figures))
    if given.scale != 1:
        print(f"at {given.scale:g} of the full size: start-up weighs more than it should")
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="this figure alone (may be repeated)")
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the full size, as in 0.1")
    parser.add_argument(
        "--repeat", type=int, default=3, metavar="N", help="rounds, of which medians are given"
    )
    parser.add_argument(
        "--huge",
        action="store_true",
        help="also shard one part of 100 million lines (2.6 GB), and look into 100 million pages",
    )
    parser.add_argument(
        "--output", type=Path, default=BUILD / "bench.json", help="where the figures are written"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
