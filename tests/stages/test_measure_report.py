"""The report: read as a browser would, with readings that try to break out of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import lxml.etree
import lxml.html
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.measure import Reading
from stages.measure_report import render_report
from stages.measure_report.figures import Kept, at_once, levels, most_at_once
from stages.measure_report.lifetime import names_of
from stages.measure_report.markup import duration, html, milliseconds, tag
from tests.stages import measured

LIFETIME = measured.long_lifetime("lifetime-a")
LATER = measured.long_lifetime("lifetime-b", lives=90_000.0, at=86_400.0 * 45)
TREE = measured.whole_tree("scaling-a")
SLOWER = measured.whole_tree("scaling-b", slower=2.0, at=86_400.0 * 45)
MACHINES = measured.machines("environment-a")
NEWER = measured.machines("environment-b", kernel="6.1.150", at=86_400.0 * 45)


BOTH = "Same environment after a pause, on both dates"


def page_of(rows: Sequence[Reading], other: Sequence[Reading] = ()) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(render_report(rows, other))


def texts(page: lxml.html.HtmlElement, path: str) -> list[str]:
    return [" ".join(one.text_content().split()) for one in page.xpath(path)]


def cells(page: lxml.html.HtmlElement, caption: str) -> list[list[str]]:
    """The body of the table of that caption, row by row."""
    [found] = [one for one in page.xpath("//table") if one.findtext("caption") == caption]
    return [
        [" ".join(cell.text_content().split()) for cell in row.xpath("./th|./td")]
        for row in found.xpath("./tbody/tr")
    ]


def test_a_lifetime_shows_the_talks_table() -> None:
    """Time, pause, environment, address, same or new: a row a probe, as they came."""
    page = page_of(measured.LIFETIME)
    rows = cells(page, "The probes in their order on 2027-01-15")
    assert len(rows) == len(measured.LIFETIME)
    assert rows[0] == ["08:00:00", "serpline-probe", "—", "—", "A env-a first", "198.51.100.1"]
    assert rows[2][:4] == ["08:05:01", "serpline-probe", "5 min", "5 min"]
    assert [told for *_, told, _ in rows[2:]] == [
        "A env-a same",
        "B env-c same",
        "C env-b new",
        "C env-b same",
        "D env-x new failed the machine could not be read",
        "D env-x disturbed",
        "D env-x not compared",
    ]
    assert [told for *_, told in rows[2:6]] == [
        *("same 198.51.100.1", "not asked", "same 198.51.100.1", "new 198.51.100.2"),
    ]


def test_a_lifetime_counts_what_was_still_there() -> None:
    """The view's numbers, with an interval that says how little a few probes prove, and what was left out."""
    page = page_of(measured.LIFETIME)
    one, two = "serpline-probe", "serpline-probe-1"
    assert cells(page, "What was still there after a pause") == [
        [one, "5 min", "5 min", "3", "2 (67%)", "21% to 94%", "1 of 2", "1 disturbed"],
        [one, "10 min", "10 min", "1", "0 (0%)", "0% to 79%", "1 of 1", "1 after a missing one"],
        [two, "10 min", "10 min", "1", "1 (100%)", "21% to 100%", "not known", "none"],
    ]
    assert "Not counted: a probe whose pause was disturbed" in page.text_content()


def test_the_interval_is_wilsons() -> None:
    """8 of 10 is 49% to 94%; none of none is never asked."""
    low, high = Kept(300.0, 8, 10).interval
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


def test_a_tree_shows_each_level() -> None:
    page = page_of(measured.SCALING)
    assert cells(page, "Level by level") == [
        ["0", "1", "1", "1", "1", "1", "1", "400 ms", "400 ms", "400 ms", "0", "0"],
        ["1", "4", "3", "2", "3", "2", "2", "300 ms", "900 ms", "900 ms", "1", "1"],
    ]


