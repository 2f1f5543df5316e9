"""Lifetime: each copy of the probe is left alone for growing pauses; schedules of AWS carry it for hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline import keys
from pipeline.errors import Misuse, PipelineError, Unavailable
from pipeline.measure.experiments import Stand, check_quiet, refuse, write_down
from pipeline.measure.probes import Copy
from stages.measure import LONGEST_LIFETIME, MOST_SCHEDULES, Experiment
from stages.measure_plan import orders


def start_lifetime(
    stand: Stand,
    pauses: Sequence[float],
    *,
    copies: int = 1,
    echo: str = "",
    hold_s: float = 0.0,
    confirm: Callable[[str], bool] = refuse,
) -> Experiment:
    """Write it down and schedule every probe of it; nothing of this machine is needed afterwards.

    ``confirm`` is asked while another is under way. Where a schedule cannot be made, those that were made are
    taken back before the error leaves. Raises ``Misuse`` after a no, for too many probes and too long pauses,
    and where functions or group are not deployed.
    """
    if not pauses or min(pauses) <= 0:
        raise Misuse("--intervals takes pauses longer than nothing, as in 5m,10m,15m")
    planned = copies * (len(pauses) + 1)
    if planned > MOST_SCHEDULES:
        raise Misuse(
            f"{copies} copies and {len(pauses)} pauses are {planned:,} probes, "
            f"and {MOST_SCHEDULES:,} is the most"
        )
    if sum(pauses) > LONGEST_LIFETIME:
        days = LONGEST_LIFETIME / 86_400
        raise Misuse(f"the pauses are {days:.0f} days together at most: ask for fewer or shorter ones")
    found = stand.probes.copies(copies)
    check_quiet(stand, confirm)
    experiment = write_down(
        stand,
        "lifetime",
        functions=tuple(copy.function for copy in found),
        pauses=tuple(pauses),
        echo=echo,
        hold_s=hold_s,
    )
    try:
        _schedule(stand, experiment, found)
    except BaseException as error:
        if left := give_up(stand, experiment):
            raise Unavailable(
                f"not started ({error or type(error).__name__}), and {left} schedules of "
                f"{experiment.experiment} may be left: `serpline measure clean {experiment.experiment}`"
            ) from error
        raise
    return experiment


def _schedule(stand: Stand, experiment: Experiment, copies: Sequence[Copy]) -> None:
    arns = {copy.function: copy.arn for copy in copies}
    for function, order in orders(experiment):
        stand.schedules.add(order, arns[function], role_arn(arns[function], stand.name))


def give_up(stand: Stand, experiment: Experiment) -> int:
    """Without its schedules and its description; gives how many schedules may be left.

    Every schedule that was planned is asked away: one whose answer was lost is in no list yet. With any left
    the description stays, so that they can be cleaned away by its name.
    """
    left = 0
    for _, order in orders(experiment):
        try:
            stand.schedules.remove(order.probe)
        except PipelineError:
            left += 1
    if not left:
        stand.storage.delete(keys.experiment(experiment.experiment))
    return left


def role_arn(function_arn: str, name: str) -> str:
    """The role of the schedules, in the account and partition of a function."""
    _, partition, _, _, account, *_ = function_arn.split(":")
    return f"arn:{partition}:iam::{account}:role/{keys.schedule_role(name)}"
