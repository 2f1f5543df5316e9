"""S3's own facts: one version from end to end, broken downloads, refusals, lost answers, versions."""

from __future__ import annotations

import base64
import io
import random
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Lock, Thread
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from pipeline.errors import Misuse, ObjectMissing, StorageUnavailable
from pipeline.storage import s3 as s3_module
from pipeline.storage import s3_stream, s3_upload
from pipeline.storage.s3 import S3Storage
from pipeline.storage.s3_stream import S3Stream

BUCKET = "lake-of-tests"
KEY = "keywords/a.txt"
BODY = random.Random(5).randbytes(200_000)


def s3_client(**options: Any) -> Any:
    """A client that finds no credentials of this machine, and waits for nothing."""
    return boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106  # no secret
        config=Config(retries={"mode": "standard", "total_max_attempts": 3}, s3={"addressing_style": "path"}),
        **options,
    )


class OneAtATime:
    """moto looks and writes in two steps; S3 decides a conditional write in one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **asked: Any) -> Any:
        with self._lock:
            return self._client.put_object(**asked)


@contextmanager
def s3_bucket(*, versions: bool = False) -> Iterator[Any]:
    """A client of an empty bucket, in this process."""
    with mock_aws():
        client = s3_client()
        client.create_bucket(Bucket=BUCKET)
        if versions:
            client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture
def client() -> Iterator[Any]:
    with s3_bucket() as made:
        yield made


@pytest.fixture
def versioned() -> Iterator[Any]:
    with s3_bucket(versions=True) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch):
    """Retries wait for nobody here."""
    monkeypatch.setattr(s3_stream.time, "sleep", lambda _seconds: None)


def calls(client: Any, *operations: str) -> list[str]:
    """The names of the calls that are made from now on, as they are made."""
    made: list[str] = []
    for name in operations:
        client.meta.events.register(f"before-call.s3.{name}", lambda name=name, **_: made.append(name))
    return made


def lose_one_answer(client: Any, service: str, operation: str) -> None:
    """The first answer of an operation does not reach the driver, which repeats the call."""
    lost: list[int] = []

    def forget(attempts: int, **_: Any) -> int | None:
        if lost:
            return None
        lost.append(attempts)
        return 0

    client.meta.events.register_first(f"needs-retry.{service}.{operation}", forget)


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


def test_a_named_version_is_read_though_it_was_replaced_and_deleted(versioned: Any):
    """A run reads the file that was dropped, not what came to stand in its place."""
    storage = S3Storage(versioned, BUCKET)
    first = storage.drop(KEY, io.BytesIO(BODY))
    with storage.open(KEY, version=first) as stream:
        stream.read(10)
        second = storage.drop(KEY, io.BytesIO(b"second"))
        storage.delete(KEY)
        stream.seek(-100, io.SEEK_END)
        assert stream.read() == BODY[-100:]
    assert storage.size(KEY, version=first) == len(BODY)
    with storage.open(KEY, version=second) as stream:
        assert stream.read() == b"second"
    assert storage.find(KEY) is None
    with pytest.raises(ObjectMissing):
        storage.size(KEY)
    with pytest.raises(ObjectMissing):
        storage.open("keywords/other", version=first)


def test_a_deleted_object_can_be_new_again(versioned: Any):
    """Where versions are kept a deletion is a mark, and behaves like a deletion."""
    storage = S3Storage(versioned, BUCKET)
    assert storage.put_new(KEY, b"1")
    storage.delete(KEY)
    storage.delete(KEY)
    assert storage.find(KEY) is None
    assert list(storage.keys("")) == []
    assert storage.put_new(KEY, b"2")
    assert not storage.put_new(KEY, b"3")
    assert storage.get(KEY) == b"2"


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


# What S3 refuses

ASK: dict[str, tuple[str, Callable[[S3Storage], object]]] = {
    "get": ("get_object", lambda storage: storage.get(KEY)),
    "find": ("get_object", lambda storage: storage.find(KEY)),
    "open": ("get_object", lambda storage: storage.open(KEY)),
    "size": ("head_object", lambda storage: storage.size(KEY)),
    "put": ("put_object", lambda storage: storage.put(KEY, b"")),
    "put_new": ("put_object", lambda storage: storage.put_new(KEY, b"")),
    "put_file": ("put_object", lambda storage: storage.put_file(KEY, io.BytesIO())),
    "drop": ("create_multipart_upload", lambda storage: storage.drop(KEY, io.BytesIO())),
    "keys": ("list_objects_v2", lambda storage: list(storage.keys(""))),
    "delete": ("delete_object", lambda storage: storage.delete(KEY)),
}


@pytest.mark.parametrize("method", ASK)
def test_no_permission_is_never_a_missing_object(method: str):
    """Without s3:ListBucket S3 says 403 for both: taken for "missing", finished work would be done again."""
    client = s3_client()
    operation, ask = ASK[method]
    with Stubber(client) as stub:
        stub.add_client_error(operation, "403" if method == "size" else "AccessDenied", http_status_code=403)
        with pytest.raises(StorageUnavailable, match=r"lake-of-tests.*IAM"):
            ask(S3Storage(client, BUCKET))


@pytest.mark.parametrize("method", [name for name in ASK if name != "size"])
def test_no_bucket_is_no_missing_object(method: str):
    """Both are 404; a lake that is not there is the operator's to mend."""
    with mock_aws(), pytest.raises(Misuse, match="does not exist"):
        ASK[method][1](S3Storage(s3_client(), BUCKET))