def test_a_configuration_shows_what_it_runs_on() -> None:
    """A column a configuration, also of what has no column in the table; sizes in their unit."""
    rows = {name: told for name, *told in cells(page_of(MACHINES), "What each configuration runs on")}
    assert rows["Kernel"] == ["5.10.240-238.955.amzn2.aarch64"] * 3
    assert rows["Idle before its first invocation"] == ["12 ms", "—", "—"]
    assert rows["Time to initialise"] == ["412 ms", "322 ms", "232 ms"]
    assert rows["Memory limit"] == ["128 MiB", "512 MiB", "1.728 GiB"]
    assert rows["Disks"][0].split("/tmp ") == [  # noqa: S108  # what a function has
        "/ · overlay · not writable · 1 GiB · 256 MiB free",
        "· ext4 · writable · 512 MiB · 512 MiB free",
    ]
    assert rows["Processes"][0].startswith("id 1 · rapid · parent 0")
    assert "sbx_user1051" in rows["User"][0]


@pytest.mark.parametrize(
    ("rows", "other", "plots"),
    [
        (LIFETIME, (), 3),
        (TREE, (), 2),
        (MACHINES, (), 0),
        ([*LIFETIME, *TREE, *MACHINES], (), 5),
        (LIFETIME, LATER, 7),
        (TREE, SLOWER, 5),
        (measured.long_lifetime("lifetime-many", copies=9), (), 3),
        (measured.LIFETIME[:1], (), 1),
    ],
)
def test_every_plot_is_told_in_words_and_drawn_for_each_width(
    rows: Sequence[Reading], other: Sequence[Reading], plots: int
) -> None:
    """Each drawing has a title and a description of its own, and every figure in it is a number."""
    text = render_report(rows, other)
    page = lxml.html.document_fromstring(text)
    drawn = page.xpath("//svg")
    assert len(page.xpath("//figure")) == plots
    for one in page.xpath("//figure"):
        sizes = ["broad", "slim", "vast"] if one.get("class") == "across" else ["broad", "slim"]
        assert one.xpath("./svg/@class") == sizes
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    for one in drawn:
        named = one.get("aria-labelledby").split()
        assert [page.get_element_by_id(name).tag for name in named] == ["title", "desc"]
        assert all(page.get_element_by_id(name).text_content().strip() for name in named)
        assert one.get("role") == "img"
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        lxml.etree.fromstring(drawing)  # well-formed by itself  # our own
        assert not re.search(r'="[^"]*\b(nan|inf|None)\b', drawing)


def test_a_survival_plot_names_its_counts() -> None:
    """Who does not see the plot hears what it shows."""
    page = page_of(measured.LIFETIME)
    told = page.get_element_by_id("s1-kept-broad-told").text_content()
    assert "serpline-probe: 2 of 3 after 5 min, 0 of 1 after 10 min" in told


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    """No script, no address, no file: it opens without a network and forbids one."""
    for rows, other in (([*LIFETIME, *TREE, *MACHINES], ()), (LIFETIME, LATER), (TREE, SLOWER)):
        text = render_report(rows, other)
        page = lxml.html.document_fromstring(text)
        assert not page.xpath("//script|//link|//img|//iframe|//object|//embed|//base|//form|//image|//use")
        assert not page.xpath("//@src|//@href|//@*[starts-with(name(), 'on')]|//@style")
        assert not re.search(r"https?:|url\(|@import|javascript:", text)
        [policy] = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
        assert policy.startswith("default-src 'none'")


HOSTILE = (
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "'--></style><img src=x onerror=alert(1)>",
    "</title><b>bold</b>",
    "&lt;b&gt; stays as it was &amp;",
    "\u202eturned around\u2066",
    "\x00\x1b[31m\x07",
    "Ω" * 5000,
)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("kind", ["lifetime", "scaling", "environment"])
def test_no_reading_breaks_out_of_the_page(hostile: str, kind: str) -> None:
    """Whatever stands in a reading is shown as text, wherever it stands."""
    base = {"lifetime": LIFETIME[:6], "scaling": TREE[:6], "environment": MACHINES}[kind]
    words = dict.fromkeys(
        ("experiment", "function", "architecture", "environment", "boot_id", "os_release", "kernel"), hostile
    )
    words |= dict.fromkeys(("cpu_model", "address"), hostile)
    more = msgspec.json.encode({hostile: [hostile, {hostile: hostile, "path": hostile}], "a": {hostile: 1}})
    hurt = [msgspec.structs.replace(row, **words, readings=more.decode()) for row in base]
    failed = [msgspec.structs.replace(row, error=hostile, address=None, echo_error=hostile) for row in hurt]
    broken = [msgspec.structs.replace(row, readings=hostile) for row in hurt]
    for rows, other in ((hurt, ()), (failed, ()), (broken, ()), (hurt[:1] + failed[1:], base), (base, hurt)):
        text = render_report(rows, other)
        page = lxml.html.document_fromstring(text)
        assert not page.xpath("//script|//img|//b|//@onload|//@onerror")
        assert len(page.xpath("//title")) == text.count("<title")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", text)
    shown = lxml.html.document_fromstring(render_report(hurt)).text_content()
    if hostile.isprintable() and len(hostile) < 100:
        assert hostile in shown


