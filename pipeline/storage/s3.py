"""Objects in a bucket of S3.

An object appears whole or not at all; ``put_new`` is ``If-None-Match: *``, which S3 decides.
The bucket may keep versions: then a write adds one, and whoever knows its id reads that very one.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import ObjectMissing, StorageUnavailable
from pipeline.storage import s3_upload
from pipeline.storage.protocol import check_key
from pipeline.storage.s3_stream import MISSING, S3Stream, size_told

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

TRIES = 8
"""Writes of a new object that S3 asks to repeat, because others write it at this moment."""

BUFFER = 1 << 20
"""Bytes that one read of an open object takes at least."""


class S3Storage:
    """Storage in a bucket; safe for threads, as its client is.

    A missing key answers 404 to whoever may list the bucket (s3:ListBucket), and 403 to others. 403 is never
    taken for "missing": work that exists would be done again. It is ``StorageUnavailable``.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def get(self, key: str) -> bytes:
        """The whole object."""
        with self._stream(key) as stream:
            return stream.readall()

    def find(self, key: str) -> bytes | None:
        """The whole object, or None where there is none."""
        try:
            return self.get(key)
        except ObjectMissing:
            return None

    def open(self, key: str, *, version: str = "") -> BinaryIO:
        """The object as a seekable stream, of one version from end to end; the caller closes it.

        Where no version is named and the object is replaced meanwhile, the next request for it raises.
        """
        return cast("BinaryIO", io.BufferedReader(self._stream(key, version), BUFFER))

    def size(self, key: str, *, version: str = "") -> int:
        """Bytes of the object."""
        check_key(key)
        asked: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": key}
        if version:
            asked["VersionId"] = version
        with translated(StorageUnavailable, self._name(key)):
            try:
                return size_told(self._client, asked, self._client.head_object(**asked))
            except ClientError as error:
                if code_of(error) in MISSING:
                    raise ObjectMissing(f"there is no object {self._name(key)}", key=key) from error
                raise

    def version_of(self, key: str) -> str:
        """The version of the object as it is now; "" in a bucket that keeps none."""
        check_key(key)
        with translated(StorageUnavailable, self._name(key)):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=key).get("VersionId", "")
            except ClientError as error:
                if code_of(error) in MISSING:
                    raise ObjectMissing(f"there is no object {self._name(key)}", key=key) from error
                raise
        return found if found != "null" else ""

    def put(self, key: str, body: bytes) -> None:
        """Write the object, whatever was there."""
        check_key(key)
        with translated(StorageUnavailable, self._name(key)):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    def put_new(self, key: str, body: bytes) -> bool:
        """Write the object only where there is none; False where one was there.

        A write whose answer was lost is repeated by the driver, and then S3 says 412 although the object is
        ours. So False is "read it": what stands there is valid, whoever wrote it.
        """
        check_key(key)
        with translated(StorageUnavailable, self._name(key)):
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311  # spreads writers
                try:
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
                except ClientError as error:
                    if code_of(error) == "PreconditionFailed":
                        return False
                    # 409: another write or a deletion of this key was under way. S3 wants it repeated.
                    if code_of(error) != "ConditionalRequestConflict":
                        raise
                else:
                    return True
        raise StorageUnavailable(f"{self._name(key)}: others write it all the time; try again in a moment")

    def put_file(self, key: str, source: BinaryIO) -> None:
        """Write the object from a stream, from where that stands; it stays open."""
        check_key(key)
        first = s3_upload.read_part(source)
        if len(first) < s3_upload.PART:
            self.put(key, first)
        else:
            s3_upload.upload(self._client, self._bucket, key, first, source)

    def drop(self, key: str, source: BinaryIO) -> str:
        """Write the object from a stream and give the version of exactly this write; "" without versions.

        Always in parts, however small: what ends such an upload has an effect once, so an answer that got
        lost makes no second version, whose event would be a second run.
        """
        check_key(key)
        return s3_upload.upload(self._client, self._bucket, key, s3_upload.read_part(source), source)

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, in the order of their UTF-8 bytes, a page of them at a time.

        Keys that end in a slash are left out: consoles make such empty objects to show a folder.
        """
        above = prefix.rpartition("/")[0]
        if above:
            check_key(above)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        listing = iter(pages)
        while True:
            # Around the request alone: what the caller raises between two keys is not ours to translate.
            with translated(StorageUnavailable, self._name(prefix)):
                page = next(listing, None)
            if page is None:
                return
            yield from (one["Key"] for one in page.get("Contents", ()) if not one["Key"].endswith("/"))

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error.

        In a bucket with versions this sets a mark: the object is gone for every call here that names no
        version, ``put_new`` may write it again, and the bucket's lifecycle rule removes what is below.
        """
        check_key(key)
        with translated(StorageUnavailable, self._name(key)):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _stream(self, key: str, version: str = "") -> S3Stream:
        check_key(key)
        return S3Stream(self._client, self._bucket, key, version)

    def _name(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"