def test_a_throttle_in_the_middle_of_a_listing_is_told():
    """S3 says SlowDown to bursts; the caller tries again."""
    client = s3_client()
    with Stubber(client) as stub:
        page = {"Contents": [{"Key": "a"}], "NextContinuationToken": "x", "IsTruncated": True}
        stub.add_response("list_objects_v2", page)
        stub.add_client_error("list_objects_v2", "SlowDown", http_status_code=503)
        found = S3Storage(client, BUCKET).keys("")
        assert next(found) == "a"
        with pytest.raises(StorageUnavailable):
            next(found)


# Writes that race, or whose answers are lost


def test_a_conflict_is_tried_again_until_it_is_decided():
    """409 decides nothing; 412 does."""
    client = s3_client()
    with Stubber(client) as stub:
        for _ in range(3):
            stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_response("put_object", {}, {"Bucket": BUCKET, "Key": KEY, "Body": b"x", "IfNoneMatch": "*"})
        assert S3Storage(client, BUCKET).put_new(KEY, b"x")
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
        assert not S3Storage(client, BUCKET).put_new(KEY, b"x")
        for _ in range(s3_module.TRIES):
            stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        with pytest.raises(StorageUnavailable, match="others write it"):
            S3Storage(client, BUCKET).put_new(KEY, b"x")
        stub.assert_no_pending_responses()


def test_a_new_object_whose_answer_was_lost_is_there_to_be_read(client: Any):
    """False is "read it", and what is read is this very write."""
    lose_one_answer(client, "s3", "PutObject")
    storage = S3Storage(client, BUCKET)
    assert not storage.put_new(KEY, b"mine")
    assert storage.get(KEY) == b"mine"


def lose_the_end_of_an_upload(client: Any, meanwhile: Callable[[], object] = lambda: None) -> None:
    """The upload ends, its answer is lost, and the driver's next try hears that there is no such upload."""
    finish = client.complete_multipart_upload

    def ended(**asked: Any) -> None:
        finish(**asked)
        meanwhile()
        raise ClientError({"Error": {"Code": "NoSuchUpload", "Message": ""}}, "CompleteMultipartUpload")

    client.complete_multipart_upload = ended


def versions_of(client: Any) -> list[str]:
    return [one["VersionId"] for one in client.list_object_versions(Bucket=BUCKET).get("Versions", [])]


