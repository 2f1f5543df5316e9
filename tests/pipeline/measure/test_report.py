"""The report as a file, looked at in a real browser: by day and by night, on a telephone and on a desk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import Misuse
from pipeline.measure.report import write_report
from tests.browser import chromium, open_tab
from tests.stages import measured

PAGES = {
    "lifetime": (measured.long_lifetime("lifetime-a"), []),
    "scaling": (measured.whole_tree("scaling-a"), []),
    "environment": (measured.machines("environment-a"), []),
    "compared": (measured.whole_tree("scaling-a"), measured.whole_tree("scaling-b", slower=2.0, at=4e6)),
    "empty": ([], []),
}

PLOTS = {"lifetime": 3, "scaling": 2, "environment": 0, "compared": 5, "empty": 0}

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
    """Nothing sticks out or is cut off, every letter can be read, and nothing but the file is asked for."""
    chromium()
    page = tmp_path / "report.html"
    write_report(*PAGES[name], page)

    async def look() -> None:
        async with open_tab(tmp_path / "profile") as tab:
            for width, kind in ((400, "slim"), (1200, "broad")):
                grounds = []
                for dark in (False, True):
                    await tab.show(page, width=width, dark=dark)
                    assert await tab.ask(STICKS_OUT) == []
                    assert await tab.ask("document.documentElement.scrollWidth") <= width
                    assert await tab.ask(CUT_OFF) == []
                    assert await tab.ask(SMALLEST) >= 11
                    assert await tab.ask(SHOWN) == [kind] * PLOTS[name]
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
