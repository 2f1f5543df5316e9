"""Scaling: a tree of probes through the queue, never larger than what the account has to give."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import Misuse
from pipeline.measure.experiments import Stand, check_quiet, write_down
from pipeline.measure.probes import Concurrency
from stages.hosts import place_named
from stages.measure import MOST_AT_ONCE, MOST_LEVELS, Experiment
from stages.measure_plan import root, size_of_tree

ASKED_ABOVE = 0.1
"""The share of the account's limit above which a tree is begun only when the operator has said so."""

MOST_ECHOES = 20
"""Questions within seconds up to which nobody is asked whose host an echo is."""


def start_scaling(
    stand: Stand,
    levels: int,
    width: int,
    *,
    confirm: Callable[[str], bool],
    hold_s: float = 5.0,
    most: int | None = None,
    echo: str = "",
) -> Experiment:
    """Write the tree down and send its root.

    ``confirm`` is asked before a tree that takes more than a tenth of the account's limit, before one that
    asks somebody's host many times, and while another experiment is under way. Raises ``Misuse`` for a tree
    that is larger than the limits, and where the operator says no.
    """
    [copy] = stand.probes.copies(1)
    limits = stand.probes.concurrency()
    check_tree(levels, width, limits, most)
    check_quiet(stand, confirm)
    size = size_of_tree(levels, width)
    host = urlsplit(echo).hostname or ""
    if host and size > MOST_ECHOES and place_named(host) != "machine":
        asked = f"{host} would be asked {size:,} times within seconds"
        if not confirm(f"{asked}; is it yours, or may it be?"):
            raise Misuse(f"not started: {asked}; --yes starts it, where it is yours or may be")
    if size > ASKED_ABOVE * limits.account:
        share = (
            f"{size / limits.account:.0%} of the {limits.account:,} invocations at once that the account has"
        )
        if not confirm(f"the tree runs up to {size:,} probes at once, {share}"):
            raise Misuse(f"not started: the tree would take {share}; --yes starts it")
    experiment = write_down(
        stand,
        "scaling",
        functions=(copy.function,),
        levels=levels,
        width=width,
        hold_s=hold_s,
        limit=limits.account,
        echo=echo,
    )
    stand.queue.send([msgspec.json.encode(root(experiment))])
    return experiment


def check_tree(levels: int, width: int, limits: Concurrency, most: int | None = None) -> None:
    """Raises ``Misuse`` for a tree that asks for more at once than ``--max`` or the account allows."""
    size = size_of_tree(levels, width)
    if levels > MOST_LEVELS or width > MOST_AT_ONCE:
        raise Misuse(f"a tree has at most {MOST_LEVELS} levels, each {MOST_AT_ONCE} wide")
    if most is not None and size > most:
        raise Misuse(f"the tree runs up to {size:,} probes at once, and --max says {most:,}")
    if size > limits.most:
        raise Misuse(
            f"the tree runs up to {size:,} probes at once, and {limits.most:,} are allowed here "
            f"({_allowed(limits)}): ask for fewer levels or less width"
        )


def _allowed(limits: Concurrency) -> str:
    said = [f"the account has {limits.account:,}", f"{limits.unreserved:,} of them unreserved"]
    if limits.reserved is not None:
        said.append(f"{limits.reserved:,} kept for the probe")
    if limits.mapped is not None:
        said.append(f"{limits.mapped:,} by its queue")
    return ", ".join(said)
