"""S3's downloads: one version from end to end, over a wire that breaks."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ObjectMissing, StorageUnavailable
from pipeline.storage import s3 as s3_module
from pipeline.storage import s3_stream
from pipeline.storage.s3 import S3Storage
from pipeline.storage.s3_stream import S3Stream
from tests.pipeline.s3_kit import BODY, BUCKET, KEY, calls, s3_bucket, s3_client


@pytest.fixture
def client() -> Iterator[Any]:
    with s3_bucket() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch):
    """Retries wait for nobody here."""
    monkeypatch.setattr(s3_stream.time, "sleep", lambda _seconds: None)


# One version, from end to end


@pytest.fixture
def shelf(client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket with one object, in which a step of 3 kB is far."""
    monkeypatch.setattr(s3_stream, "SKIP", 3_000)
    client.put_object(Bucket=BUCKET, Key=KEY, Body=BODY)
    return client


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 60_000), st.just(0)),
        st.tuples(st.just("seek"), st.integers(0, 230_000), st.just(io.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(0, 5_000), st.just(io.SEEK_CUR)),
        st.tuples(st.just("seek"), st.integers(-200_000, 10), st.just(io.SEEK_END)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, buffer=st.sampled_from([1, 512, 8_192]))
def test_any_walk_through_an_object_reads_what_a_file_would(
    shelf: Any, steps: list[tuple[str, int, int]], buffer: int
):
    """Seeks and reads in any order give the bytes that are there."""
    plain = io.BytesIO(BODY)
    with io.BufferedReader(S3Stream(shelf, BUCKET, KEY), buffer) as stream:
        for step, number, whence in steps:
            if step == "read":
                assert stream.read(number) == plain.read(number)
            else:
                assert stream.seek(number, whence) == plain.seek(number, whence)
            assert stream.tell() == plain.tell()


def test_reading_on_is_one_request_and_a_seek_one_more(client: Any):
    """A file read from front to back is one download; so is a step over a little."""
    client.put_object(Bucket=BUCKET, Key=KEY, Body=bytes(5 << 20))
    made = calls(client, "GetObject", "HeadObject")
    with S3Storage(client, BUCKET).open(KEY) as stream:
        while stream.read(70_000):
            pass
    assert made == ["GetObject"]
    made.clear()
    with S3Storage(client, BUCKET).open(KEY) as stream:
        stream.read(10)
        stream.seek((1 << 20) + 5_000)
        stream.read(10)
        assert made == ["GetObject"]
        stream.seek(4 << 20)
        stream.seek(-8, io.SEEK_END)
        assert stream.read() == bytes(8)
    assert made == ["GetObject"] * 2


@pytest.mark.parametrize("other", [BODY[::-1], b"short", BODY + b"more"])
def test_an_object_replaced_while_it_is_read_is_an_error(shelf: Any, other: bytes):
    """Whatever stands there now, the reader never gets a mixture of two; trying again reads the new one."""
    storage = S3Storage(shelf, BUCKET)
    with io.BufferedReader(S3Stream(shelf, BUCKET, KEY), 512) as stream:
        assert stream.read(100) == BODY[:100]
        storage.put(KEY, other)
        stream.seek(150_000)
        with pytest.raises(StorageUnavailable, match="replaced while it was read"):
            stream.read(100)


def test_an_object_deleted_while_it_is_read_is_missing(shelf: Any):
    """What is gone is told as what it is."""
    storage = S3Storage(shelf, BUCKET)
    with io.BufferedReader(S3Stream(shelf, BUCKET, KEY), 512) as stream:
        stream.read(100)
        storage.delete(KEY)
        stream.seek(150_000)
        with pytest.raises(ObjectMissing):
            stream.read(100)


# A wire that breaks


class Wire:
    """A server of one object, whose downloads end after so many bytes each; 0 ends none."""

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self.ranges: list[int] = []
        self.checksum = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
        self.ignores_ranges = False
        self.tells_length = True


@pytest.fixture
def wire() -> Iterator[tuple[Wire, S3Storage]]:
    told = Wire()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = re.findall(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start, stop = (int(asked[0][0]), int(asked[0][1] or len(BODY)) + 1) if asked else (0, len(BODY))
            told.ranges.append(start)
            cut = told.cuts.pop(0) if told.cuts else None
            if told.ignores_ranges:
                asked, start, stop = [], 0, len(BODY)
            self.send_response(206 if asked else 200)
            self.send_header("ETag", '"one"')
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(BODY)}")
            else:
                self.send_header("x-amz-checksum-crc32", told.checksum)
            if told.tells_length:
                self.send_header("Content-Length", str(len(BODY[start:stop])))
            self.end_headers()
            self.wfile.write(BODY[start:stop][:cut])

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    client = s3_client(endpoint_url=f"http://127.0.0.1:{server.server_port}")
    yield told, S3Storage(client, BUCKET)
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_broken_download_goes_on_where_it_broke(wire: tuple[Wire, S3Storage], monkeypatch):
    """Breaks with progress between them are no end, however many: the bytes are those of the object."""
    told, storage = wire
    monkeypatch.setattr(s3_module, "BUFFER", 1_000)
    told.cuts = [20_000, 0, 0, 30_000, 0, 0, 0, 5_000, 0, 0, 0]
    with storage.open(KEY) as stream:
        read = b"".join(iter(lambda: stream.read(1_000), b""))
    assert read == BODY
    assert told.ranges[0] == 0
    assert told.ranges == sorted(told.ranges)
    assert len(told.ranges) == 12


def test_a_whole_object_survives_a_break_too(wire: tuple[Wire, S3Storage]):
    told, storage = wire
    told.cuts = [150_000, 0]
    assert storage.get(KEY) == BODY


def test_a_download_that_never_goes_on_ends(wire: tuple[Wire, S3Storage]):
    """A bounded number of tries, and a sentence that says where."""
    told, storage = wire
    told.cuts = [0] * 100
    with pytest.raises(StorageUnavailable, match="broke off at byte 0 of 200000, 5 times"):
        storage.get(KEY)
    assert len(told.ranges) == 5


def test_damaged_bytes_are_told(wire: tuple[Wire, S3Storage]):
    """The checksum that S3 keeps is compared when the end is read."""
    told, storage = wire
    told.checksum = base64.b64encode(b"nope").decode()
    with pytest.raises(StorageUnavailable, match="damaged"):
        storage.get(KEY)


def test_a_server_without_ranges_is_read_from_its_start(wire: tuple[Wire, S3Storage], monkeypatch):
    """HTTP lets a server ignore a range: the start of an object is never taken for its middle."""
    monkeypatch.setattr(s3_module, "BUFFER", 1_000)
    monkeypatch.setattr(s3_stream, "SKIP", 3_000)
    told, storage = wire
    told.ignores_ranges = True
    told.cuts = [len(BODY), 100, len(BODY)]
    with storage.open(KEY) as stream:
        stream.read(10)
        stream.seek(150_000)
        assert stream.read() == BODY[150_000:]
    assert told.ranges == [0, 150_000, 150_000]


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_a_proxy_that_takes_the_length_off_is_no_harm(wire: tuple[Wire, S3Storage], *, ignores_ranges: bool):
    """Then an answer that ends early looks like one that is whole, but for the size that was asked for."""
    told, storage = wire
    told.tells_length, told.ignores_ranges = False, ignores_ranges
    assert storage.size(KEY) == len(BODY)
    told.cuts = [1_000, len(BODY), 150_000]
    assert storage.get(KEY) == BODY
    assert told.ranges == [0, 0, 0, 1_000, 151_000] if not ignores_ranges else told.ranges[:3] == [0, 0, 0]
    told.cuts = [0, len(BODY), *[0] * 10]
    with pytest.raises(StorageUnavailable, match="broke off at byte 0"):
        storage.get(KEY)
