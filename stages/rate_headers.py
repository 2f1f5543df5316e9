"""Rate headers: what an engine says, in its answers, of how much it still allows.

Read are ``X-RateLimit-Limit``, ``-Remaining``, ``-Reset`` and ``-Policy`` with one window or several (as
Brave writes them), the same without ``X-``, and the fields ``RateLimit-Policy`` and ``RateLimit`` of the
IETF's draft (draft-ietf-httpapi-ratelimit-headers). What cannot be read says nothing; nothing here ever
makes a source faster. Times are seconds since the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

MAX_HOLD = 86_400.0
"""Seconds that a header alone keeps a source waiting at most.

Then one request is asked: what an engine withholds for longer it refuses, which closes the source openly,
with an event, a row and an end to the waiting.
"""

LONGEST_WINDOW = 3_600.0
"""Seconds of the longest window that is spread evenly; what a longer one has left may be used at once."""

_EPOCH = 1_000_000_000.0
"""From here on a reset is a moment, below it seconds from now: 31 years of them are meant by nobody."""

_MILLISECONDS = 1_000_000_000_000.0
"""From here on the moment is written in milliseconds."""

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_MOST_TEXT = 2_000
"""Characters of a header that are read."""

_MOST_WINDOWS = 16


class Allowance(msgspec.Struct, frozen=True):
    """What an engine allows; None where it does not say.

    Nothing until ``hold`` (epoch seconds), and at most ``rate`` requests a second.
    """

    hold: float | None = None
    rate: float | None = None


class _Item(msgspec.Struct, frozen=True):
    """One member of a list: its bare value, and its parameters that are numbers."""

    value: float | None
    parameters: dict[str, float]


def read_allowance(headers: Mapping[str, str], now: float) -> Allowance | None:
    """What the headers (names in lower case) of an answer that came at ``now`` allow; None where nothing."""
    holds: list[float] = []
    rates: list[float] = []
    for prefix in ("x-ratelimit-", "x-rate-limit-", "ratelimit-"):
        limits, remaining, resets, policy = (
            _items(headers.get(prefix + name, "")) for name in ("limit", "remaining", "reset", "policy")
        )
        counted = _counted(remaining, limits if limits else policy)
        holds += _holds(counted, [one.value for one in resets], now)
        rates += _rates([*limits, *policy])
    left = _items(headers.get("ratelimit", ""))
    if len(left) > 1 and all(not one.parameters or "limit" in one.parameters for one in left[:1]):
        left = [_merged(left)]
    holds += _holds(
        [one.parameters.get("r", one.parameters.get("remaining")) for one in left],
        [one.parameters.get("t", one.parameters.get("reset")) for one in left],
        now,
    )
    if not holds and not rates:
        return None
    return Allowance(max(holds, default=None), min(rates, default=None))


def _counted(remaining: Sequence[_Item], limits: Sequence[_Item]) -> list[float | None]:
    """What is left of each window; of one with a limit of 0 nothing is: the engine does not count it."""
    return [
        None if at < len(limits) and limits[at].value == 0 else one.value for at, one in enumerate(remaining)
    ]


def _holds(remaining: Sequence[float | None], resets: Sequence[float | None], now: float) -> list[float]:
    """The moments at which windows of which nothing is left begin anew."""
    found: list[float] = []
    for left, reset in zip(remaining, resets, strict=False):
        if left is None or reset is None or left >= 1:
            continue
        until = now + reset
        if reset >= _EPOCH:
            until = reset / 1_000.0 if reset >= _MILLISECONDS else reset
        if until > now:
            found.append(min(until, now + MAX_HOLD))
    return found


def _rates(windows: Sequence[_Item]) -> list[float]:
    """Requests a second of each window that is to be spread: ``100;w=60``, ``"name";q=100;w=60``."""
    found: list[float] = []
    for one in windows:
        quota, seconds = one.parameters.get("q", one.value), one.parameters.get("w")
        if quota is None or seconds is None:
            continue
        if quota >= 1 and 1 <= seconds <= LONGEST_WINDOW:
            found.append(quota / seconds)
    return found


def _merged(items: Sequence[_Item]) -> _Item:
    """An older draft's ``limit=100, remaining=50, reset=5``: one window in three members."""
    together: dict[str, float] = {}
    for one in items:
        together |= one.parameters
    return _Item(None, together)


def _items(text: str) -> list[_Item]:
    """The members of a list, each with its parameters; garbage gives members that say nothing."""
    return [_item(member) for member in text[:_MOST_TEXT].split(",")[:_MOST_WINDOWS] if member.strip()]


def _item(member: str) -> _Item:
    bare, *pairs = member.split(";")
    if "=" in bare and '"' not in bare:
        pairs, bare = [bare, *pairs], ""
    parameters: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        number = _number(value)
        if number is not None:
            parameters[name.strip().lower()] = number
        elif name.strip().lower() == "qu" and value.strip().strip('"').lower() != "requests":
            # What this window counts is bytes, or something else that a pace of requests says nothing of.
            return _Item(None, {})
    return _Item(_number(bare), parameters)


def _number(text: str) -> float | None:
    """A number of zero or more; None for anything else."""
    text = text.strip()
    return float(text) if text.isascii() and _NUMBER.fullmatch(text) else None
