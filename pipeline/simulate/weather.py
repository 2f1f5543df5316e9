"""The weather of a simulation: how often each fault strikes, drawn once from its seed.

Every kind of fault is absent in some simulations and heavy in others, alone and together: a fault that always
comes with all others hides what it does by itself.
"""

from __future__ import annotations

from random import Random

import msgspec


class Weather(msgspec.Struct, frozen=True):
    """Chances of a fault at each effect, message or request, and a few durations in seconds."""

    kill: float = 0.0
    """The process dies just before or just after an effect."""
    throttle: float = 0.0
    """An effect or a read is refused; nothing happened."""
    lost_reply: float = 0.0
    """An effect happened, and an error is told."""
    belated: float = 0.0
    """An error is told of an effect, which happens all the same, seconds later."""
    slow: float = 0.0
    """An effect takes seconds, and others come in between."""
    conflict: float = 0.0
    """A conditional write or a commit meets another one."""
    repeat: float = 0.0
    """A message is delivered once more."""
    late: float = 0.0
    """A message comes after others that were sent later."""
    expire: float = 0.0
    """A message is forgotten by its queue."""
    skew: float = 0.0
    """Seconds by which the clocks of two processes differ at most."""
    visibility: float = 3600.0
    """After so long a message that was delivered and not settled is delivered again."""
    engine_fails: float = 0.0
    """A request fails: a broken connection, a 500, a cut answer."""
    engine_refuses: float = 0.0
    """The engine begins to refuse, and does for a while."""
    engine_moves: float = 0.0
    """An answer stands elsewhere, which is one more request."""
    cut: float = 0.0
    """A new connection takes seconds, and so do others meanwhile."""
    latency: float = 0.1
    """Of an answer, on average."""


CALM = Weather()


def draw_weather(random: Random) -> Weather:
    """The weather of one simulation."""
    return Weather(
        kill=random.choice((0.0, 0.001, 0.004, 0.01, 0.03)),
        throttle=random.choice((0.0, 0.005, 0.03)),
        lost_reply=random.choice((0.0, 0.005, 0.03)),
        belated=random.choice((0.0, 0.005, 0.03)),
        slow=random.choice((0.0, 0.02, 0.1)),
        conflict=random.choice((0.0, 0.02, 0.2)),
        repeat=random.choice((0.0, 0.02, 0.1)),
        late=random.choice((0.0, 0.1, 0.4)),
        expire=random.choice((0.0, 0.0, 0.02, 0.1)),
        skew=random.choice((0.0, 0.0, 1.0)),
        visibility=random.choice((20.0, 120.0, 600.0)),
        engine_fails=random.choice((0.0, 0.03, 0.2)),
        engine_refuses=random.choice((0.0, 0.002, 0.01)),
        engine_moves=random.choice((0.0, 0.0, 0.05, 0.4)),
        latency=random.choice((0.05, 0.3, 1.0)),
        cut=random.choice((0.0, 0.0, 0.02, 0.1)),
    )
