"""What measures is made only where it is asked for, and can do nothing but measure."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from stages.measure import PATIENCE
from tests.terraform.test_policies import allowed, as_list, statements
from tests.terraform.workspace import ROOT, Workspace, of_type, resources

pytestmark = pytest.mark.timeout(300)

State = dict[str, dict[str, Any]]
BUCKET = "arn:aws:s3:::trial-one-000000000000-eu-central-1"
QUEUE = "arn:aws:sqs:eu-central-1:000000000000:trial-one-probe"


@pytest.fixture(scope="session")
def without(workspace: Workspace, settings: dict[str, Any]) -> State:
    """The deployment that does not measure, as planned."""
    return resources(workspace.plan(**settings)["planned_values"])


@pytest.fixture(scope="session")
def planned(workspace: Workspace, settings: dict[str, Any]) -> dict[str, Any]:
    """The same with three copies of the probe: the whole plan."""
    return workspace.plan(**settings, measure=True, measure_copies=3)


@pytest.fixture(scope="session")
def measuring(planned: dict[str, Any]) -> State:
    return resources(planned["planned_values"])


def known(state: State) -> State:
    """Without policies that only the deployment knows: that of conduct, which names mappings by their ids."""
    return {
        address: values
        for address, values in state.items()
        if "aws_iam_role_policy" not in address or "policy" in values
    }


def test_nothing_of_it_is_made_unless_it_is_asked_for(without: State, measuring: State):
    """Off, there is no trace of it in a plan; on, there is this and nothing else."""
    assert not [address for address in without if "probe" in address or "measure" in address]
    for text in map(json.dumps, without.values()):
        assert "probe" not in text
        assert "measurements" not in text
    function = {
        "aws_cloudwatch_log_group.this",
        "aws_iam_role.this",
        "aws_iam_role_policy.this",
        "aws_lambda_function.this",
        "aws_lambda_function_event_invoke_config.this[0]",
    }
    copies = ("probe", "probe-1", "probe-2")
    assert set(measuring) - set(without) == {
        *(f'module.probe["{copy}"].{address}' for copy in copies for address in function),
        'module.probe["probe"].aws_lambda_function_recursion_config.this[0]',
        "aws_sqs_queue.probe[0]",
        "aws_sqs_queue.probe_dead[0]",
        "aws_lambda_event_source_mapping.probe[0]",
        "aws_scheduler_schedule_group.measure[0]",
        "aws_iam_role.schedule_measure[0]",
        "aws_iam_role_policy.schedule_measure[0]",
    }
    assert set(without) <= set(measuring)


def test_a_deployment_that_never_measured_stays_as_it_was(without: State, measuring: State):
    """Compact is told of measurements, and the bucket keeps a folder for them, only where there are some."""
    told = {
        name: json.loads(state["aws_lambda_invocation.tables"]["input"])
        for name, state in (("without", without), ("with", measuring))
    }
    assert set(told["without"]) == {"action", "package"}
    assert told["with"] == {**told["without"], "measure": True}
    kept = {
        name: {rule["id"] for rule in state["aws_s3_bucket_lifecycle_configuration.lake"]["rule"]}
        for name, state in (("without", without), ("with", measuring))
    }
    assert kept["with"] - kept["without"] == {"measurements"}


def test_a_probe_can_do_nothing_else(measuring: State):
    """It writes below measurements/ and to its log; the first copy has its own queue beside that."""
    roles = allowed(known(measuring))
    for copy in ("probe-1", "probe-2"):
        log = f"arn:aws:logs:eu-central-1:000000000000:log-group:/aws/lambda/trial-one-{copy}:*"
        assert roles[f"trial-one-{copy}"] == {
            "logs:CreateLogStream": {log},
            "logs:PutLogEvents": {log},
            "s3:PutObject": {f"{BUCKET}/measurements/*"},
        }
    first = {action: named for action, named in roles["trial-one-probe"].items() if "logs:" not in action}
    taking = (
        "ChangeMessageVisibility",
        "DeleteMessage",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ReceiveMessage",
    )
    assert first == {
        "s3:PutObject": {f"{BUCKET}/measurements/*"},
        **{f"sqs:{action}": {QUEUE} for action in taking},
        "sqs:SendMessage": {QUEUE},
    }


def test_no_other_role_may_more_than_before(without: State, measuring: State):
    """Measuring opens no door between what runs and what measures."""
    before, after = allowed(known(without)), allowed(known(measuring))
    for role, actions in before.items():
        assert after[role] == actions, role


def test_a_probe_is_told_of_no_engine(measuring: State):
    """Neither sources nor a contact to ask with: its package and its place are all it knows."""
    for copy in ("probe", "probe-1", "probe-2"):
        [settings] = measuring[f'module.probe["{copy}"].aws_lambda_function.this']["environment"]
        assert set(settings["variables"]) - {"TRIAL_NOTES"} == {"SERPLINE_NAME", "SERPLINE_LAKE"}
        assert measuring[f'module.probe["{copy}"].aws_lambda_function.this']["s3_key"] == "packages/light.zip"


def test_the_schedules_of_a_measurement_may_invoke_the_probes_alone(measuring: State):
    """Their role is taken by schedules of their own group, in this account."""
    functions = "arn:aws:lambda:eu-central-1:000000000000:function:trial-one"
    assert allowed(known(measuring))["trial-one-schedule-measure"] == {
        "lambda:InvokeFunction": {f"{functions}-probe", f"{functions}-probe-1", f"{functions}-probe-2"}
    }
    [trust] = statements(measuring["aws_iam_role.schedule_measure[0]"]["assume_role_policy"])
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert as_list(trust["Condition"]["StringEquals"]["aws:SourceAccount"]) == ["000000000000"]
    assert as_list(trust["Condition"]["ArnEquals"]["aws:SourceArn"]) == [
        "arn:aws:scheduler:eu-central-1:000000000000:schedule-group/trial-one-measure"
    ]
    assert measuring["aws_scheduler_schedule_group.measure[0]"]["name"] == "trial-one-measure"


def test_a_tree_is_bounded_and_soon_forgotten(measuring: State):
    """A message a probe, half of an account's usual limit at most; what is given up is gone in an hour."""
    mapping = measuring["aws_lambda_event_source_mapping.probe[0]"]
    assert (mapping["batch_size"], mapping["function_name"]) == (1, "trial-one-probe")
    assert mapping["scaling_config"] == [{"maximum_concurrency": 500}]
    queue = measuring["aws_sqs_queue.probe[0]"]
    assert queue["message_retention_seconds"] == 3600
    timeout = measuring['module.probe["probe"].aws_lambda_function.this']["timeout"]
    assert queue["visibility_timeout_seconds"] == 6 * timeout
    for address in ("aws_sqs_queue.probe[0]", "aws_sqs_queue.probe_dead[0]"):
        [only] = statements(measuring[address]["policy"])
        assert (only["Sid"], only["Effect"]) == ("TlsOnly", "Deny")
    for copy in ("probe", "probe-1", "probe-2"):
        invoked = measuring[f'module.probe["{copy}"].aws_lambda_function_event_invoke_config.this[0]']
        assert invoked["maximum_retry_attempts"] == 0
        # A schedule is a minute late and tries for one more: what Lambda keeps must fit into the rest.
        assert 120 + invoked["maximum_event_age_in_seconds"] < PATIENCE
        assert measuring[f'module.probe["{copy}"].aws_cloudwatch_log_group.this']["retention_in_days"] == 30


