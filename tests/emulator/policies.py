"""What each function's role may do, as the emulator holds it, and how a recorded call stands to that."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tests.emulator.emulator import ACCOUNT, REGION
from tests.emulator.recording import RecordedCall
from tests.emulator.system import System


class Grant(NamedTuple):
    """One action on one pattern of resources."""

    action: str
    resource: str


def grants_of(system: System) -> dict[str, set[Grant]]:
    """What the roles' own policies allow, by the name of the function."""
    iam, found = system.client("iam"), {}
    functions = system.client("lambda").get_paginator("list_functions").paginate().build_full_result()
    for function in functions["Functions"]:
        if not function["FunctionName"].startswith(f"{system.name}-"):
            continue
        role = function["Role"].rpartition("/")[2]
        assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        found[function["FunctionName"]] = {
            Grant(action, resource)
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
            for statement in iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"][
                "Statement"
            ]
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        }
    return found


def arns_of(call: RecordedCall) -> list[str]:
    """The resources that a call's policy must name: of Glue the catalog and the database as well."""
    where = f"{REGION}:{ACCOUNT}"
    if call.service == "s3":
        bucket = call.resource.partition("/")[0]
        return [f"arn:aws:s3:::{bucket if call.action == 's3:ListBucket' else call.resource}"]
    if call.service == "glue":
        database, _, table = call.resource.partition("/")
        arns = [f"arn:aws:glue:{where}:catalog", f"arn:aws:glue:{where}:database/{database}"]
        return [*arns, f"arn:aws:glue:{where}:table/{database}/{table}"] if table else arns
    named = {
        "sqs": f"arn:aws:sqs:{where}:{call.resource}",
        "dynamodb": f"arn:aws:dynamodb:{where}:table/{call.resource}",
        "lambda": f"arn:aws:lambda:{where}:event-source-mapping:{call.resource}",
        "events": f"arn:aws:events:{where}:event-bus/{call.resource}",
    }
    return [named.get(call.service, f"unknown: {call.service}:{call.operation} {call.resource}")]


def missing(grants: Iterable[Grant], call: RecordedCall) -> list[str]:
    """What of a call its policy does not allow."""
    granted = [grant.resource for grant in grants if grant.action == call.action]
    return [
        f"{call.action} {arn}"
        for arn in arns_of(call)
        if not any(fnmatchcase(arn, resource.replace("[", "[[]")) for resource in granted)
    ]


def unused(grants: Iterable[Grant], calls: Iterable[RecordedCall]) -> set[Grant]:
    """The grants that no call needed."""
    needed = {(call.action, arn) for call in calls for arn in arns_of(call)}
    return {
        grant
        for grant in grants
        if not any(action == grant.action and fnmatchcase(arn, grant.resource) for action, arn in needed)
    }


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
