"""The desk: notes every arrival and decides at once what it will be given."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from pipeline.practice.faults import SEARCHES, Fault, Question, chosen, same_keyword
from pipeline.practice.quota import Quota, QuotaState, spend

ROBOTS = """User-agent: *
Allow: /search
Allow: /api
Disallow: /private
Disallow: /url
"""


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be asked of the engine: faults, a quota, what robots.txt says."""

    faults: tuple[Fault, ...] = ()
    quota: Quota | None = None
    seed: int = 0
    robots: str = ROBOTS


class Arrival(msgspec.Struct, frozen=True):
    """One request, noted when its handling began; ``answer`` is ``ok``, ``quota`` or the kind of a fault.

    ``monotonic`` can be compared between processes of one machine; ``at`` is the wall clock.
    """

    at: float
    monotonic: float
    path: str
    keyword: str
    page: int
    user_agent: str
    host: str
    answer: str


class Request(msgspec.Struct, frozen=True):
    """What the desk is told of a request."""

    path: str
    keyword: str = ""
    page: int = 1
    user_agent: str = ""
    host: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What a request will be given: seconds of delay, a fault or none, or a refusal by the quota."""

    delay: float = 0.0
    fault: Fault | None = None
    retry_after: float = 0.0


class Desk:
    """Arrivals and behaviour of one engine; its loop brings requests, anyone may look at them."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self._arrivals: list[Arrival] = []
        self._asked: Counter[tuple[str, str, int]] = Counter()
        self._spent: QuotaState | None = None

    def arrive(self, request: Request) -> Verdict:
        """Note a request and decide about it; everything is decided before the first wait."""
        at, monotonic = time.time(), time.monotonic()
        verdict = self._judge(request, monotonic)
        if verdict.retry_after:
            answer = "quota"
        elif verdict.fault:
            answer = verdict.fault.kind
        else:
            answer = "slow" if verdict.delay else "ok"
        self._arrivals.append(
            Arrival(
                at=at,
                monotonic=monotonic,
                path=request.path,
                keyword=request.keyword,
                page=request.page,
                user_agent=request.user_agent,
                host=request.host,
                answer=answer,
            )
        )
        return verdict

    def _judge(self, request: Request, now: float) -> Verdict:
        behaviour = self.behaviour
        if behaviour.quota and request.path in SEARCHES:
            self._spent, wait = spend(behaviour.quota, self._spent, now)
            if wait:
                return Verdict(retry_after=wait)
        keyword = same_keyword(request.keyword)
        asked = (request.path, keyword, request.page)
        self._asked[asked] += 1
        question = Question(request.path, keyword, request.page, self._asked[asked])
        delay, fault = chosen(behaviour.faults, question, seed=behaviour.seed)
        return Verdict(delay=delay, fault=fault)

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """Every request so far, in order."""
        return tuple(self._arrivals)

    def behave(self, behaviour: Behaviour) -> None:
        """From the next request on behave like this; a new quota begins with its whole burst."""
        if behaviour.quota != self.behaviour.quota:
            self._spent = None
        self.behaviour = behaviour

    def reset(self) -> None:
        """Forget all arrivals, how often anything was asked, and what is spent; the behaviour stays."""
        self._arrivals = []
        self._asked = Counter()
        self._spent = None
