"""A small function in a zip of its own, for tests of the emulator itself: events tell it what to do."""

from __future__ import annotations

import io
import zipfile

BOOTSTRAP = '#!/bin/sh\nexec "${SERPLINE_PYTHON:-python3}" -m awslambdaric "$_HANDLER"\n'

HANDLER = """\
import json, logging, os, time
import boto3

logging.getLogger().setLevel("INFO")

def handler(event, context):
    if "Records" not in event:
        if "sleep" in event:
            time.sleep(event["sleep"])
        if "raise" in event:
            raise KeyError(event["raise"])
        logging.info("asked for %s", sorted(event))
        if "put" in event:
            boto3.client("s3").put_object(Bucket=event["put"], Key="from/function", Body=b"x")
        return {"env": dict(os.environ), "left": context.get_remaining_time_in_millis(),
                "path": boto3.__file__, "memory": context.memory_limit_in_mb}
    failures = [r["messageId"] for r in event["Records"] if json.loads(r["body"]).get("fail")]
    return {"batchItemFailures": [{"itemIdentifier": id} for id in failures]}
"""


def dummy_zip() -> bytes:
    """The package, as a local one is built."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text, mode in (("bootstrap", BOOTSTRAP, 0o755), ("dummy.py", HANDLER, 0o644)):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, text)
    return made.getvalue()
