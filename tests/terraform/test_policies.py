"""Who may do what: named actions on named things, and nothing of another copy."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.terraform.workspace import INFRA, Workspace, of_type, resources

State = dict[str, dict[str, Any]]

EXCUSED = {"aws_kms_key": "the policy of one key: its resource is that key"}
"""Where the resource "*" stands in a policy, and why."""


def statements(policy: str) -> list[dict[str, Any]]:
    found = json.loads(policy)["Statement"]
    return found if isinstance(found, list) else [found]


def as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def policies(state: State) -> dict[str, str]:
    """Every policy of a state by the address of what carries it."""
    found = {}
    for address, values in state.items():
        for name in ("policy", "assume_role_policy"):
            if isinstance(values.get(name), str) and "Statement" in values[name]:
                found[f"{address}.{name}"] = values[name]
    return found


def allowed(state: State) -> dict[str, dict[str, set[str]]]:
    """What each role may do: its actions, each with what it may be done to."""
    roles: dict[str, dict[str, set[str]]] = {}
    for values in of_type(state, "aws_iam_role_policy").values():
        role = roles.setdefault(values["name"], {})
        for statement in statements(values["policy"]):
            assert statement["Effect"] == "Allow"
            for action in as_list(statement["Action"]):
                role.setdefault(action, set()).update(as_list(statement["Resource"]))
    return roles


@pytest.fixture(scope="session")
def encrypted(workspace: Workspace, settings: dict[str, Any]) -> State:
    """The same deployment with a new key, as planned."""
    planned = workspace.plan(**settings, encrypt_with_kms=True)
    return resources(planned["planned_values"])


def test_no_action_and_no_resource_is_everything(state: State, encrypted: State):
    """Only refusals (of anything that is not TLS) speak of all actions."""
    found = policies(state) | {f"kms {name}": text for name, text in policies(encrypted).items()}
    assert len(found) > 20
    for address, policy in found.items():
        for statement in statements(policy):
            if statement["Effect"] == "Deny":
                continue
            assert "NotAction" not in statement, address
            assert "NotResource" not in statement, address
            for action in as_list(statement["Action"]):
                assert "*" not in action, (address, action)
            for resource in as_list(statement.get("Resource", [])):
                if resource == "*":
                    assert any(f"{kind}." in address for kind in EXCUSED), address
    assert any("aws_kms_key" in address for address in found)


def test_nothing_reaches_another_copy(state: State):
    """Every resource of a role begins with the name, but for the bus and secrets that the operator names."""
    ours = re.compile(
        r"arn:aws:(s3:::trial-one-000000000000-eu-central-1(/[a-z]+/\*)?"
        r"|(sqs|dynamodb|lambda|logs|glue|scheduler):eu-central-1:000000000000:"
        r"(table/|function:|log-group:/aws/lambda/|database/|event-source-mapping:)?(trial.one|catalog$|[0-9a-f-]{36}$).*"
        r"|events:eu-central-1:000000000000:event-bus/default)"
    )
    secrets = ("arn:aws:secretsmanager:", "arn:aws:ssm:")
    for role, actions in allowed(state).items():
        for action, named in actions.items():
            for resource in named:
                assert ours.fullmatch(resource) or resource.startswith(secrets), (role, action, resource)


def test_a_source_may_touch_only_its_own(state: State):
    roles = allowed(state)
    brave = json.dumps({action: sorted(named) for action, named in roles["trial-one-fetch-brave-0"].items()})
    assert "trial-one-fetch-brave" in brave
    assert "practice_page" not in brave
    assert "secretsmanager:GetSecretValue" in roles["trial-one-fetch-brave-0"]
    assert "ssm:GetParameter" in roles["trial-one-fetch-brave-0"]
    assert not {"secretsmanager:GetSecretValue", "ssm:GetParameter"} & set(
        roles["trial-one-fetch-practice_page-0"]
    )
    [pace] = [
        statement
        for statement in statements(
            state['module.fetch["brave-0"].aws_iam_role_policy.this']["policy"],
        )
        if "dynamodb:UpdateItem" in statement["Action"]
    ]
    assert pace["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "brave"}} or pace[
        "Condition"
    ] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["brave"]}}


def test_lanes_may_do_the_same(state: State):
    roles = allowed(state)
    lanes = [
        {
            action: named
            for action, named in roles[f"trial-one-fetch-practice_page-{lane}"].items()
            if "logs" not in action
        }
        for lane in range(3)
    ]
    assert lanes[0] == lanes[1] == lanes[2]


def test_conduct_may_switch_exactly_the_fetch_mappings(state: State):
    mappings = {
        values["arn"]
        for address, values in of_type(state, "aws_lambda_event_source_mapping").items()
        if ".fetch[" in address
    }
    assert len(mappings) == 4
    assert allowed(state)["trial-one-conduct"]["lambda:UpdateEventSourceMapping"] == mappings


def test_every_role_can_write_its_log_and_no_other(state: State):
    for values in of_type(state, "aws_lambda_function").values():
        name = values["function_name"]
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            assert allowed(state)[name][action] == {
                f"arn:aws:logs:eu-central-1:000000000000:log-group:/aws/lambda/{name}:*"
            }


def test_queues_take_only_from_the_bucket_and_the_schedules(state: State):
    for address, values in of_type(state, "aws_sqs_queue").items():
        found = {statement["Sid"]: statement for statement in statements(values["policy"])}
        assert found["TlsOnly"]["Effect"] == "Deny"
        assert set(found) == (
            {"TlsOnly", "BucketSends", "SchedulesSend"}
            if address == 'aws_sqs_queue.work["keywords"]'
            else {"TlsOnly"}
        )
        if "BucketSends" in found:
            condition = json.dumps(found["BucketSends"]["Condition"])
            assert "arn:aws:s3:::trial-one-000000000000-eu-central-1" in condition
            assert "role/trial-one-schedule-lists" in json.dumps(found["SchedulesSend"]["Condition"])


def test_a_key_lets_in_what_sends_and_logs(encrypted: State):
    """S3 to the queue, alarms, events and budgets to the topic, CloudWatch to its logs."""
    policy = encrypted["aws_kms_key.lake[0]"]["policy"]
    services = {
        service
        for statement in statements(policy)
        for service in as_list(statement["Principal"].get("Service", []))
    }
    assert services == {
        "s3.amazonaws.com",
        "cloudwatch.amazonaws.com",
        "events.amazonaws.com",
        "budgets.amazonaws.com",
        "logs.eu-central-1.amazonaws.com",
    }
    assert "kms:PutKeyPolicy" in policy, "whoever makes a key without that can never change it"


def test_the_readme_says_what_each_function_may_do(state: State):
    """A row a function and action: each that a policy grants, and no other."""
    page = (INFRA / "README.md").read_text("utf-8").partition("## Permissions")[2].partition("\n## ")[0]
    documented: dict[str, set[str]] = {}
    for function, actions in re.findall(r"^\| `([\w<>-]+)` \| ([^|]+) \|", page, re.MULTILINE):
        documented.setdefault(function, set()).update(re.findall(r"`(\w+:\w+)`", actions))
    everyone = documented.pop("every-function")
    short = {
        "trial-one-fetch-brave-0": "fetch",
        **{f"trial-one-{stage}": stage for stage in ("shard", "aggregate", "compact", "conduct")},
        **{f"trial-one-schedule-{what}": f"schedule-{what}" for what in ("functions", "lists")},
    }
    roles = allowed(state)
    assert {short[role] for role in roles if role in short} == set(documented)
    for role, stage in short.items():
        assert set(roles[role]) - everyone == documented[stage], stage


def test_compaction_by_athena_adds_what_it_needs_and_nothing_else(
    workspace: Workspace, settings: dict[str, Any], state: State
):
    """Its own workgroup, by name; the tables and the catalog are compact's anyway. The readme says it."""
    made = resources(workspace.plan(**settings, compaction="athena")["planned_values"])
    # A plan does not know the policy that names the mappings, conduct's.
    known = {name: one for name, one in of_type(made, "aws_iam_role_policy").items() if "policy" in one}
    before, after = allowed(state)["trial-one-compact"], allowed(known)["trial-one-compact"]
    added = {
        action: named - before.get(action, set())
        for action, named in after.items()
        if named - before.get(action, set())
    }
    bucket = "arn:aws:s3:::trial-one-000000000000-eu-central-1"
    athena = {f"athena:{what}QueryExecution" for what in ("Start", "Get", "BatchGet")}
    for action in athena | {"athena:ListQueryExecutions"}:
        assert added.pop(action) == {"arn:aws:athena:eu-central-1:000000000000:workgroup/trial-one-compact"}
    assert added == {
        "s3:GetBucketLocation": {bucket},
        "s3:GetObject": {f"{bucket}/athena/*"},
        "s3:PutObject": {f"{bucket}/athena/*"},
        "s3:AbortMultipartUpload": {f"{bucket}/athena/*", f"{bucket}/tables/*"},
        "s3:ListMultipartUploadParts": {f"{bucket}/athena/*", f"{bucket}/tables/*"},
    }
    page = (INFRA / "README.md").read_text("utf-8").partition('With `compaction = "athena"`')[2]
    said = set(re.findall(r"`(\w+:\w+)`", page.partition("\n\n")[0]))
    assert said == athena | set(added) | {"athena:ListQueryExecutions"}
    function = made["module.compact.aws_lambda_function.this"]
    assert function["environment"][0]["variables"]["SERPLINE_COMPACTION"] == "athena"
    [limits] = made["aws_athena_workgroup.compact[0]"]["configuration"]
    assert not limits.get("bytes_scanned_cutoff_per_query")
    assert limits["enforce_workgroup_configuration"]
    others = {name: role for name, role in allowed(known).items() if name != "trial-one-compact"}
    assert len(others) > 5
    assert others == {name: role for name, role in allowed(state).items() if name in others}
