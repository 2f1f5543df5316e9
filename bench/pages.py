"""Results pages to table: CPU a page of the whole run, paired with Scrapy in the same round.

``serpline run`` (fetch, extract, stage, aggregate, commit) with CSS and with XPath rules, beside a
Scrapy spider and Crawlee's ParselCrawler that read the same fields to JSON lines, and the same work
by hand. The client has one core, nginx the other. Each ratio is taken within a round; figures are
the medians of the rounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator

from bench.contenders import Job, Ran, agree, run_by_hand, run_peer, run_serpline
from bench.figures import Figure, middle
from bench.sources import write_sources
from bench.static_site import serving, write_keywords

PAGES = 30_000
JSON_PAGES = 50_000
FEWEST = 500

GOALS = {"css": 5.0, "xpath": 3.0}


def bench_pages(scale: float, repeat: int, wanted: Collection[str]) -> Iterator[Figure]:
    """The figures ``pages_<kind>_vs_scrapy``, and beside each its CPU a page."""
    kinds = [kind for kind in GOALS if any(name.startswith(f"pages_{kind}_") for name in wanted)]
    with serving() as base_url:
        job = _job(base_url, max(FEWEST, int(PAGES * scale)))
        spent: dict[str, list[float]] = defaultdict(list)

        def note(name: str, run: Callable[[Job, str], Ran], argument: str) -> Ran:
            ran = run(job, argument)
            spent[name].append(ran.milliseconds(job))
            return ran

        runs: list[Ran] = []
        for _ in range(repeat):
            for kind in kinds:
                runs.append(note(kind, run_serpline, kind))
                runs.append(note(f"{kind} by hand", run_by_hand, kind))
            runs.append(note("scrapy", run_peer, "scrapy"))
        # It decides nothing, so it runs once.
        runs.append(note("crawlee", run_peer, "crawlee"))
        agree(runs)
    for kind in kinds:
        yield _ratio(kind, spent)
        yield Figure(
            f"pages_{kind}_cpu_milliseconds",
            middle(spent[kind]),
            "CPU ms a page",
            floor=middle(spent[f"{kind} by hand"]),
            peers={name: middle(spent[name]) for name in ("scrapy", "crawlee")},
            at_most=True,
        )


def _ratio(kind: str, spent: dict[str, list[float]]) -> Figure:
    """How many times less CPU than Scrapy: the median over the rounds."""

    def against(name: str) -> float:
        return middle(scrapy / own for scrapy, own in zip(spent["scrapy"], spent[name], strict=False))

    return Figure(
        f"pages_{kind}_vs_scrapy",
        against(kind),
        "times less CPU",
        floor=against(f"{kind} by hand"),
        goal=GOALS[kind],
        peers={"scrapy": 1.0, "crawlee": against("crawlee")},
    )


def bench_json(scale: float, repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """``json_pages_per_cpu_second``: the JSON interface, ten results a page, ``serpline run`` end to end."""
    with serving() as base_url:
        job = _job(base_url, max(FEWEST, int(JSON_PAGES * scale)))
        ours: list[Ran] = []
        floor: list[Ran] = []
        for _ in range(repeat):
            ours.append(run_serpline(job, "json"))
            floor.append(run_by_hand(job, "json"))
        agree([*ours, *floor])
    yield Figure(
        "json_pages_per_cpu_second",
        middle(1000 / ran.milliseconds(job) for ran in ours),
        "pages a CPU second",
        floor=middle(1000 / ran.milliseconds(job) for ran in floor),
        goal=2_500,
    )


def _job(base_url: str, pages: int) -> Job:
    return Job(base_url, write_sources(base_url), write_keywords(pages), pages)
