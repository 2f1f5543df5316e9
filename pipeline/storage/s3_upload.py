"""One object written to S3 in parts, one after another: bounded memory, and the version it became."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import StorageUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 << 20
"""Bytes of a part, which are held at once. S3 takes 10,000 parts: 156 GiB."""

_MARK = "serpline-upload"


def read_part(source: BinaryIO) -> bytes:
    """The next part of a stream; shorter than ``PART`` only at its end."""
    part = bytearray()
    while len(part) < PART and (chunk := source.read(PART - len(part))):
        part += chunk
    return bytes(part)


def upload(client: S3Client, bucket: str, key: str, first: bytes, rest: BinaryIO) -> str:
    """Write ``first`` and then ``rest``; gives the version of this write, "" where none are kept."""
    name = f"s3://{bucket}/{key}"
    mark = uuid.uuid4().hex
    with translated(StorageUnavailable, name):
        begun = client.create_multipart_upload(Bucket=bucket, Key=key, Metadata={_MARK: mark})
        upload_id = begun["UploadId"]
        try:
            parts: list[CompletedPartTypeDef] = []
            part = first
            while part or not parts:  # an empty object is one empty part
                parts.append(_put_part(client, bucket, key, upload_id, len(parts) + 1, part))
                part = read_part(rest)
        except BaseException:
            # Unfinished parts cost money. What cannot be told now, the bucket's lifecycle rule removes.
            with suppress(BotoCoreError, ClientError):
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
            raise
        try:
            done = client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise
            return _version_after_a_lost_answer(client, bucket, key, mark)
    return _version(done.get("VersionId"))


def _put_part(
    client: S3Client, bucket: str, key: str, upload_id: str, number: int, body: bytes
) -> CompletedPartTypeDef:
    answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body)
    part: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
    if "ChecksumCRC32" in answer:  # the driver's default; S3 wants it named again at the end
        part["ChecksumCRC32"] = answer["ChecksumCRC32"]
    return part


def _version_after_a_lost_answer(client: S3Client, bucket: str, key: str, mark: str) -> str:
    """The driver repeated the end of an upload that had ended: the object bears our mark if it was ours."""
    found = client.head_object(Bucket=bucket, Key=key)
    if found["Metadata"].get(_MARK) != mark:
        raise StorageUnavailable(
            f"s3://{bucket}/{key} was written by somebody else at the same moment: see which one is there "
            "before you try again"
        )
    return _version(found.get("VersionId"))


def _version(told: str | None) -> str:
    """Where versions are not kept (any more) S3 says nothing or "null", which the next write replaces."""
    return told if told and told != "null" else ""
