"""The engine's own rate limit: real, so that what must not exceed a rate can be seen to keep it."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most ``limit`` requests a second and ``burst`` at once; who asks more is refused.

    No window of w seconds, wherever it begins, sees more than limit·w + burst requests answered. A refused
    request costs nothing; with ``rest`` it closes the engine for so many seconds, as some real ones do.
    """

    limit: Annotated[float, msgspec.Meta(gt=0.0)]
    burst: Annotated[int, msgspec.Meta(ge=1)] = 1
    rest: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0


class QuotaState(msgspec.Struct, frozen=True):
    """What is left of the burst, as of which moment, and until when the engine rests."""

    left: float
    at: float
    closed_until: float = float("-inf")


def spend(quota: Quota, state: QuotaState | None, now: float) -> tuple[QuotaState, float]:
    """One request: the state after it, and how long to wait before another try (0 = it was allowed)."""
    if state is None:
        state = QuotaState(left=float(quota.burst), at=now)
    left = min(float(quota.burst), state.left + max(0.0, now - state.at) * quota.limit)
    if now < state.closed_until:
        return QuotaState(left, now, state.closed_until), state.closed_until - now
    if left >= 1.0:
        return QuotaState(left - 1.0, now), 0.0
    wait = max(quota.rest, (1.0 - left) / quota.limit)
    return QuotaState(left, now, now + quota.rest if quota.rest else state.closed_until), wait
