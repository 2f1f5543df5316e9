"""HTTP/1.1 read as it passes by: where each message begins and ends, without holding it."""

from __future__ import annotations

from collections.abc import Iterator

KEPT_OF_BODY = 65_536
_LONGEST_HEAD = 1_048_576


class Message:
    """One request or response that passed, with the beginning of its body."""

    def __init__(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.first = first.split(" ", 2)
        self.headers = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines)
            if colon
        }
        self.body = bytearray()
        self.size = 0

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.first[1])

    def take(self, piece: bytes | memoryview) -> None:
        """More of the body passed by."""
        self.size += len(piece)
        if len(self.body) < KEPT_OF_BODY:
            self.body += piece[: KEPT_OF_BODY - len(self.body)]


class Passing:
    """One direction of a connection: fed with bytes in any pieces, gives the messages that are complete.

    Of responses it must be told, by ``heads``, which answer a HEAD request and so have no body.
    """

    def __init__(self, *, responses: bool = False) -> None:
        self._responses = responses
        self._buffer = bytearray()
        self.message: Message | None = None
        self._left = 0
        self._chunked = False
        self._trailers = False
        self._to_the_end = False
        self.heads: list[bool] = []

    @property
    def under_way(self) -> bool:
        """Whether a message has begun and not ended."""
        return self.message is not None or bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Messages that these bytes complete. Raises ``ValueError`` for what is no HTTP/1.1."""
        self._buffer += data
        while self._buffer:
            if self.message is None:
                if not self._begin():
                    return
            elif not self._go_on(self.message):
                return
            if self.message is not None and self._ended():
                done, self.message = self.message, None
                yield done

    def end(self) -> Message | None:
        """The sender closed: the message that was to last until then, if one was."""
        done, self.message = (self.message if self._to_the_end else None), None
        return done

    def _begin(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _LONGEST_HEAD:
                raise ValueError("a head without an end")
            return False
        message = Message(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        headers = message.headers
        self._chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        self._trailers = False
        self._left = 0 if self._chunked else int(headers.get("content-length", 0))
        self._to_the_end = False
        if self._responses:
            status = message.status
            if 100 <= status < 200:
                self._chunked, self._left = False, 0
                return True  # `100 Continue` answers nothing yet
            head = self.heads.pop(0) if self.heads else False
            if head or status in (204, 304):
                self._chunked, self._left = False, 0
            else:
                self._to_the_end = not self._chunked and "content-length" not in headers
        self.message = message
        return True

    def _ended(self) -> bool:
        return not (self._chunked or self._left or self._to_the_end)

    def _go_on(self, message: Message) -> bool:
        if self._to_the_end or (self._left and not self._chunked):
            self._pass_on(message, len(self._buffer) if self._to_the_end else self._left)
            return True
        if self._left:  # within a chunk, whose last two bytes are its line's end
            body = max(0, self._left - 2)
            taken = min(len(self._buffer), self._left)
            message.take(bytes(self._buffer[: min(body, taken)]))
            del self._buffer[:taken]
            self._left -= taken
            return True
        line_end = self._buffer.find(b"\r\n")
        if line_end < 0:
            return False
        line = bytes(self._buffer[:line_end])
        del self._buffer[: line_end + 2]
        if self._trailers:
            self._chunked = bool(line)
        elif size := int(line.partition(b";")[0], 16):
            self._left = size + 2
        else:
            self._trailers = True
        return True

    def _pass_on(self, message: Message, most: int) -> None:
        taken = min(len(self._buffer), most)
        message.take(bytes(self._buffer[:taken]))
        del self._buffer[:taken]
        if not self._to_the_end:
            self._left -= taken