def test_one_probe_is_the_least(workspace: Workspace, settings: dict[str, Any]):
    """Without copies, only the function that every experiment has; with a key, its queues use it."""
    made = resources(workspace.plan(**settings, measure=True, encrypt_with_kms=True)["planned_values"])
    functions = of_type(made, "aws_lambda_function")
    assert [address for address in functions if "probe" in address] == [
        'module.probe["probe"].aws_lambda_function.this'
    ]
    assert made["aws_sqs_queue.probe[0]"]["kms_data_key_reuse_period_seconds"] == 3600


def test_the_output_says_what_there_is_to_measure_with(planned: dict[str, Any]):
    told = planned["output_changes"]["measure"]["after"]
    assert told["functions"] == ["trial-one-probe", "trial-one-probe-1", "trial-one-probe-2"]
    assert told["group"] == "trial-one-measure"


def test_the_docs_say_what_each_role_may_do(measuring: State):
    """A row a role and action, in docs/measure.md: each that a policy grants, and no other."""
    page = (ROOT / "docs" / "measure.md").read_text("utf-8")
    documented: dict[str, set[str]] = {}
    for role, actions in re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", page, re.MULTILINE):
        documented.setdefault(role, set()).update(re.findall(r"`(\w+:\w+)`", actions))
    granted = allowed(known(measuring))
    short = {
        "trial-one-probe": "probe",
        "trial-one-probe-1": "probe-1",
        "trial-one-schedule-measure": "schedule-measure",
    }
    for role, name in short.items():
        without_logs = {action for action in granted[role] if not action.startswith("logs:")}
        assert documented[name] == without_logs, name
