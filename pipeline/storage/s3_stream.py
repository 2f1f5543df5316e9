"""One object of S3 as a seekable stream: one download kept open while it is read on from where it stands."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from urllib3.exceptions import HTTPError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import ObjectMissing, StorageUnavailable

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, GetObjectRequestTypeDef
    from typing_extensions import Buffer

TRIES = 5
"""Downloads in a row that break off without a byte before the reader is told."""

SKIP = 1 << 20
"""A step forward of up to so many bytes is read and thrown away: cheaper than another request."""

CHUNK = 8 << 20
"""Bytes of one read where everything is wanted: what a break in the connection costs at most."""

MISSING = {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "404", "405"}
"""No such object; 405 is a version that is the mark of a deletion. 403 is never taken for this."""


class S3Stream(io.RawIOBase):
    """The bytes of one object, of one version from the first to the last.

    The first request tells the object's etag, and every later one (after a seek, after a connection that
    broke) must answer with the same: an object replaced meanwhile is an error, never a mixture of two.
    The answers' etags are compared here, which holds on servers that know no If-Match as well.
    """

    def __init__(self, client: S3Client, bucket: str, key: str, version: str = "") -> None:
        super().__init__()
        self._client = client
        self._asked: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if version:
            self._asked["VersionId"] = version
        self._name = f"s3://{bucket}/{key}"
        self._key = key
        self._position = 0
        self._body: StreamingBody | None = None
        self._body_at = 0
        first = self._ask(self._asked)
        self._etag = first["ETag"]
        self._body = first["Body"]
        with translated(StorageUnavailable, self._name):
            self._size = size_told(client, self._asked, first)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Read on from elsewhere; nothing is asked of S3 before something is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a stream has nothing before its start")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill as much of ``buffer`` as one read gives."""
        room = memoryview(buffer).cast("B")
        chunk = self._draw(len(room))
        room[: len(chunk)] = chunk
        return len(chunk)

    def readall(self) -> bytes:
        """Everything from here to the end."""
        chunks = []
        while chunk := self._draw(CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Give the connection back, or up where its download was not read to the end."""
        if self._body is not None:
            self._body.close()
            self._body = None
        super().close()

    def _draw(self, count: int) -> bytes:
        """The next bytes, at most ``count``; none only at the end, or where none were asked."""
        broken: Exception | None = None
        for attempt in range(TRIES):
            if attempt:
                time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311  # spreads copies, guards nothing
            try:
                return self._drawn_once(count)
            except (BotoCoreError, HTTPError, EOFError) as error:
                if isinstance(error, FlexibleChecksumError) and self._position >= self._size:
                    # Nothing is missing, and the damaged bytes are already given.
                    raise StorageUnavailable(f"{self._name} came damaged ({error}): read it again") from error
                broken = error
                self._drop_body()
        raise StorageUnavailable(
            f"{self._name} broke off at byte {self._position} of {self._size}, {TRIES} times in a row "
            f"({broken}): try again in a moment"
        ) from broken

    def _drawn_once(self, count: int) -> bytes:
        """One read of the download at hand, or of a new one."""
        if self._body is not None and self._body_at != self._position:
            self._step_forward()
        if self._body is None:
            if self._position >= self._size or not count:
                return b""
            self._body, start = self._resumed()
            if not _skipped(self._body, self._position - start):
                raise EOFError("the answer ended early")
        chunk = self._body.read(count)
        self._position += len(chunk)
        self._body_at = self._position
        if not chunk and count:
            # The read that finds the end is the one in which botocore checks length and checksum.
            self._drop_body()
            if self._position < self._size:
                raise EOFError("the answer ended early")
        return chunk

    def _step_forward(self) -> None:
        """Bring the download at hand to the position where that is near; otherwise end it."""
        ahead = self._position - self._body_at
        near = 0 < ahead <= SKIP and self._position < self._size
        if self._body is not None and not (near and _skipped(self._body, ahead)):
            self._drop_body()

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _resumed(self) -> tuple[StreamingBody, int]:
        """A download from here, and the byte with which it begins: HTTP lets a server ignore a range."""
        # From the start without a range: then S3 gives the checksum of the whole along.
        start = self._position
        answer = self._ask({**self._asked, "Range": f"bytes={start}-"} if start else self._asked)
        if answer["ETag"] != self._etag:
            answer["Body"].close()
            raise self._replaced()
        return answer["Body"], start if "ContentRange" in answer else 0

    def _ask(self, asked: GetObjectRequestTypeDef) -> GetObjectOutputTypeDef:
        with translated(StorageUnavailable, self._name):
            try:
                return self._client.get_object(**asked)
            except ClientError as error:
                if code_of(error) in MISSING:
                    raise ObjectMissing(f"there is no object {self._name}", key=self._key) from error
                if code_of(error) == "InvalidRange":  # nothing there any more: it became shorter
                    raise self._replaced() from error
                raise

    def _replaced(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._name} was replaced while it was read: it is read again from its start"
        )


def size_told(client: S3Client, asked: GetObjectRequestTypeDef, answer: Mapping[str, Any]) -> int:
    """Bytes of the object of an answer; asked for once more where a proxy on the way took the length off."""
    if "ContentLength" in answer:
        return int(answer["ContentLength"])
    ranged: GetObjectRequestTypeDef = {**asked, "Range": "bytes=0-0"}
    try:
        first_byte = client.get_object(**ranged)
    except ClientError as error:
        if code_of(error) == "InvalidRange":  # it has no first byte
            return 0
        raise
    with closing(first_byte["Body"]) as body:
        told = first_byte.get("ContentRange", "").rpartition("/")[2]
        return int(told) if told else sum(len(chunk) for chunk in body.iter_chunks(SKIP))


def _skipped(body: StreamingBody, count: int) -> bool:
    """Read and throw away so many bytes; whether there were so many."""
    while count and (chunk := body.read(min(count, SKIP))):
        count -= len(chunk)
    return not count
