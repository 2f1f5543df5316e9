"""Environment: the probe is invoked once a configuration, and tells what it runs on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import msgspec

from pipeline.measure.experiments import Stand, check_quiet, refuse, write_down
from pipeline.measure.probes import Copy, ProbeDied
from stages.measure import Experiment, Order, Reading
from stages.measure_plan import orders


class Seen(msgspec.Struct, frozen=True):
    """One configuration: the function, the memory it was given, and its reading or why there is none."""

    function: str
    memory_mb: int
    reading: Reading | None
    error: str = ""


def start_environment(
    stand: Stand,
    memories: Sequence[int] = (),
    *,
    copies: int = 1,
    echo: str = "",
    confirm: Callable[[str], bool] = refuse,
) -> Experiment:
    """Write it down; ``confirm`` is asked while another is under way, since new sizes end all environments.

    Raises ``Misuse`` after a no, and where the functions are not deployed.
    """
    found = stand.probes.copies(copies)
    check_quiet(stand, confirm)
    return write_down(
        stand,
        "environment",
        functions=tuple(copy.function for copy in found),
        memories=tuple(memories),
        memory_before={copy.function: copy.memory_mb for copy in found},
        echo=echo,
    )


def look_around(stand: Stand, experiment: Experiment) -> Generator[Seen]:
    """Invoke each configuration; each function has its own memory again afterwards, whatever happened."""
    try:
        for number, (function, order) in enumerate(orders(experiment)):
            memory = experiment.memory_before[function]
            if experiment.memories:
                memory = experiment.memories[number % len(experiment.memories)]
                stand.probes.resize(function, memory)
            yield _seen(stand, function, memory, order)
    finally:
        if experiment.memories:
            restore(stand, experiment)


def restore(stand: Stand, experiment: Experiment) -> list[Copy]:
    """Give functions back the memory that they had before an experiment; gives those that had another."""
    changed = []
    for function, before in experiment.memory_before.items():
        copy = stand.probes.copy(function)
        if copy is not None and copy.memory_mb != before and copy.memory_mb in experiment.memories:
            stand.probes.resize(function, before)
            changed.append(copy)
    return changed


def _seen(stand: Stand, function: str, memory: int, order: Order) -> Seen:
    try:
        sent = msgspec.structs.replace(order, scheduled_at=stand.clock())
        return Seen(function, memory, stand.probes.invoke(function, sent))
    except ProbeDied as error:
        return Seen(function, memory, None, str(error))
