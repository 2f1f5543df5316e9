"""One queue of AWS's SQS, call by call: what a message may be, how it is sent, how an answer is read.

The limits are AWS's own:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html and, for
characters, https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, error_of, translated
from pipeline.errors import QueueUnavailable
from pipeline.queues.protocol import Depth, Received

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        MessageAttributeValueTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

MOST = 10
"""Messages in one call, sent or received."""
LARGEST = 1 << 20
"""Bytes of one message with its attributes, and of all the bodies in one call."""
LONGEST_WAIT = 20
"""Seconds of one long poll."""
LONGEST_GROUP = 128
LONGEST_REASON = 2000
"""Bytes of a reason that are kept; ours, not AWS's."""
REASON = "reason"
"""The message attribute that says why a message was buried."""
REASON_COSTS = len(REASON) + len("String")
TRIES = 5
"""How often a part of a batch that SQS did not take is sent."""
PAUSE = 0.1
"""Seconds before it is sent again, twice as long each time."""

_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_IN_GROUPS = re.compile("[^!-~]")
_STALE = ("ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue", "InvalidIdFormat")
"""How SQS, or one that plays it, says that somebody else has the message or nobody any more."""


class SqsReceipt(msgspec.Struct, frozen=True):
    """What SQS calls this delivery and its message, and why the message was buried if it was."""

    handle: str
    message_id: str
    reason: str = ""


class SqsWire:
    """The calls on one queue, whose URL is asked for when it is needed and then known."""

    def __init__(self, client: SQSClient, name: str, find: Callable[[str], str]) -> None:
        self.name = name
        self.what = f"the queue {name}"
        self._client = client
        self._find = find
        self._found: str | None = None

    @property
    def url(self) -> str:
        """Where the queue is."""
        if self._found is None:
            self._found = self._find(self.name)
        return self._found

    def send(self, bodies: Sequence[bytes], *, delay: int, group: str) -> None:
        """Store the bodies. ``ValueError``, before any is stored, for one that SQS cannot carry."""
        for entries in _calls([text_of(body) for body in bodies], delay, group):
            self._store(entries)

    def send_buried(self, body: bytes, reason: str) -> None:
        """Store one body with the reason beside it, as much of it as there is room for."""
        text = text_of(body)
        room = min(LONGEST_REASON, LARGEST - len(text.encode()) - REASON_COSTS)
        kept = _REFUSED.sub(" ", reason).encode()[: max(0, room)].decode(errors="ignore")
        attributes: dict[str, MessageAttributeValueTypeDef] = {}
        if kept:
            attributes[REASON] = {"DataType": "String", "StringValue": kept}
        url = self.url
        with translated(QueueUnavailable, self.what):
            self._client.send_message(QueueUrl=url, MessageBody=text, MessageAttributes=attributes)

    def draw(self, most: int, wait: int, visibility: int | None) -> list[Received]:
        """What one call gives."""
        url = self.url
        hidden = {} if visibility is None else {"VisibilityTimeout": visibility}
        with translated(QueueUnavailable, self.what):
            answer = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(MOST, most),
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=[REASON],
                **hidden,  # type: ignore[arg-type]  # a number or nothing
            )
        return [_received(message) for message in answer.get("Messages", [])]

    def forget(self, handle: str) -> None:
        """Delete the message of this delivery, if this delivery still stands for it."""
        url = self.url
        with translated(QueueUnavailable, self.what):
            try:
                self._client.delete_message(QueueUrl=url, ReceiptHandle=handle)
            except ClientError as error:
                if not _is_stale(error):
                    raise

    def show(self, handle: str, after: int) -> None:
        """Let the message be delivered again after so many seconds, if this delivery still has it."""
        url = self.url
        with translated(QueueUnavailable, self.what):
            try:
                self._client.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=after
                )
            except ClientError as error:
                if not _is_stale(error):
                    raise

    def depth(self) -> Depth:
        """What SQS believes; it may lag by a minute."""
        url = self.url
        with translated(QueueUnavailable, self.what):
            answer = self._client.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesDelayed",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )
        count = answer["Attributes"]
        visible, delayed = count["ApproximateNumberOfMessages"], count["ApproximateNumberOfMessagesDelayed"]
        return Depth(int(visible) + int(delayed), int(count["ApproximateNumberOfMessagesNotVisible"]))

    def _store(self, entries: Sequence[SendMessageBatchRequestEntryTypeDef]) -> None:
        url = self.url
        pause = PAUSE
        for attempt in range(1, TRIES + 1):
            with translated(QueueUnavailable, self.what):
                failed = self._client.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", [])
            if not failed:
                return
            for one in failed:
                if one["SenderFault"]:
                    said = f"{one['Code']}: {one.get('Message', '')}"
                    raise error_of(one["Code"], 400, said, QueueUnavailable, self.what)
            lost = {one["Id"] for one in failed}
            entries = [entry for entry in entries if entry["Id"] in lost]
            if attempt < TRIES:
                time.sleep(pause)
                pause *= 2
        raise QueueUnavailable(
            f"{self.what} did not take {len(entries)} messages in {TRIES} attempts: try again in a moment"
        )


def text_of(body: bytes) -> str:
    """A JSON text as SQS carries it: the characters it refuses are written as JSON escapes.

    The content stays equal: in JSON such a character can stand nowhere but inside a string.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValueError("SQS carries JSON text in UTF-8 and no other bytes") from error
    text = _REFUSED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if not text or len(text) > LARGEST or len(text.encode()) > LARGEST:
        raise ValueError(
            f"SQS carries 1 to {LARGEST} bytes: keep larger things in the storage, send a pointer"
        )
    return text


def whole(seconds: float) -> int:
    """Seconds as SQS takes them: nothing is given before its time."""
    return math.ceil(seconds)


def _calls(
    texts: Sequence[str], delay: int, group: str
) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    entries: list[SendMessageBatchRequestEntryTypeDef] = []
    size = 0
    for text in texts:
        length = len(text.encode())
        if entries and (len(entries) == MOST or size + length > LARGEST):
            yield entries
            entries, size = [], 0
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": str(len(entries)),
            "MessageBody": text,
            "DelaySeconds": delay,
        }
        if group:
            # A group is there for fairness: an odd name must not keep the message from being sent.
            entry["MessageGroupId"] = _NOT_IN_GROUPS.sub("_", group)[:LONGEST_GROUP]
        entries.append(entry)
        size += length
    if entries:
        yield entries


def _received(message: MessageTypeDef) -> Received:
    attributes = message.get("Attributes", {})
    beside = message.get("MessageAttributes", {})
    reason = beside[REASON].get("StringValue", "") if REASON in beside else ""
    return Received(
        message["Body"].encode(),
        int(attributes.get("ApproximateReceiveCount", "1")),
        SqsReceipt(message["ReceiptHandle"], message["MessageId"], reason),
        int(attributes.get("SentTimestamp", "0")) / 1000,
    )


def _is_stale(error: ClientError) -> bool:
    return code_of(error).rpartition(".")[2] in _STALE
