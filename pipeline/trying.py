"""One question by hand, asked as a run asks: with a lease of the shared pace, and told to it if refused."""

from __future__ import annotations

from typing import Literal

import msgspec

from pipeline.errors import Retryable
from pipeline.http_client import HttpClient, Slot
from pipeline.retrieve import Retrieved, Retriever, retrieve
from stages.fetch import Done, Judgement, judge_response
from stages.pace import PaceState, Wait, lease
from stages.records import Batch, Request, Response
from stages.source import Limits

PATIENCE = 30.0
"""Seconds that somebody who tries waits for a slot; what takes longer is said instead."""


class Exchange(msgspec.Struct, frozen=True):
    """One request and what came back."""

    request: Request
    response: Response


class Tried(msgspec.Struct, frozen=True):
    """What became of a question: what was exchanged for it, and its last ``answer`` with the judgement.

    Both are None where the question itself was not asked, and ``why`` says why. ``state`` is the source's
    afterwards, ``until`` the moment (epoch seconds) from which it may be asked again.
    """

    exchanges: tuple[Exchange, ...]
    state: PaceState
    judged: Judgement | None = None
    answer: Response | None = None
    until: float = 0.0
    why: Literal["", "robots", "rate", "closed", "trial", "quota"] = ""


class Unreached(Retryable):
    """A robots.txt that no host answered: nobody refused anything, so nothing is closed."""


class _Recorder:
    """A client that keeps what goes through it."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self.exchanges: list[Exchange] = []

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        """Send one request. Raises ``Unreached`` where the host of a robots.txt is not there at all."""
        response = await self._client.send(request, limits, slot)
        if response.failure == "late":  # nothing left for the engine
            return response
        self.exchanges.append(Exchange(request, response))
        if _asks_rules(request) and not response.status and response.failure != "private_address":
            # A run rests the source for this. Whoever just starts an engine, or mistyped its address, would
            # wait for that rest.
            raise Unreached(
                f"{request.url} cannot be read ({failure_in_words(response.failure)}), and what it does not "
                "allow is not asked"
            )
        return response

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.close()


async def ask_once(batch: Batch, retriever: Retriever) -> Tried:
    """Ask the one task of a batch, at the moment that the pacer gives it.

    Raises ``Unreached`` where the engine is not there to say what may be asked.
    """
    recorder = _Recorder(retriever.client)
    ends = retriever.clock() + PATIENCE
    asking = msgspec.structs.replace(retriever, client=recorder)
    retrieved = await retrieve(batch, asking, lambda: ends)
    asked = [one for one in recorder.exchanges if not _asks_rules(one.request)]
    tried = Tried(tuple(recorder.exchanges), retriever.pacer.state(retriever.source.name))
    now = retriever.clock()
    if not asked:
        return _unasked(tried, retriever, retrieved, now)
    answer = asked[-1].response
    if retrieved.pages:
        page = retrieved.pages[0]
        judged: Judgement = Done(page.status, page.reason, page.bytes, page.total_results, page.results)
    else:
        judged = judge_response(batch.tasks[0], retriever.source, retriever.extractor, answer, now)
    return msgspec.structs.replace(tried, judged=judged, answer=answer, until=tried.state.closed_until)


def _unasked(tried: Tried, retriever: Retriever, retrieved: Retrieved, now: float) -> Tried:
    """Why the question stayed unasked, and until when."""
    if retrieved.pages and retrieved.pages[0].reason == "robots":
        return msgspec.structs.replace(tried, why="robots")
    _, grant = lease(tried.state, retriever.source.spec.politeness, now, 1)
    if isinstance(grant, Wait) and grant.reason != "rate":
        return msgspec.structs.replace(tried, why=grant.reason, until=grant.until)
    # The next free slot, which a lease may be had for some time before.
    return msgspec.structs.replace(tried, why="rate", until=max(now, tried.state.held_until, tried.state.tat))


def failure_in_words(failure: str) -> str:
    """What went wrong below HTTP, and what it may come from."""
    words = {
        "connection": "no connection: it was refused or broke off; is the engine running there?",
        "dns": "no name server knows the host",
        "timeout": "it did not answer in time",
    }
    return words.get(failure, failure)


def _asks_rules(request: Request) -> bool:
    # A question needs its whole answer, a robots.txt its beginning.
    return bool(request.enough)
