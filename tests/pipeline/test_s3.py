"""S3's own facts: versions, refusals, lost answers, listings."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from pipeline.errors import Misuse, ObjectMissing, StorageUnavailable
from pipeline.storage import s3 as s3_module
from pipeline.storage import s3_stream, s3_upload
from pipeline.storage.s3 import S3Storage
from tests.pipeline.s3_kit import BODY, BUCKET, KEY, calls, lose_one_answer, s3_bucket, s3_client


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


# Versions


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
