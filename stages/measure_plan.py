"""Which probes an experiment has: it alone says so, and whoever looks later knows who never answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from stages.measure import LONGEST_LEAD, PATIENCE, Experiment, Order, Reading


def orders(experiment: Experiment) -> list[tuple[str, Order]]:
    """Every probe of an experiment with the function that it belongs to, in the order of their times."""
    plans = {"environment": _configurations, "lifetime": _pauses, "scaling": _tree}
    return plans[experiment.kind](experiment)


def _configurations(experiment: Experiment) -> list[tuple[str, Order]]:
    """One a configuration: each copy as it is deployed, or with each memory in turn."""
    copies = [copy for copy in experiment.functions for _ in experiment.memories or (0,)]
    return [(copy, _order(experiment, slot=slot)) for slot, copy in enumerate(copies)]


def _pauses(experiment: Experiment) -> list[tuple[str, Order]]:
    """Each copy begins once and then rests for each of the pauses; the copies take turns in the shortest.

    They begin one after the other, so that while one rests the others work.
    """
    count = len(experiment.pauses) + 1
    first = experiment.created_at + lead(experiment)
    step = min(experiment.pauses, default=0.0) / len(experiment.functions)
    planned = []
    for number, copy in enumerate(experiment.functions):
        due = first + number * step
        for at, pause in enumerate((None, *experiment.pauses)):
            due += pause if pause is not None else 0.0
            order = _order(experiment, slot=number * count + at, scheduled_at=due, pause_s=pause)
            planned.append((copy, order))
    return sorted(planned, key=lambda one: (one[1].scheduled_at, one[1].slot))


def lead(experiment: Experiment) -> float:
    """Seconds from writing a lifetime down until its first probe is due."""
    return min(LONGEST_LEAD, *experiment.pauses) if experiment.pauses else 0.0


def _tree(experiment: Experiment) -> list[tuple[str, Order]]:
    """The root, and then level by level what each sends."""
    below = [root(experiment)]
    planned = []
    while below:
        planned += [(experiment.functions[0], order) for order in below]
        below = [child for order in below for child in children(order)]
    return planned


def root(experiment: Experiment) -> Order:
    """The one probe that begins a tree."""
    order = _order(experiment, levels=experiment.levels, width=experiment.width)
    deepest = msgspec.structs.replace(order, level=order.levels)
    return msgspec.structs.replace(order, until=ends_by(deepest))


def ends_by(order: Order) -> float:
    """When a probe that has not answered is given up: its level's probes hold one after another at worst."""
    return order.scheduled_at + (order.level + 1) * order.hold_s + PATIENCE


def children(order: Order) -> list[Order]:
    """What a probe of a tree sends: the root the whole first level, each other one probe below itself."""
    if order.level >= order.levels:
        return []
    slots = range(order.width) if order.level == 0 else (order.slot,)
    return [msgspec.structs.replace(order, level=order.level + 1, slot=slot) for slot in slots]


def size_of_tree(levels: int, width: int) -> int:
    """How many probes a tree has, and so how many may run at once: one at its root, then level by level."""
    return 1 + levels * width


def _order(experiment: Experiment, **fields: Any) -> Order:
    given = {
        "experiment": experiment.experiment,
        "scheduled_at": experiment.created_at,
        "hold_s": experiment.hold_s,
        "echo": experiment.echo,
        "contact": experiment.contact,
    }
    return Order(**{**given, **fields})


def enriched(readings: Iterable[Reading], experiment: Experiment, again: Mapping[str, int]) -> list[Reading]:
    """Readings with what their experiment says, and with how often each probe was told ``again`` to run."""
    known = {
        "planned": len(orders(experiment)),
        "tree": f"{experiment.levels}x{experiment.width}" if experiment.levels else None,
        "hold_s": experiment.hold_s,
        "account_limit": experiment.limit or None,
    }
    return [msgspec.structs.replace(one, **known, fired=1 + again.get(one.probe, 0)) for one in readings]
