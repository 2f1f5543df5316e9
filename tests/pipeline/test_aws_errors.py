"""botocore's errors as ours: which are waited for, which are somebody's to mend, and what they say."""

from __future__ import annotations

import boto3
import pytest
from botocore import exceptions as boto
from botocore.config import Config
from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import (
    Misuse,
    Permanent,
    PipelineError,
    QueueUnavailable,
    Retryable,
    StorageUnavailable,
    Unavailable,
)
from tests.servers import free_port


def answer(code: str, status: int = 400, message: str = "said AWS") -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "SendMessage")  # type: ignore[arg-type]


def become(error: Exception) -> PipelineError:
    with pytest.raises(PipelineError) as caught, translated(QueueUnavailable, "the queue t-results"):
        raise error
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the queue t-results ")
    return caught.value


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (answer("AccessDenied", 403), "grant it in IAM"),
        (answer("AccessDeniedException"), "grant it in IAM"),
        (answer("403", 403), "grant it in IAM"),
        (answer("KmsAccessDenied"), "the key and its policy"),
        (answer("KMS.DisabledException"), "the key and its policy"),
        (answer("ExpiredToken", 403), "sign in again"),
        (answer("InvalidClientTokenId", 403), "sign in again"),
        (answer("RequestTimeTooSkewed", 403), "clock"),
        (answer("RequestThrottled"), "in a moment"),
        (answer("ThrottlingException"), "in a moment"),
        (answer("ProvisionedThroughputExceededException"), "in a moment"),
        (answer("SlowDown", 503), "in a moment"),
        (answer("SomethingNew", 500), "in a moment"),
        (answer("SomethingNew", 429), "in a moment"),
        (boto.EndpointConnectionError(endpoint_url="http://x"), "reaches AWS"),
        (boto.ReadTimeoutError(endpoint_url="http://x"), "reaches AWS"),
        (boto.CredentialRetrievalError(provider="x", error_msg="y"), "reaches AWS"),
        (boto.TokenRetrievalError(provider="x", error_msg="y"), "aws sso login"),
        (boto.UnauthorizedSSOTokenError(), "aws sso login"),
    ],
)
def test_what_may_be_well_again_is_waited_for(error: Exception, advice: str):
    """No message is buried for a service that is away, busy, or closed to us."""
    became = become(error)
    assert type(became) is QueueUnavailable
    assert advice in str(became)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (answer("AWS.SimpleQueueService.NonExistentQueue"), "terraform apply"),
        (answer("QueueDoesNotExist"), "terraform apply"),
        (answer("NoSuchBucket", 404), "terraform apply"),
        (answer("ResourceNotFoundException"), "terraform apply"),
        (answer("PermanentRedirect", 301), "another region"),
        (answer("AuthorizationHeaderMalformed"), "another region"),
        (boto.NoCredentialsError(), "AWS_PROFILE"),
        (boto.ProfileNotFound(profile="x"), "AWS_PROFILE"),
        (boto.NoRegionError(env_var="x", service_name="sqs"), "region"),
    ],
)
def test_what_no_waiting_mends_is_misuse(error: Exception, advice: str):
    became = become(error)
    assert type(became) is Misuse
    assert advice in str(became)


@pytest.mark.parametrize(
    "error",
    [answer("InvalidParameterValue"), boto.ParamValidationError(report="x"), answer("ValidationException")],
)
def test_anything_else_is_counted_and_ends(error: Exception):
    """A call that AWS refuses is tried as often as a message is delivered, and not for ever."""
    became = become(error)
    assert isinstance(became, Retryable)
    assert not isinstance(became, Permanent | Unavailable)


def test_a_page_of_explanations_becomes_a_line():
    became = become(answer("SignatureDoesNotMatch", 403, "canonical\nstring\n" * 1000))
    assert "canonical string" in str(became)
    assert len(str(became)) < 700


def test_the_class_is_the_callers_and_other_errors_pass():
    with pytest.raises(StorageUnavailable), translated(StorageUnavailable, "the bucket"):
        raise answer("SlowDown", 503)
    with pytest.raises(KeyError), translated(StorageUnavailable, "the bucket"):
        raise KeyError


def test_what_a_caller_expects_it_catches_inside():
    caught = ""
    with translated(StorageUnavailable, "the bucket"):
        try:
            raise answer("NoSuchKey", 404)
        except ClientError as error:
            caught = code_of(error)
    assert caught == "NoSuchKey"


def test_nobody_listening():
    """A real client, a real refused connection."""
    client = boto3.client(
        "sqs",
        region_name="eu-central-1",
        endpoint_url=f"http://127.0.0.1:{free_port()}",
        aws_access_key_id="x",
        aws_secret_access_key="s3cret",  # noqa: S106
        config=Config(retries={"total_max_attempts": 1}),
    )
    with (
        pytest.raises(QueueUnavailable, match=r"127\.0\.0\.1") as caught,
        translated(QueueUnavailable, "SQS"),
    ):
        client.list_queues()
    assert "s3cret" not in str(caught.value)
    client.close()