@given(st.text())
def test_any_text_is_text(text: str) -> None:
    """It comes out of a browser as it went in, but for marks that no text needs."""
    element = lxml.html.fragment_fromstring(tag("p", text, title=text))
    assert not list(element)
    kept_text = text.replace("\r", "\ufffd")
    if kept_text.isprintable() and len(text) <= 2000:
        assert (element.text or "") == kept_text
        assert element.get("title") == kept_text


def test_markup_is_not_escaped_twice() -> None:
    assert tag("td", tag("b", "1 < 2"), " & ") == "<td><b>1 &lt; 2</b> &amp; </td>"
    assert html(tag("br")) == "<br>"


def test_two_dates_stand_side_by_side_and_what_changed_is_marked() -> None:
    """The older first, whichever was named first; a word says what changed, not a colour."""
    for page in (page_of(MACHINES, NEWER), page_of(NEWER, MACHINES)):
        [heading] = texts(page, "//h2[@id='c-heading']")
        assert heading == "What changed from 2027-01-15 08:00 to 2027-03-01 08:00"
        rows = {name: told for name, *told in cells(page, "512 MB, serpline-probe")}
        assert rows["Kernel"] == ["5.10.240-238.955.amzn2.aarch64", "6.1.150", "changed"]
        assert rows["Operating system"] == ["Amazon Linux 2023", "Amazon Linux 2023", "same"]
        assert rows["Disks"][2] == "same"
        assert texts(page, "//span[contains(@class, 'changed')]") == ["changed"] * 3


def test_a_change_of_survival_is_marked_where_it_is_no_chance() -> None:
    """A few probes that differ are no change; intervals that do not meet are one."""
    rows = {name: told for name, *told in cells(page_of(LIFETIME, LATER), BOTH)}
    assert rows["1 min"][2] == "same"
    assert rows["1 h"] == ["0 of 8 (0%)", "7 of 8 (88%)", "changed, +88 points"]
    other = [
        measured.reading(0, experiment="lifetime-2"),
        measured.reading(305, slot=1, experiment="lifetime-2", pause_s=300.0, environment="z"),
    ]
    few = page_of(measured.LIFETIME, other)
    rows = {name: told for name, *told in cells(few, BOTH)}
    assert "changed" not in "".join(rows["5 min"])


def test_a_change_of_delays_and_counts_is_marked() -> None:
    """A delay that moves by a fifth; a count by a fifth and more than chance; a planned one by anything."""
    rows = {name: told for name, *told in cells(page_of(TREE, SLOWER), "Level by level, on both dates")}
    assert "level 1, probes" not in rows
    assert rows["level 1, delay p50"][2].startswith("changed, +")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        # 40 of 40 environments were new: four less are chance, and 25 less are not.
        (0, 4, "-4"),
        (0, 25, "changed, -25"),
        # Two new ones that become four are twice as many, and chance.
        (38, 36, "+2"),
    ],
)
def test_a_count_is_called_changed_where_it_is_no_chance(before: int, after: int, told: str) -> None:
    """New environments are a few more or less each time."""
    tree = [measured.tree(slot, slot, environment=f"{slot}", cold=True) for slot in range(40)]
    older = [msgspec.structs.replace(row, cold=row.slot >= before) for row in tree]
    newer = [
        msgspec.structs.replace(row, cold=row.slot >= after, experiment="b", started_at=row.started_at + 4e6)
        for row in tree
    ]
    rows = {name: said for name, *said in cells(page_of(older, newer), "Level by level, on both dates")}
    assert rows["level 1, new ones"] == [f"{40 - before}", f"{40 - after}", told]


