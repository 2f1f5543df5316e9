"""The report as a file, looked at in a real browser: by day and by night, on a telephone and on a desk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import Misuse
from pipeline.measure.report import write_report
from tests.browser import chromium, open_tab
from tests.stages import measured

PAUSES = (300.0, 600.0, 900.0, 1800.0, 3600.0)
IPV6 = "2001:db8:85a3:8d3:1319:8a2e:370:{}"
THREE = measured.long_lifetime("lifetime-3", pauses=PAUSES, copies=3, lives=4000.0, address=IPV6)
LATER = measured.long_lifetime("lifetime-4", pauses=PAUSES, copies=3, lives=9e4, address=IPV6, at=4e6)
NEAR = [msgspec.structs.replace(row, account_limit=150) for row in measured.whole_tree("scaling-a")]

PAGES = {
    "lifetime": (measured.long_lifetime("lifetime-a"), []),
    "three copies": (THREE, []),
    "many pauses": (
        measured.long_lifetime("lifetime-m", pauses=[60.0 + 30 * at for at in range(80)], copies=1),
        [],
    ),
    "short lives": (measured.long_lifetime("lifetime-s", copies=5, lives=60.0), []),
    "scaling": (NEAR, []),
    "wide tree": (measured.whole_tree("scaling-w", levels=4, width=100, again=0.02), []),
    "deep tree": (measured.whole_tree("scaling-d", levels=16, width=10, hold=40.0, slower=9.0), []),
    "environment": (measured.machines("environment-a"), []),
    "compared": (measured.whole_tree("scaling-a"), measured.whole_tree("scaling-b", slower=2.0, at=4e6)),
    "compared lifetimes": (THREE, LATER),
    "empty": ([], []),
}

LIFETIME, TREE = ["broad", "broad", "across"], ["broad", "broad"]
PLOTS = {
    "lifetime": LIFETIME,
    "three copies": LIFETIME,
    "many pauses": LIFETIME,
    "short lives": LIFETIME,
    "scaling": TREE,
    "wide tree": TREE,
    "deep tree": TREE,
    "environment": [],
    "compared": ["broad", *TREE, *TREE],
    "compared lifetimes": ["broad", *LIFETIME, *LIFETIME],
    "empty": [],
}
SIZES = {400: ("slim", "slim"), 700: ("broad", "broad"), 1200: ("broad", "vast")}
"""How a screen of each width shows a plot, and one that goes across its whole row."""

SEEN = "one => one.getClientRects().length"
WORDS = f"[...document.querySelectorAll('svg text')].filter({SEEN})"

# What is wider than the screen moves within itself: nothing else sticks out.
STICKS_OUT = f"""[...document.querySelectorAll('body *')].filter({SEEN})
  .filter(one => !one.closest('.wide') && !one.closest('svg'))
  .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5)
  .map(one => one.outerHTML.slice(0, 80))"""

CUT_OFF = f"""{WORDS}.filter(one => {{
  const word = one.getBoundingClientRect(), plot = one.closest('svg').getBoundingClientRect();
  return word.left < plot.left - 1 || word.right > plot.right + 1
    || word.bottom > plot.bottom + 1 || word.top < plot.top - 1;
}}).map(one => one.textContent)"""

OVERLAPPING = f"""[...document.querySelectorAll('svg')].filter({SEEN}).flatMap(plot => {{
  const words = [...plot.querySelectorAll('text')]
    .map(one => [one.textContent, one.getBoundingClientRect()]);
  return words.flatMap(([one, a], at) => words.slice(at + 1).filter(([_, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3).map(([other]) => one + ' on ' + other));
}})"""

SMALLEST = f"Math.min(...{WORDS}.map(one => one.getBoundingClientRect().height), 99)"

SHOWN = f"[...document.querySelectorAll('svg')].filter({SEEN}).map(one => one.className.baseVal)"

GROUND = "getComputedStyle(document.body).backgroundColor"

# By the rule of the W3C: 4.5 to 1 is what small letters need.
FAINT = f"""(() => {{
  const part = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = colour => {{
    const [r, g, b] = colour.match(/[0-9.]+/g).map(v => part(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }};
  const ground = one => {{
    const colour = getComputedStyle(one).backgroundColor;
    return colour.endsWith(', 0)') ? ground(one.parentElement) : colour;
  }};
  const kinds = 'h1, h2, p, th, td, caption, figcaption, li, summary, .badge, svg text';
  return [...document.querySelectorAll(kinds)].filter({SEEN}).filter(one => {{
    const ink = getComputedStyle(one)[one.closest('svg') ? 'fill' : 'color'];
    const [dark, bright] = [light(ink), light(ground(one))].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05) < 4.5;
  }}).map(one => one.outerHTML.slice(0, 90));
}})()"""


def test_a_report_is_one_file(tmp_path: Path) -> None:
    write_report(*PAGES["lifetime"], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_takes_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"cannot be written to .*nowhere/report\.html: No such file"):
        write_report([], [], tmp_path / "nowhere" / "report.html")


@pytest.mark.parametrize("name", PAGES)
def test_a_browser_shows_it_well(name: str, tmp_path: Path) -> None:
    """Nothing sticks out, is cut off or overlaps, every letter can be read, nothing else is loaded."""
    chromium()
    page = tmp_path / "report.html"
    write_report(*PAGES[name], page)

    async def look() -> None:
        async with open_tab(tmp_path / "profile") as tab:
            for width, (usual, across) in SIZES.items():
                grounds = []
                for dark in (False, True):
                    await tab.show(page, width=width, dark=dark)
                    assert await tab.ask(STICKS_OUT) == []
                    assert await tab.ask("document.documentElement.scrollWidth") <= width
                    assert await tab.ask(CUT_OFF) == []
                    assert await tab.ask(OVERLAPPING) == []
                    assert await tab.ask(SMALLEST) >= 11
                    kinds = {"broad": usual, "across": across}
                    assert await tab.ask(SHOWN) == [kinds[kind] for kind in PLOTS[name]]
                    assert await tab.ask(FAINT) == []
                    grounds.append(await tab.ask(GROUND))
                assert grounds[0] != grounds[1]
            asked = [
                told["params"]["request"]["url"]
                for told in tab.events
                if told.get("method") == "Network.requestWillBeSent"
            ]
            assert set(asked) == {page.as_uri()}
            assert not [told for told in tab.events if told.get("method") == "Log.entryAdded"]
            assert (await tab.picture()).startswith(b"\x89PNG")

    asyncio.run(look())
