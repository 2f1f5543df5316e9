"""What can be said of the configuration without applying it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from stages.tables import CLOSINGS, PAGES, SHARDS
from stages.views import VIEWS
from tests.terraform.conftest import missing
from tests.terraform.workspace import INFRA, ROOT, Workspace, of_type, resources

QUERIES = sorted((INFRA / "queries").glob("*.sql"))


def test_it_is_formatted(workspace: Workspace):
    wrong = workspace.run("fmt", "-check", "-recursive", "-no-color", str(INFRA), accept=(0, 3)).stdout
    assert not wrong


def test_it_is_valid(workspace: Workspace):
    found = json.loads(workspace.run("validate", "-json").stdout)
    assert found["valid"]
    assert not found["diagnostics"]


@pytest.mark.parametrize("example", ["minimal", "full"])
def test_the_examples_can_be_planned(workspace: Workspace, example: str, packages: Path):
    planned = workspace.plan(
        f"-var-file={INFRA / 'examples' / example}.tfvars", f"-var=packages={packages}", "-lock=false"
    )
    made = resources(planned["planned_values"])
    assert len(of_type(made, "aws_lambda_function")) == {"minimal": 5, "full": 9}[example]


def test_the_full_example_names_every_variable():
    text = (INFRA / "examples" / "full.tfvars").read_text("utf-8")
    emulators = {"package_build", "function_environment"}
    for path in INFRA.glob("variables*.tf"):
        for name in re.findall(r'^variable "(\w+)"', path.read_text("utf-8"), re.MULTILINE):
            assert re.search(rf"\b{name}\b", text) or name in emulators, name


def test_a_key_of_ones_own_needs_what_the_output_says(workspace: Workspace, settings: dict[str, Any]):
    """Nothing is made, and the plan shows the statements that the key's policy lacks."""
    key = "arn:aws:kms:eu-central-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    planned = workspace.plan(**settings, kms_key_arn=key)
    made = resources(planned["planned_values"])
    assert not of_type(made, "aws_kms_key")
    assert {values["kms_master_key_id"] for values in of_type(made, "aws_sqs_queue").values()} == {key}
    for values in of_type(made, "aws_cloudwatch_log_group").values():
        assert values["kms_key_id"] == key
    statements = json.loads(planned["planned_values"]["outputs"]["kms_key_statements"]["value"])
    services = json.dumps(statements)
    for service in ("s3", "cloudwatch", "events", "budgets", "logs.eu-central-1"):
        assert f"{service}.amazonaws.com" in services


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_named_query_asks_for_what_there_is(path: Path):
    """It is Athena's SQL, and every column stands in the table or view that it names."""
    schema: dict[str, Any] = {view.name: {one.name: one.type for one in view.columns} for view in VIEWS}
    schema |= {table: dict.fromkeys(kind.schema.names, "varchar") for table, kind in TABLES.items()}
    text = path.read_text("utf-8")
    assert text.startswith("-- ")

    query = sqlglot.parse_one(text, dialect="athena")

    assert {table.name for table in query.find_all(exp.Table)} <= set(schema)
    qualify(query, schema=schema, dialect="athena")


TABLES = {"pages": PAGES, "shards": SHARDS, "closings": CLOSINGS}


def test_checkov_finds_nothing_that_is_not_excused():
    """What it finds is changed, or excused where it stands, with the reason."""
    program = Path(os.environ.get("SERPLINE_CHECKOV") or ROOT / "build" / "checkov" / "bin" / "checkov")
    if not program.is_file():
        missing(f"no checkov at {program}; SERPLINE_CHECKOV names it")
    words = ["--framework", "terraform", "--skip-download", "--output", "json", "--quiet"]
    done = subprocess.run(  # noqa: S603 - our own fixed command
        [str(program), "-d", str(INFRA), *words], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    found = report["results"]["failed_checks"]
    assert not [(check["check_id"], check["resource"], check["check_name"]) for check in found]
    assert report["summary"]["passed"] > 100
    assert not report["summary"]["parsing_errors"]


def test_every_excuse_has_a_reason():
    for path in INFRA.rglob("*.tf"):
        for line in path.read_text("utf-8").splitlines():
            if "checkov:skip" in line:
                assert re.search(r"#checkov:skip=CKV2?_AWS_\d+:[A-Z].{20,}$", line), line