@pytest.mark.parametrize("size", [0, 1, 5 << 20, (11 << 20) + 1])
def test_a_drop_gives_the_version_of_exactly_this_write(versioned: Any, monkeypatch, size: int):
    """Empty, small, one part, several: the version that is given is the one that holds these bytes."""
    monkeypatch.setattr(s3_upload, "PART", 5 << 20)
    storage = S3Storage(versioned, BUCKET)
    body = random.Random(size).randbytes(size)
    source = io.BytesIO(b"before" + body)
    source.seek(6)
    version = storage.drop(KEY, source)
    assert not source.closed
    storage.put(KEY, b"later")
    with storage.open(KEY, version=version) as stream:
        assert stream.read() == body
    assert len(versions_of(versioned)) == 2


def test_a_drop_whose_answer_was_lost_makes_no_second_version(versioned: Any):
    """Two versions would be two events and two runs; the same bytes dropped before do not confuse it."""
    storage = S3Storage(versioned, BUCKET)
    before = storage.drop(KEY, io.BytesIO(b"same"))
    lose_the_end_of_an_upload(versioned)
    version = storage.drop(KEY, io.BytesIO(b"same"))
    assert version != before
    assert sorted(versions_of(versioned)) == sorted([before, version])


def test_a_drop_that_another_overtook_while_its_answer_was_lost_says_so(versioned: Any):
    """Whose version it is cannot be told then, and is not guessed."""
    storage = S3Storage(versioned, BUCKET)

    lose_the_end_of_an_upload(versioned, meanwhile=lambda: storage.put(KEY, b"other"))
    with pytest.raises(StorageUnavailable, match="somebody else"):
        storage.drop(KEY, io.BytesIO(b"mine"))


def test_a_bucket_without_versions_drops_without_one(client: Any):
    storage = S3Storage(client, BUCKET)
    assert storage.drop(KEY, io.BytesIO(b"x")) == ""
    assert storage.get(KEY) == b"x"


def test_a_failed_upload_leaves_no_object_and_no_parts(client: Any, monkeypatch):
    """A source that fails half-way: nothing appears, and nothing is paid for."""
    monkeypatch.setattr(s3_upload, "PART", 5 << 20)

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 6 << 20:
                raise OSError("the disk is gone")
            return super().read(min(size or 0, 1 << 20))

    storage = S3Storage(client, BUCKET)
    with pytest.raises(OSError, match="the disk is gone"):
        storage.put_file(KEY, Failing(bytes(20 << 20)))
    assert storage.find(KEY) is None
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


def test_a_large_file_is_put_in_parts_and_reads_back(client: Any, monkeypatch):
    monkeypatch.setattr(s3_upload, "PART", 5 << 20)
    made = calls(client, "UploadPart")
    ends: list[dict[str, Any]] = []
    client.meta.events.register(
        "provide-client-params.s3.CompleteMultipartUpload", lambda params, **_: ends.append(params)
    )
    body = random.Random(1).randbytes((10 << 20) + 5)
    storage = S3Storage(client, BUCKET)
    storage.put_file(KEY, io.BytesIO(body))
    assert len(made) == 3
    # S3 refuses the end of an upload that does not name the checksums its parts were sent with.
    assert all(part["ChecksumCRC32"] for part in ends[0]["MultipartUpload"]["Parts"])
    assert storage.get(KEY) == body


# Listings


def test_a_listing_asks_for_a_page_when_it_comes_to_it(client: Any):
    """A lake of millions of objects is walked, not held."""
    storage = S3Storage(client, BUCKET)
    for number in range(1_003):
        client.put_object(Bucket=BUCKET, Key=f"staging/{number:05}", Body=b"")
    made = calls(client, "ListObjectsV2")
    found = storage.keys("staging/")
    assert not made
    assert list(islice(found, 3)) == ["staging/00000", "staging/00001", "staging/00002"]
    assert len(made) == 1
    assert len(list(found)) == 1_000
    assert len(made) == 2


def test_the_folders_of_a_console_are_no_objects(client: Any):
    """An empty object whose key ends in a slash shows a folder in the console, and is nothing of ours."""
    client.put_object(Bucket=BUCKET, Key="keywords/", Body=b"")
    client.put_object(Bucket=BUCKET, Key="keywords/a", Body=b"")
    assert list(S3Storage(client, BUCKET).keys("keywords/")) == ["keywords/a"]
