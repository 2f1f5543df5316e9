"""A deployment on the emulator: what stands there after apply, and what a change changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import keys
from tests.terraform.conftest import SOURCES
from tests.terraform.workspace import Workspace, of_type

pytestmark = pytest.mark.timeout(300)

State = dict[str, dict[str, Any]]
Client = Callable[[str], Any]
BUCKET = "trial-one-000000000000-eu-central-1"

NAMES = {
    "aws_s3_bucket": "bucket",
    "aws_sqs_queue": "name",
    "aws_lambda_function": "function_name",
    "aws_iam_role": "name",
    "aws_iam_role_policy": "name",
    "aws_dynamodb_table": "name",
    "aws_glue_catalog_database": "name",
    "aws_athena_workgroup": "name",
    "aws_athena_named_query": "name",
    "aws_cloudwatch_log_group": "name",
    "aws_cloudwatch_metric_alarm": "alarm_name",
    "aws_cloudwatch_dashboard": "dashboard_name",
    "aws_cloudwatch_event_rule": "name",
    "aws_scheduler_schedule": "name",
    "aws_scheduler_schedule_group": "name",
    "aws_sns_topic": "name",
    "aws_budgets_budget": "name",
}


def events(notes: Path, handler: str, count: int = 1) -> list[dict[str, Any]]:
    """The events that a handler noted, as soon as there are so many."""
    deadline = time.monotonic() + 20
    while True:
        lines = notes.read_text().splitlines() if notes.exists() else []
        found = [line["event"] for line in map(json.loads, lines) if line["handler"] == handler]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_every_name_begins_with_the_name(state: State):
    for kind, field in NAMES.items():
        found = of_type(state, kind)
        assert found, kind
        for address, values in found.items():
            name = values[field].removeprefix("/aws/lambda/")
            assert name.startswith(("trial-one", "trial_one")), address


def test_a_second_plan_changes_nothing(deployed: Workspace):
    assert not deployed.unchanged()


def test_the_bucket_is_closed_and_versioned(state: State, client: Client):
    s3 = client("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values()) == {True}
    [rule] = s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]["Rules"]
    assert rule["ObjectOwnership"] == "BucketOwnerEnforced"
    encryption = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]
    assert encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    assert state["aws_s3_bucket.lake"]["force_destroy"] is False


def test_each_folder_is_kept_as_long_as_it_is_needed(state: State, client: Client):
    assert state
    rules = client("s3").get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    kept = {rule["ID"]: rule.get("Expiration", {}).get("Days") for rule in rules}
    old = {rule["ID"]: rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays") for rule in rules}
    forever = ["keywords", "lists", "runs", "unfinished", "backlog", "conduct", "robots", "sources", "tables"]
    assert {folder: days for folder, days in kept.items() if days} == {"staging": 45, "athena": 7, "raw": 30}
    assert {folder for folder, days in old.items() if days == 45} == {"keywords", "lists"}
    assert {folder for folder, days in old.items() if days == 7} == {
        *forever,
        "staging",
        "athena",
        "packages",
        "raw",
    } - {"keywords", "lists"}
    [abandoned] = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
    assert abandoned["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7


def test_queues_hold_messages_as_long_as_their_function_may_need(state: State):
    work = {
        name: state[f'aws_sqs_queue.work["{name}"]']
        for name in ("keywords", "results", "fetch-practice_page", "fetch-brave")
    }
    assert {name: values["visibility_timeout_seconds"] for name, values in work.items()} == {
        "keywords": 6 * 900,
        "results": 6 * 300 + 60,
        "fetch-practice_page": 6 * 120,
        "fetch-brave": 6 * 300,
    }
    for name, values in work.items():
        dead = state[f'aws_sqs_queue.dead["{name}"]']
        assert values["message_retention_seconds"] == 10 * 86400
        assert dead["message_retention_seconds"] == 14 * 86400
        assert json.loads(values["redrive_policy"]) == {
            "deadLetterTargetArn": dead["arn"],
            "maxReceiveCount": 5,
        }
        assert json.loads(dead["redrive_allow_policy"])["sourceQueueArns"] == [values["arn"]]


def test_one_lane_works_and_conduct_knows_them_all(state: State):
    mappings = of_type(state, "aws_lambda_event_source_mapping")
    for values in mappings.values():
        assert values["function_response_types"] == ["ReportBatchItemFailures"]
    lanes = [mappings[f'aws_lambda_event_source_mapping.fetch["practice_page-{lane}"]'] for lane in range(3)]
    assert [values["enabled"] for values in lanes] == [True, False, False]
    assert lanes[0]["scaling_config"] == [{"maximum_concurrency": 2}]
    brave = mappings['aws_lambda_event_source_mapping.fetch["brave-0"]']
    assert brave["scaling_config"] == [{"maximum_concurrency": 4}]
    aggregate = mappings["aws_lambda_event_source_mapping.aggregate"]
    assert (aggregate["batch_size"], aggregate["maximum_batching_window_in_seconds"]) == (1000, 60)

    [settings] = state["module.conduct.aws_lambda_function.this"]["environment"]
    assert json.loads(settings["variables"]["SERPLINE_MAPPINGS"]) == {
        "practice_page": [values["uuid"] for values in lanes],
        "brave": [brave["uuid"]],
    }
    # Its 30 minutes begin after the 2 for which a function of it may ask that took a message just then.
    assert settings["variables"]["SERPLINE_LANE_REST_MINUTES"] == "32"


def test_functions_are_told_what_they_need(state: State):
    [settings] = state['module.fetch["brave-0"].aws_lambda_function.this']["environment"]
    told = settings["variables"]
    terms = json.loads(told.pop("SERPLINE_TERMS"))
    told.pop("TRIAL_NOTES")
    assert terms == {
        "practice_page": {
            "rate": 1.5,
            "quota": 5000,
            "burst": 2,
            "concurrency": 2,
            "base_url": "http://127.0.0.1:8650",
        },
        "brave": {"rate": 0.001, "quota": None, "burst": 1, "concurrency": 2, "base_url": ""},
    }
    assert told == {
        "SERPLINE_NAME": "trial-one",
        "SERPLINE_LAKE": f"s3://{BUCKET}",
        "SERPLINE_CONTACT": "crawling@example.com",
        "SERPLINE_SOURCE": "brave",
        "SERPLINE_LANE": "0",
        "SERPLINE_SECRET_ARN_BRAVE_API_KEY": SOURCES["brave"]["secrets"]["BRAVE_API_KEY"],
        "SERPLINE_SECRET_ARN_SECOND": SOURCES["brave"]["secrets"]["SECOND"],
    }
    # Workers beside them read the same in the bucket.
    left = state["aws_s3_object.terms"]
    assert (left["key"], json.loads(left["content"])) == (keys.TERMS, terms)
    [shard] = state["module.shard.aws_lambda_function.this"]["environment"]
    assert shard["variables"]["SERPLINE_SOURCE"] == "practice_page"
    assert shard["variables"]["SERPLINE_HORIZON"] == "21600"


def test_only_functions_that_send_to_themselves_may_recurse(state: State):
    found = of_type(state, "aws_lambda_function_recursion_config")
    assert {values["recursive_loop"] for values in found.values()} == {"Allow"}
    assert {values["function_name"] for values in found.values()} == {
        "trial-one-shard",
        "trial-one-fetch-brave-0",
        *(f"trial-one-fetch-practice_page-{lane}" for lane in range(3)),
    }


def test_the_pace_never_expires(state: State, client: Client):
    table = client("dynamodb").describe_table(TableName="trial-one-pace")["Table"]
    assert table["KeySchema"] == [{"AttributeName": "source", "KeyType": "HASH"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    pace = state["aws_dynamodb_table.pace"]
    assert pace["point_in_time_recovery"][0]["enabled"]
    assert not [ttl for ttl in pace["ttl"] if ttl["enabled"]]


def test_a_dropped_file_reaches_the_shard_function(state: State, client: Client, notes: Path):
    assert state
    s3 = client("s3")
    s3.put_object(Bucket=BUCKET, Key="lists/not-an-event.csv", Body=b"a\n")
    s3.put_object(Bucket=BUCKET, Key="keywords/source=brave/a b+c.csv", Body=b"a\n")
    deadline = time.monotonic() + 20
    while True:
        got = events(notes, "lambdas.shard.handler")
        bodies = [json.loads(record["body"]) for event in got for record in event["Records"]]
        keys = [record["s3"]["object"]["key"] for body in bodies for record in body.get("Records", [])]
        if keys or time.monotonic() > deadline:
            break
    assert keys == ["keywords/source%3Dbrave/a+b%2Bc.csv"]


def test_the_tables_were_asked_for_once(state: State, notes: Path):
    invocation = state["aws_lambda_invocation.tables"]
    assert invocation["lifecycle_scope"] == "CRUD"
    asked = [event for event in events(notes, "lambdas.compact.handler") if event["action"] == "tables"]
    assert asked[0]["tf"]["action"] == "create"
    assert len(asked[0]["package"]) == 44


def test_a_lane_that_conduct_switched_stays_switched(deployed: Workspace, state: State, client: Client):
    awslambda = client("lambda")
    first, second = (
        state[f'aws_lambda_event_source_mapping.fetch["practice_page-{lane}"]']["uuid"] for lane in (0, 1)
    )
    awslambda.update_event_source_mapping(UUID=first, Enabled=False)
    awslambda.update_event_source_mapping(UUID=second, Enabled=True)

    assert not deployed.unchanged()


def test_schedules_send_what_the_functions_read(state: State):
    turns = {
        name: state[f'aws_scheduler_schedule.turn["{name}"]'] for name in ("compact", "ledger", "conduct")
    }
    assert {
        name: (values["schedule_expression"], values["target"][0]["input"]) for name, values in turns.items()
    } == {
        "compact": ("rate(1 hour)", '{"action":"compact"}'),
        "ledger": ("rate(5 minutes)", '{"action":"ledger"}'),
        "conduct": ("rate(1 minute)", '{"action":"conduct"}'),
    }
    daily = state['aws_scheduler_schedule.list["daily"]']
    text = daily["target"][0]["input"]
    assert "<aws.scheduler.scheduled-time>" in text  # as it stands: Scheduler looks for these very letters
    assert json.loads(text) == {
        "key": "lists/brand words.csv",
        "drop": "<aws.scheduler.scheduled-time>",
        "source": "brave",
        "pages": 2,
        "spread": "6h",
    }
    assert daily["target"][0]["dead_letter_config"][0]["arn"].endswith(":trial-one-keywords-dead")


def test_athena_is_held_to_the_workgroup(state: State):
    [settings] = state["aws_athena_workgroup.this"]["configuration"]
    assert settings["enforce_workgroup_configuration"]
    assert settings["bytes_scanned_cutoff_per_query"] == 10_000_000_000
    assert settings["result_configuration"][0]["output_location"] == f"s3://{BUCKET}/athena/"
    assert settings["engine_version"][0]["selected_engine_version"] == "Athena engine version 3"


def test_alarms_watch_every_queue_and_function(state: State):
    alarms = {
        values["alarm_name"]: values for values in of_type(state, "aws_cloudwatch_metric_alarm").values()
    }
    for queue in ("keywords", "results", "fetch-practice_page", "fetch-brave"):
        assert alarms[f"trial-one-{queue}-dead"]["dimensions"] == {"QueueName": f"trial-one-{queue}-dead"}
        assert alarms[f"trial-one-{queue}-oldest"]["dimensions"] == {"QueueName": f"trial-one-{queue}"}
    for values in of_type(state, "aws_lambda_function").values():
        assert f"{values['function_name']}-errors" in alarms
        assert f"{values['function_name']}-throttles" in alarms
    for values in alarms.values():
        assert values["alarm_actions"] == [state["aws_sns_topic.notices"]["arn"]]
        assert values["alarm_description"]
        assert values["treat_missing_data"] == "notBreaching"
    # A page in a quarter of an hour is too few for an hour without one to mean anything.
    assert "trial-one-practice_page-stalled" in alarms
    assert "trial-one-brave-stalled" not in alarms
    asked = alarms["trial-one-practice_page-stalled"]["metric_query"]
    ids = {query["id"] for query in asked}
    assert ids == {"stalled", "zero", "waiting", "delayed", "committed", "closed"}
    assert [query["id"] for query in asked if query["return_data"]] == ["stalled"]


def test_a_source_of_a_few_pages_a_day_can_alarm_of_drift(state: State):
    """An hour wants 20 pages, a day five: a slow engine that changed, or a short list, is seen too."""
    alarms = {
        values["alarm_name"]: values for values in of_type(state, "aws_cloudwatch_metric_alarm").values()
    }
    for source in ("practice_page", "brave"):
        for name, seconds, least in (("drift", 3_600, 20), ("drift-day", 86_400, 5)):
            alarm = alarms[f"trial-one-{source}-{name}"]
            asked = {query["id"]: query for query in alarm["metric_query"]}
            assert f"SUM([ok, unreadable]) >= {least}," in asked["share"]["expression"]
            for metric in ("ok", "unreadable"):
                [wanted] = asked[metric]["metric"]
                assert wanted["period"] == seconds
                assert wanted["metric_name"] == f"pages_{metric}"
                assert wanted["dimensions"] == {"stage": "fetch", "source": source}
            # CloudWatch looks back a day at most where a period is an hour or longer.
            assert alarm["evaluation_periods"] * seconds <= 86_400
            # One page that cannot be read is no change of the engine's, where five are needed.
            assert alarm["threshold"] >= 100 / 5


def test_the_dashboard_names_what_there_is(state: State):
    body = json.loads(state["aws_cloudwatch_dashboard.this"]["dashboard_body"])
    text = json.dumps(body)
    for values in of_type(state, "aws_lambda_function").values():
        assert values["function_name"] in text
    for values in of_type(state, "aws_sqs_queue").values():
        assert values["name"] in text
    assert "Serpline/trial-one" in text


def test_a_complete_run_is_told(state: State):
    rule = state["aws_cloudwatch_event_rule.run_complete"]
    assert json.loads(rule["event_pattern"]) == {
        "source": ["serpline"],
        "detail-type": ["Run complete"],
        "detail": {"name": ["trial-one"]},
    }
    assert state["aws_cloudwatch_event_target.run_complete"]["arn"] == state["aws_sns_topic.notices"]["arn"]


def test_the_outputs_say_what_comes_next(deployed: Workspace):
    outputs = deployed.outputs()
    assert outputs["bucket"] == BUCKET
    assert f"export SERPLINE_LAKE=s3://{BUCKET} SERPLINE_NAME=trial-one" in outputs["next_steps"]
    assert "serpline submit" in outputs["next_steps"]
    assert set(outputs["queue_urls"]) == {"keywords", "results", "fetch-practice_page", "fetch-brave"}
    seen = outputs["highest_request_rate"]["practice_page"]
    assert seen["in_any_second"] == 4  # 1.5 · (1 + 0.5) + 2
    assert seen["in_any_minute"] == 92  # 1.5 · (60 + 0.5) + 2
    assert "4 requests in any second" in seen["words"]


def test_a_change_is_made_in_place(deployed: Workspace, settings: dict[str, Any]):
    """A new rate and retention replace nothing, and the functions are told."""
    sources = {**SOURCES, "brave": {**SOURCES["brave"], "rate": 0.0005}}
    planned = deployed.plan(sources=sources, log_retention_days=60)
    replaced = [
        change["address"]
        for change in planned["resource_changes"]
        if change["change"]["actions"] not in (["no-op"], ["update"], ["read"])
    ]
    assert not replaced

    state = deployed.apply(sources=sources, log_retention_days=60)

    [told] = state["module.shard.aws_lambda_function.this"]["environment"]
    assert json.loads(told["variables"]["SERPLINE_TERMS"])["brave"]["rate"] == 0.0005
    assert {
        values["retention_in_days"] for values in of_type(state, "aws_cloudwatch_log_group").values()
    } == {60}
    deployed.apply(sources=settings["sources"], log_retention_days=30)
    assert not deployed.unchanged()


def test_a_new_package_migrates_the_tables_in_place(
    deployed: Workspace, notes: Path, tmp_path: Path, settings: dict[str, Any]
):
    """The function is asked to update, never to delete and create: that would drop the tables for a while."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in Path(settings["packages"]).iterdir():
        (packages / package.name).write_bytes(package.read_bytes() + b"\n")
    before = len(events(notes, "lambdas.compact.handler"))

    deployed.apply(packages=str(packages))

    asked = [
        event for event in events(notes, "lambdas.compact.handler", before + 1)[before:] if "tf" in event
    ]
    assert [event["tf"]["action"] for event in asked] == ["update"]
