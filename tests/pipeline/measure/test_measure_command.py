"""``serpline measure`` at the terminal: a wrong word is one line, and nothing is asked of AWS for it."""

from __future__ import annotations

import pytest

from pipeline.cli.main import main
from pipeline.cli.measure_screen import progress_lines, show_environment, show_lifetime, show_scaling
from pipeline.measure.environment import look_around, start_environment
from pipeline.measure.experiments import progress, read_readings
from pipeline.measure.lifetime import start_lifetime
from pipeline.measure.scaling import start_scaling
from tests.pipeline.measure.kit import World


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "the following arguments are required: EXPERIMENT"),
        (["scaling"], "one of the arguments --tree --resume is required"),
        (["scaling", "--tree", "4by4"], "'4by4' is no tree: write LEVELSxWIDTH"),
        (["scaling", "--tree", "1x1", "--hold", "2m"], "a probe holds for 60s at most"),
        (["scaling", "--tree", "1x1", "--max", "0"], "'0' is no whole number above 0"),
        (["lifetime"], "one of the arguments --intervals --resume is required"),
        (["lifetime", "--intervals", "5m,,1h"], "'' is no time: write 90s, 5m or 1.5h"),
        (["environment", "--memory", "64"], "Lambda gives 128 to 10240 MB"),
        (["environment", "--memory", "128;512"], "'128;512' is no whole number"),
        (["environment", "--copies", "-1"], "'-1' is no whole number above 0"),
        (["environment"], "is a folder; functions are measured on AWS: name it with --lake s3://BUCKET"),
        (["clean", "--lake", "s3://a/b"], "s3://a/b is no lake"),
    ],
)
def test_a_wrong_word_is_one_line(
    words: list[str], what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """With what is wrong in it."""
    monkeypatch.delenv("SERPLINE_LAKE", raising=False)
    assert main(["measure", *words]) == 2
    said = capsys.readouterr().err
    assert what in said
    assert said.count("\n") == 1


def test_the_environment_is_shown(world: World, capsys: pytest.CaptureFixture[str]):
    """A block a configuration, or the reason that there is none."""
    world.lambda_.dies = lambda function: world.lambda_.memory[function] == 256
    from pipeline.measure.machine import read_machine  # noqa: PLC0415

    machine = read_machine()
    world.hands = lambda **other: World.hands(world, read=lambda: machine, **other)  # type: ignore[method-assign]
    seen = look_around(world.stand, start_environment(world.stand, (128, 256)))
    assert show_environment(seen) == 1
    said = capsys.readouterr().out
    for words in ("serpline-probe, 128 MB", "serpline-probe, 256 MB", "no answer", machine.boot_id, "cold"):
        assert words in said


def test_a_lifetime_is_shown_as_the_talks_table(world: World, capsys: pytest.CaptureFixture[str]):
    """Time, pause, environment, address; then how many were kept after each pause."""
    experiment = start_lifetime(world.stand, (300.0, 600.0), echo="http://127.0.0.1/echo")
    world.fired()
    show_lifetime(read_readings(world.storage, experiment))
    said = capsys.readouterr().out
    assert world.environments["serpline-probe"].id in said
    assert "192.0.2.1" in said
    assert "after 5 min: 1 of 1 environments kept, 1 of 1 addresses" in said
    assert "after 10 min: 1 of 1 environments kept" in said


def test_a_tree_is_shown_beside_the_limit(world: World, capsys: pytest.CaptureFixture[str]):
    """Level by level, with what was asked for and what the account allows."""
    experiment = start_scaling(world.stand, 2, 3, confirm=lambda _what: False)
    world.drained()
    show_scaling(experiment, read_readings(world.storage, experiment), "3, by CloudWatch")
    said = capsys.readouterr().out
    assert "up to 7 at once were asked for; the account allows 1,000" in said
    assert "throttles: 3, by CloudWatch" in said


def test_what_fired_twice_is_told(world: World):
    """By name: its first answer is the row."""
    experiment = start_lifetime(world.stand, (300.0,))
    schedules = dict(world.scheduler.schedules)
    world.fired()
    assert len(list(progress_lines(experiment, progress(world.storage, experiment, 0.0), 0.0))) == 1
    world.scheduler.schedules = {name: one for name, one in schedules.items() if name.endswith("-0-1")}
    world.fired()
    [_, again] = progress_lines(experiment, progress(world.storage, experiment, world.clock()), world.clock())
    assert again == (
        "1 probe told to run more than once, by what came twice (a schedule, a message); "
        f"the first answer counts: {experiment.experiment}-0-1"
    )
    rows = read_readings(world.storage, experiment)
    assert [row.fired for row in rows] == [1, 2]


def test_progress_names_the_missing(world: World):
    """Five of them, and how many more; and when the next one is due."""
    experiment = start_scaling(world.stand, 2, 4, confirm=lambda _what: False)
    now = world.clock() + 1000
    lines = list(progress_lines(experiment, progress(world.storage, experiment, now), now))
    assert lines[0].endswith("0 of 9 probes answered")
    assert lines[1].startswith("no answer from 9 probes, which died or never began: scaling-")
    assert lines[1].endswith(" and 4 more")
    lifetime = start_lifetime(world.stand, (300.0,), confirm=lambda _what: True)
    seen = progress(world.storage, lifetime, world.clock())
    assert "the next is due at 2027-01-15 08:01:00 UTC, in 1 min" in list(
        progress_lines(lifetime, seen, world.clock())
    )
