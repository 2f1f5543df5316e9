"""A proxy that writes down every call of AWS that passes through it, and changes none.

``python -m tests.emulator.recorder --upstream URL --port N --log FILE`` needs nothing but this project's
folder and a Python. Bytes are handed on as they come, in both directions; each connection of a caller has
one of its own behind it, so what a connection does (a reset, a cut answer) is done to the caller too.

``POST /_recorder/upstream`` with a URL sends calls elsewhere from then on, on new connections.
``POST /_recorder/lose`` with ``[{"service": …, "operation": …, "probability": …}]`` lets such calls happen
and keeps their answers from the callers, whose connections are cut: the fault that makes real duplicates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from tests.emulator.operations import Call, name_call
from tests.emulator.wire import Message, Passing

CONTROL = "/_recorder/"
_PIECE = 262_144


class Recorder:
    """The calls' way through: an upstream that can change, and the file that they are written to."""

    def __init__(self, upstream: str, log: TextIO) -> None:
        self.upstream = upstream
        self._log = log
        self._open: set[_Line] = set()
        self._rules: dict[tuple[str, str], float] = {}
        self._random = random.Random(3)

    async def serve(self, port: int) -> None:
        """Take calls until told to stop."""
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        server = await asyncio.start_server(self._receive, "127.0.0.1", port, limit=_PIECE, backlog=1024)
        await stopped.wait()
        server.close()
        for line in list(self._open):
            line.close()

    def lose(self, rules: list[dict[str, Any]]) -> None:
        """From now on keep the answers of these calls back."""
        self._rules = {(rule["service"], rule["operation"]): float(rule["probability"]) for rule in rules}

    def lost(self, request: Message) -> bool:
        """Whether this call's answer is to be kept back."""
        if not self._rules:
            return False
        call = _named(request)
        return self._random.random() < self._rules.get((call.service, call.operation), 0.0)

    def write(
        self, request: Message, status: int, began: float, size: int = 0, *, lost: bool = False
    ) -> None:
        """One call is over; status 0 where no answer came."""
        call = _named(request)
        line = {
            "at": round(began, 4),
            "function": call.caller,
            "service": call.service,
            "operation": call.operation,
            "action": call.action,
            "resource": call.resource,
            "status": status,
            "lost": lost,
            "ms": round((time.time() - began) * 1000, 1),
            "sent": request.size,
            "received": size,
        }
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()

    def turn(self, upstream: str) -> None:
        """From now on upstream is there; connections at rest are closed, those at work after their call."""
        self.upstream = upstream
        for line in list(self._open):
            line.leave()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(self, reader, writer)
        self._open.add(line)
        try:
            with suppress(ConnectionError):
                await line.run()
        finally:
            self._open.discard(line)
            line.close()


def _named(request: Message) -> Call:
    return name_call(request.first[0], request.first[1], request.headers, bytes(request.body))


class _Line:
    """One caller's connection and the one behind it."""

    def __init__(
        self, recorder: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._recorder = recorder
        self._reader = reader
        self._writer = writer
        self._up: asyncio.StreamWriter | None = None
        self._requests = Passing()
        self._answers = Passing(responses=True)
        self._waiting: deque[tuple[Message, float, bool]] = (
            deque()
        )  # the call, its beginning, is it to be lost
        self._began = 0.0
        self._leaving = False
        self._under_control = False

    async def run(self) -> None:
        """Hand bytes on until either side closes."""
        first = await self._reader.read(_PIECE)
        if first.startswith(b"POST " + CONTROL.encode()):
            self._under_control = True
            await self._control(first)
            return
        where = urlsplit(self._recorder.upstream)
        try:
            up_reader, self._up = await asyncio.open_connection(where.hostname, where.port, limit=_PIECE)
        except OSError:
            return
        back = asyncio.create_task(self._hand_back(up_reader))
        try:
            while first:
                self._note_requests(first)
                self._up.write(first)
                await self._up.drain()
                first = await self._reader.read(_PIECE)
            if not self._waiting and not self._requests.under_way:
                back.cancel()  # the caller is done with an idle connection
            with suppress(asyncio.CancelledError):
                await back
        except (ConnectionError, ValueError):
            back.cancel()
        finally:
            for request, began, _ in self._waiting:
                self._recorder.write(request, 0, began)
            if self._requests.message is not None:
                self._recorder.write(self._requests.message, 0, self._began)

    def leave(self) -> None:
        """Close as soon as no call is under way."""
        self._leaving = not self._under_control
        if self._leaving and not self._waiting and not self._requests.under_way:
            self.close()

    def close(self) -> None:
        """Close both sides."""
        for writer in (self._writer, self._up):
            if writer is not None:
                writer.close()

    def _note_requests(self, data: bytes) -> None:
        if not self._requests.under_way:
            self._began = time.time()
        for request in self._requests.feed(data):
            self._waiting.append((request, self._began, self._recorder.lost(request)))
            self._began = time.time()

    async def _hand_back(self, up_reader: asyncio.StreamReader) -> None:
        try:
            while data := await up_reader.read(_PIECE):
                lost = bool(self._waiting) and self._waiting[0][2]
                self._note_answers(data)
                if lost:
                    if not self._waiting:
                        self._writer.transport.abort()
                        break
                    continue
                self._writer.write(data)
                await self._writer.drain()
                if self._leaving and not self._waiting and not self._requests.under_way:
                    break
            last = self._answers.end()
            if last is not None:
                self._answered(last)
        except (ConnectionError, ValueError):
            # What was cut above is cut below as well, not ended politely.
            self._writer.transport.abort()
        finally:
            self.close()

    def _note_answers(self, data: bytes) -> None:
        self._answers.heads = [request.first[0] == "HEAD" for request, _, _ in self._waiting]
        for answer in self._answers.feed(data):
            self._answered(answer)

    def _answered(self, answer: Message) -> None:
        if not self._waiting:
            # Refused before all of it was sent: the connection is good for nothing more.
            self._leaving = True
            if (unfinished := self._requests.message) is None:
                return
            self._waiting.append((unfinished, self._began, False))
            self._requests = Passing()
        request, began, lost = self._waiting.popleft()
        self._recorder.write(request, answer.status, began, answer.size, lost=lost)

    async def _control(self, first: bytes) -> None:
        passing = Passing()
        requests = list(passing.feed(first))
        while not requests and (more := await self._reader.read(_PIECE)):
            requests = list(passing.feed(more))
        status = b"204 No Content"
        path, body = (requests[0].first[1], requests[0].body.decode()) if requests else ("", "")
        if path == CONTROL + "upstream":
            self._recorder.turn(body)
        elif path == CONTROL + "lose":
            self._recorder.lose(json.loads(body))
        else:
            status = b"404 Not Found"
        self._writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n")
        await self._writer.drain()


def main() -> None:
    """Record until a signal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--upstream", required=True, help="URL of the emulator")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--log", required=True, type=Path, help="one JSON object a line is added to it")
    words = parser.parse_args()
    with words.log.open("a", encoding="utf-8") as log:
        asyncio.run(Recorder(words.upstream, log).serve(words.port))


if __name__ == "__main__":
    main()