def test_another_number_of_probes_is_always_a_change() -> None:
    tree = [measured.tree(slot, slot) for slot in range(40)]
    fewer = [
        msgspec.structs.replace(row, experiment="b", started_at=row.started_at + 4e6) for row in tree[1:]
    ]
    rows = {name: said for name, *said in cells(page_of(tree, fewer), "Level by level, on both dates")}
    assert rows["level 1, probes"] == ["40", "39", "changed, -1"]


@pytest.mark.parametrize(
    ("rows", "other", "sentence"),
    [
        ((), (), "no probe of this experiment has answered"),
        (measured.LIFETIME[:1], (), "No probe has come after a pause yet"),
        (LIFETIME, TREE, "different kinds (lifetime and scaling) cannot be compared"),
        (LIFETIME, LATER[:1], "no probe came after a pause. There is nothing to compare"),
        (MACHINES[:1], NEWER[1:], "No configuration was measured on both dates"),
        (measured.SCALING[:1], measured.SCALING[1:], "No level was measured on both dates"),
    ],
)
def test_where_there_is_nothing_to_show_a_sentence_says_so(
    rows: Sequence[Reading], other: Sequence[Reading], sentence: str
) -> None:
    renamed = [msgspec.structs.replace(row, experiment=f"{row.experiment}-other") for row in other]
    assert sentence in " ".join(page_of(rows, renamed).text_content().split())


def test_tables_have_headers_for_those_who_hear_them() -> None:
    """A caption, a header a column and a row, and a name for the part that moves sideways."""
    page = page_of([*LIFETIME, *TREE, *MACHINES])
    for one in page.xpath("//table"):
        assert one.findtext("caption")
        assert all(head.get("scope") == "col" and head.text_content() for head in one.xpath("./thead//th"))
        assert all(row[0].get("scope") == "row" for row in one.xpath("./tbody/tr"))
        assert one.getparent().get("aria-label")
    assert page.get("lang") == "en"
    assert texts(page, "//h1") == ["Measurements"]


def test_odd_readings_are_shown_all_the_same() -> None:
    """Clocks that disagree, times that are none, pauses of nothing, readings within readings."""
    deep = '{"a":' * 800 + "1" + "}" * 800
    odd = [
        measured.reading(0, delay_ms=0.0, readings="[1, 2]"),
        measured.reading(-5, slot=1, pause_s=0.0, delay_ms=-3.0, held=0.0, readings=deep),
        measured.reading(1e13, slot=2, pause_s=0.0, readings="null"),
    ]
    for kind in ("lifetime", "scaling", "environment"):
        page = page_of([msgspec.structs.replace(row, kind=kind) for row in odd])
        assert "at no time" in page.text_content()


def test_environments_have_short_names() -> None:
    assert list(names_of([str(at) for at in range(28)]).values())[-3:] == ["Z", "AA", "AB"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (45, "45 s"), (300, "5 min"), (90, "1 min 30 s"), (5400, "1 h 30 min"), (None, "—")],
)
def test_a_time_is_told_as_people_tell_it(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("given_ms", "words"),
    [(0.4, "0.4 ms"), (250, "250 ms"), (1250, "1.25 s"), (90_000, "1 min 30 s"), (-3, "-3 ms"), (None, "—")],
)
def test_a_delay_is_told_as_people_tell_it(given_ms: float | None, words: str) -> None:
    assert milliseconds(given_ms) == words


readings = st.lists(
    st.builds(
        lambda at, held, slot, environment, cold, level, delay: measured.tree(
            at, slot, held=held, environment=environment, cold=cold, level=level, delay_ms=delay
        ),
        at=st.integers(0, 30).map(float),
        held=st.integers(0, 9).map(float),
        slot=st.integers(0, 999),
        environment=st.sampled_from("abcde"),
        cold=st.booleans(),
        level=st.integers(0, 2),
        delay=st.integers(0, 2000).map(float),
    ),
    min_size=1,
    max_size=30,
)


@given(readings)
def test_what_runs_at_once_is_never_more_than_there_are(rows: list[Reading]) -> None:
    """It ends at none, never falls below it, and a level's delays are in their order."""
    counts = [count for _, count in at_once(rows)]
    assert counts[-1] == 0
    assert min(counts) >= 0
    assert most_at_once(rows) <= len(rows)
    for level in levels(rows):
        assert level.p50 <= level.p90 <= level.p99
        assert level.new <= level.environments <= level.probes
