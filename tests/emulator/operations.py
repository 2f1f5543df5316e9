"""Which call of AWS a request is: its service, operation, IAM action and resource, read off the wire.

Only what this system's functions speak is named; an unknown request keeps its method and path, so that a
test comparing calls with policies fails on it rather than passes over it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/[^/]*/[^/]*/([^/]+)/")

# Of one bucket or one object by (method, the query's word that decides); "" decides where no word does.
_BUCKET = {
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "versions"): "ListObjectVersions",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "notification"): "GetBucketNotificationConfiguration",
    ("PUT", "notification"): "PutBucketNotificationConfiguration",
    ("PUT", "versioning"): "PutBucketVersioning",
    ("POST", "delete"): "DeleteObjects",
    ("GET", ""): "ListObjects",
    ("HEAD", ""): "HeadBucket",
    ("PUT", ""): "CreateBucket",
    ("DELETE", ""): "DeleteBucket",
}
_OBJECT = {
    ("GET", "uploadId"): "ListParts",
    ("GET", "tagging"): "GetObjectTagging",
    ("GET", "attributes"): "GetObjectAttributes",
    ("PUT", "tagging"): "PutObjectTagging",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
    ("PUT", ""): "PutObject",
    ("DELETE", ""): "DeleteObject",
}
_LAMBDA = (
    ("GET", r"/event-source-mappings/?", "ListEventSourceMappings"),
    ("POST", r"/event-source-mappings/?", "CreateEventSourceMapping"),
    ("GET", r"/event-source-mappings/([^/]+)", "GetEventSourceMapping"),
    ("PUT", r"/event-source-mappings/([^/]+)", "UpdateEventSourceMapping"),
    ("DELETE", r"/event-source-mappings/([^/]+)", "DeleteEventSourceMapping"),
    ("POST", r"/functions/([^/]+)/invocations", "Invoke"),
    ("GET", r"/functions/?", "ListFunctions"),
    ("POST", r"/functions/?", "CreateFunction"),
    ("GET", r"/functions/([^/]+)", "GetFunction"),
    ("DELETE", r"/functions/([^/]+)", "DeleteFunction"),
    ("GET", r"/functions/([^/]+)/configuration", "GetFunctionConfiguration"),
    ("PUT", r"/functions/([^/]+)/configuration", "UpdateFunctionConfiguration"),
    ("PUT", r"/functions/([^/]+)/concurrency", "PutFunctionConcurrency"),
)
_SERVICES = {"monitoring": "cloudwatch", "s3express": "s3"}
"""Names in signatures that differ from boto3's names of clients."""

# An operation is its own IAM action but for these.
_ACTIONS = {
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:PutBucketNotificationConfiguration": "s3:PutBucketNotification",
    "s3:UploadPart": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "lambda:Invoke": "lambda:InvokeFunction",
}
_VERSIONED = {"GetObject", "HeadObject", "DeleteObject"}


class Call(NamedTuple):
    """One call of AWS: who made it (an access key), what it was, and on what."""

    caller: str
    service: str
    operation: str
    action: str
    resource: str


def name_call(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Call:
    """The call that a request makes; header names are lower case, ``body`` may be its beginning only."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    signed = _CREDENTIAL.search(headers.get("authorization", "")) or _CREDENTIAL.search(
        "Credential=" + query.get("X-Amz-Credential", "")
    )
    caller, service = (signed[1], _SERVICES.get(signed[2], signed[2])) if signed else ("", "")
    if "x-amz-target" in headers:
        operation, resource = headers["x-amz-target"].rpartition(".")[2], _named_in_json(service, body)
    elif service == "s3":
        operation, resource = _s3(method, unquote(parts.path), query, headers)
    elif service == "lambda":
        operation, resource = _lambda(method, unquote(parts.path))
    else:
        operation, resource = _query_protocol(method, parts.path, query, body)
    action = f"{service}:{operation}"
    action = _ACTIONS.get(action, action)
    if service == "s3" and operation in _VERSIONED and "versionId" in query:
        action += "Version"
    return Call(caller, service, operation, action, resource)


def _s3(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    bucket, _, key = path.lstrip("/").partition("/")
    if not bucket:
        return ("ListBuckets" if method == "GET" else f"{method} /"), ""
    known = _OBJECT if key else _BUCKET
    word = next((word for verb, word in known if verb == method and word and word in query), "")
    operation = known.get((method, word), f"{method} {path}")
    if "x-amz-copy-source" in headers:
        operation = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}.get(operation, operation)
    if not key and query.get("prefix"):
        return operation, f"{bucket}/{query['prefix']}"
    return operation, f"{bucket}/{key}" if key else bucket


def _lambda(method: str, path: str) -> tuple[str, str]:
    inner = re.sub(r"^/\d{4}-\d\d-\d\d", "", path)
    for verb, pattern, operation in _LAMBDA:
        if verb == method and (found := re.fullmatch(pattern, inner)):
            return operation, found[1] if found.groups() else ""
    return f"{method} {path}", ""


def _query_protocol(method: str, path: str, query: Mapping[str, str], body: bytes) -> tuple[str, str]:
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    fields = {**query, **form}
    resource = fields.get("QueueUrl", "").rpartition("/")[2] or fields.get("TopicArn", "")
    # CloudWatch's and others' RPC over CBOR has the operation in the path.
    named = re.search(r"/operation/(\w+)$", path)
    return fields.get("Action") or (named[1] if named else f"{method} {path}"), resource


def _named_in_json(service: str, body: bytes) -> str:
    fields = _members(body)
    if service == "glue":
        inner = fields.get("TableInput", fields.get("DatabaseInput"))
        name = fields.get("Name") or (inner.get("Name") if isinstance(inner, dict) else "")
        return "/".join(str(part) for part in (fields.get("DatabaseName"), name) if part)
    if queue := fields.get("QueueUrl"):
        return str(queue).rpartition("/")[2]
    if isinstance(entries := fields.get("Entries"), list) and entries and isinstance(entries[0], dict):
        return str(entries[0].get("EventBusName") or "default")
    names = (
        "TableName",
        "QueueName",
        "SecretId",
        "KeyId",
        "Name",
        "logGroupName",
        "WorkGroup",
        "stateMachineArn",
    )
    return next((str(fields[name]) for name in names if fields.get(name)), "")


def _members(body: bytes) -> dict[str, object]:
    """The members of a JSON body; of one that is cut off, its texts as far as they can be read."""
    try:
        read = json.loads(body)
    except ValueError:
        text = body.decode("utf-8", "replace")
        return dict(re.findall(r'"(QueueUrl|TableName|DatabaseName|Name)":\s*"([^"]*)"', text))
    return read if isinstance(read, dict) else {}
