"""botocore's errors as ours: the one place that knows what AWS's codes mean.

Every call to AWS stands inside ``translated``. What is part of a call's normal life (a key that is
missing, a condition that failed) is caught by the caller inside it, by ``code_of``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import Misuse, PipelineError, Retryable, Unavailable

LONGEST = 400
"""Characters of AWS's own text that are repeated: a refused signature comes with a page of them."""

_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "AuthorizationError",
    "Forbidden",
    "LakeFormationAccessDeniedException",
    "UnauthorizedOperation",
    "403",  # S3's answer to a HEAD has no body, and so no name
}
_IDENTITY = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotSignedUp",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
_MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "NonExistentQueue",
    "NoSuchBucket",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
}
_ELSEWHERE = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "301",
}
_BUSY = {
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServiceException",
    "LimitExceededException",
    "OperationAborted",
    "OverLimit",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "TooManyRequestsException",
    "TransactionInProgressException",
}
_MISCONFIGURED = (
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.InvalidConfigError,
    boto.InvalidRegionError,
    boto.NoCredentialsError,
    boto.NoRegionError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.UnknownRegionError,
)
_SIGNED_OUT = (boto.LoginError, boto.NoAuthTokenError, boto.SSOError, boto.TokenRetrievalError)
_NO_ANSWER = (
    boto.ChecksumError,
    boto.ConnectionError,
    boto.CredentialRetrievalError,
    boto.FlexibleChecksumError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.MetadataRetrievalError,
)


@contextmanager
def translated(unavailable: type[Unavailable], what: str) -> Iterator[None]:
    """Raise botocore's errors as ours; ``what`` is the thing asked, as in ``the queue serpline-results``.

    A service that does not answer, is busy, or does not let us in is ``unavailable``: a missing grant or an
    expired login is the operator's to mend, and until then every message waits where it is and none is
    buried for it. ``Misuse`` is what no waiting mends: no credentials at all, no such queue or bucket,
    another region. Anything else is ``Retryable``, so that it is counted and ends in a dead-letter queue.
    """
    try:
        yield
    except ClientError as error:
        raise error_of(code_of(error), _status(error), str(error), unavailable, what) from error
    except BotoCoreError as error:
        raise _of_the_client(error, unavailable, what) from error


def code_of(error: ClientError) -> str:
    """AWS's name for what happened, such as ``NoSuchKey`` or ``ConditionalCheckFailedException``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_of(code: str, status: int, said: str, unavailable: type[Unavailable], what: str) -> PipelineError:
    """Our error for a code of AWS's; for answers that carry codes inside, as a batch's entries do."""
    said = _one_line(said)
    if code in _DENIED or code.upper().startswith("KMS"):
        return unavailable(
            f"{what} does not let this role or user in ({said}): grant it in IAM, and where KMS encrypts see "
            "the key and its policy; what is queued waits until then"
        )
    if code in _IDENTITY:
        return unavailable(
            f"{what} did not accept the credentials ({said}): sign in again, or see that the keys, "
            "the account and this machine's clock are right"
        )
    if code in _MISSING:
        return Misuse(f"{what} does not exist ({said}): is this the name and region of `terraform apply`?")
    if code in _ELSEWHERE:
        return Misuse(f"{what} is in another region ({said}): set AWS_REGION to the one it was made in")
    if code in _BUSY or "Throttl" in code or status == 429 or status >= 500:
        return unavailable(f"{what} is busy or throttled ({said}): try again in a moment")
    return Retryable(f"{what} refused the call ({said})")


def _of_the_client(error: BotoCoreError, unavailable: type[Unavailable], what: str) -> PipelineError:
    said = _one_line(f"{type(error).__name__}: {error}")
    if isinstance(error, _MISCONFIGURED):
        return Misuse(
            f"{what} cannot be asked ({said}): give a region and credentials, by `aws configure`, "
            "AWS_PROFILE or a role"
        )
    if isinstance(error, _SIGNED_OUT):
        return unavailable(f"{what} cannot be asked ({said}): sign in again, for example by `aws sso login`")
    if isinstance(error, _NO_ANSWER):
        return unavailable(
            f"{what} did not answer ({said}): see that this machine reaches AWS and that the region "
            "is right; try again in a moment"
        )
    return Retryable(f"{what} could not be asked ({said})")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
