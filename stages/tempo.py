"""Tempo: fewer requests open at once while an engine answers more slowly than it usually does.

Each process goes by the answers that it hears itself. A rate is kept by the pacer whatever happens here:
with fewer requests open slots are missed, and what is missed is forfeited. So this can make a source slower,
and nothing makes it faster than its file says.
"""

from __future__ import annotations

import msgspec

from stages.records import Response

SLOW = 3.0
"""An answer that takes so many times as long as usual is slow."""

SHORTEST = 0.5
"""Seconds that no engine is called slow for."""

TOO_SLOW = 3
"""Slow answers in a row that halve what is open."""

QUICK = 20
"""Answers in a row, none of them slow, that double it again."""

FEW = 10
"""So many first answers only say what is usual."""

_STEP = 0.02
_FIRST_STEP = 0.2


class Tempo(msgspec.Struct, frozen=True):
    """What a process has heard of a source.

    ``usual`` is the running median of its answers' seconds, over ``heard`` of them; ``slow`` and ``quick``
    count answers in a row; ``halvings`` says how often what may be open was halved.
    """

    usual: float = 0.0
    heard: int = 0
    slow: int = 0
    quick: int = 0
    halvings: int = 0


def open_requests(tempo: Tempo, most: int) -> int:
    """How many requests may be open at once, of ``most`` that were agreed; one at least."""
    return max(1, most >> tempo.halvings)


def heard(tempo: Tempo, response: Response, most: int) -> Tempo:
    """The tempo after one more response, where ``most`` requests may be open at once.

    One that did not come in time is slow whatever is usual. One that is no answer to the question, as a
    refusal is, may be slow and is never quick.
    """
    seconds, silent = response.latency_ms / 1_000, response.failure == "timeout"
    good = 200 <= response.status < 400 and not response.failure
    slow = silent or seconds > max(SHORTEST, SLOW * tempo.usual)
    learning = tempo.heard < FEW and not silent
    if good:
        tempo = _learnt(tempo, seconds)
    if learning:
        return tempo
    if slow:
        return _slower(tempo, most)
    quick = tempo.quick + 1 if good else 0
    if quick < QUICK:
        return msgspec.structs.replace(tempo, slow=0, quick=quick)
    return msgspec.structs.replace(tempo, slow=0, quick=0, halvings=max(0, tempo.halvings - 1))


def _slower(tempo: Tempo, most: int) -> Tempo:
    if tempo.slow + 1 < TOO_SLOW:
        return msgspec.structs.replace(tempo, slow=tempo.slow + 1, quick=0)
    halved = tempo.halvings + (open_requests(tempo, most) > 1)
    return msgspec.structs.replace(tempo, slow=0, quick=0, halvings=halved)


def _learnt(tempo: Tempo, seconds: float) -> Tempo:
    """The median moves a step towards each answer, so that as many are above it as below."""
    if not tempo.heard:
        return msgspec.structs.replace(tempo, usual=seconds, heard=1)
    step = 1.0 + (_FIRST_STEP if tempo.heard < FEW else _STEP)
    usual = min(seconds, tempo.usual * step) if seconds > tempo.usual else max(seconds, tempo.usual / step)
    # Half the answers at 0 would hold it there for ever.
    return msgspec.structs.replace(tempo, usual=max(usual, 0.001), heard=tempo.heard + 1)
