"""Named files of a table replaced by one commit beside those of others: tried until it is in or cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from pipeline.errors import CommitConflict, DiskFull, Retryable

TRIES = 30

Replaced = Literal["replaced", "given up", "unknown"]
"""``given up``: a file is gone or changed, and no try can come into the table; ``unknown``: one still may."""


class Group(Protocol):
    """Files that go together, what is to stand in their place, and the table as it was last looked at."""

    def look(self) -> None:
        """See the table as it is now."""

    def landed(self) -> bool:
        """Whether a try so far is in the table's history; by now its files may be replaced again."""

    def still(self) -> bool:
        """Whether every file is there as it was read."""

    def replace(self) -> None:
        """Commit on what was seen. Raises ``CommitConflict`` where another came first."""

    def discard(self) -> None:
        """Remove what was to stand in their place."""


def replace_group(group: Group, sleep: Callable[[float], None], jitter: Callable[[], float]) -> Replaced:
    """Replace a group's files, on a newer look after each commit that another won.

    A try whose answer was lost may have landed, or land yet: each look asks for that first, and what was
    written stays where a try may name it still. Raises ``DiskFull`` at once, and ``Retryable`` where at the
    end it was no other's commit but an outage.
    """
    certain = True
    outage: Retryable | None = None
    for tried in range(TRIES):
        try:
            group.look()
            if group.landed():
                return "replaced"
            if not group.still():
                return _without(group, certain=certain)
            group.replace()
        except CommitConflict:
            outage = None
        except DiskFull:
            # Of what was written for nothing, the room is wanted.
            _without(group, certain=certain)
            raise
        except Retryable as error:
            certain, outage = False, error
        else:
            return "replaced"
        sleep(wait_before(tried + 1, jitter()))
    if outage is not None:
        raise outage
    return _without(group, certain=certain)


def _without(group: Group, *, certain: bool) -> Replaced:
    if not certain:
        return "unknown"
    group.discard()
    return "given up"


def wait_before(tried: int, jitter: float) -> float:
    """Seconds before the next try, longer each time; ``jitter`` is between 0 and 1."""
    return min(1.0, 0.02 * 2.0 ** (tried - 1)) * (0.5 + jitter)
