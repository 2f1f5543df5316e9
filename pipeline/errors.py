"""One tree of errors: what went wrong, whether to try again, and what to do about it.

Drivers' own errors (aiohttp, kombu, pyiceberg, the file system) are translated into these where
the driver is called, and nowhere else. Workers decide by class alone: ``Retryable`` goes back to
its queue, ``Permanent`` goes to the dead-letter queue, anything else is a defect and is treated
as retryable so that nothing is lost while it is found.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Anything Serpline raises on purpose; its text is one line that says what to do."""


class Retryable(PipelineError):
    """May succeed later without a change: a server away, a lost race, a throttle.

    ``after`` is the number of seconds to wait before trying again, where the cause named one.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Permanent(PipelineError):
    """Will not succeed without a change to the input, the settings or the code."""


class Misuse(Permanent):
    """The command line, a setting or a source file is wrong; the user can mend it (exit code 2)."""


class Unreadable(Permanent):
    """Stored or queued bytes are not what they should be; ``key`` names the object or message."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class Unavailable(Retryable):
    """Something that everything needs does not answer; nothing is wrong with the message in hand."""


class QueueUnavailable(Unavailable):
    """The broker cannot be reached or refused the call."""


class StorageUnavailable(Unavailable):
    """The storage cannot be reached, is full or refused the call."""


class DiskFull(StorageUnavailable):
    """There is no room: nothing was stored, and trying again at once would change nothing."""


class ObjectMissing(Permanent):
    """No object has this key; ``key`` says which."""

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class CommitConflict(Retryable):
    """Another commit came first; look at the table again and append what is still missing."""


class CatalogUnavailable(Unavailable):
    """The table catalog cannot be reached or is busy."""
