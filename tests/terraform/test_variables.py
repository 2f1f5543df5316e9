"""A wrong value is refused at plan, with a sentence that says what would be right."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.workspace import INFRA, Failed, Workspace, terraform_environment

MINIMAL = {"contact": "crawling@example.com", "sources": {"wikipedia": {"rate": 1}}}
SECRET = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:brave-AbCdEf"  # noqa: S105 - a name
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def source(**fields: Any) -> dict[str, Any]:
    return {"sources": {"wikipedia": {"rate": 1, **fields}}}


def schedule(**fields: Any) -> dict[str, Any]:
    return {"schedules": {"daily": {"file": "lists/a.csv", "expression": "rate(1 day)", **fields}}}


@pytest.fixture(scope="session")
def variables(terraform: str, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The variables alone: no resource and no provider, so that a plan takes no time."""
    assert terraform
    folder = tmp_path_factory.mktemp("variables")
    for path in INFRA.glob("variables*.tf"):
        shutil.copy(path, folder)
    own = folder / "own"
    own.mkdir()
    found = Workspace(folder, terraform_environment(""), {**MINIMAL, "packages": str(packages)})
    found.run("init", "-backend=false", "-no-color")
    return found


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Serpline"}, "lower-case letters"),
    ({"name": "s" * 27}, "3 to 26"),
    ({"name": "serp-"}, "ends with a letter or a digit"),
    ({"contact": ""}, "openly or not at all"),
    ({"contact": "nobody"}, "openly or not at all"),
    ({"contact": "ä@example.com"}, "plain ASCII"),
    ({"region": "Frankfurt"}, "as AWS writes it"),
    ({"bucket_name": "my.bucket"}, "no dots"),
    ({"kms_key_arn": "alias/mine"}, "by its ARN"),
    ({"kms_key_arn": KEY, "encrypt_with_kms": True}, "not both"),
    ({"raw_days": 0}, "1 to 3650"),
    ({"raw_days": 1.5}, "whole number of days"),
    ({"log_retention_days": 31}, "CloudWatch keeps logs"),
    ({"bytes_scanned_cutoff": 1000}, "10000000"),
    ({"notify": ["operator"]}, "e-mail address"),
    ({"monthly_budget_usd": 0}, "more than 0"),
    ({"sources": {}}, "1 to 20 sources"),
    ({"sources": {"Wikipedia": {"rate": 1}}}, "begins with a letter, as its file does"),
    ({"name": "a" * 26, "sources": {"b" * 40: {"rate": 1}}}, "at most 64 characters"),
    (source(rate=0), "one request a day"),
    (source(rate=0.00001), "one request a day"),
    (source(quota=-1), "requests a day"),
    (source(quota=1.5), "requests a day"),
    (source(rate=201), "200 requests a second"),
    (source(burst=0), "burst is a whole number"),
    (source(burst=1.5), "burst is a whole number"),
    (source(concurrency=0), "1 to 64"),
    (source(concurrency=65), "1 to 64"),
    (source(lanes=0), "1 to 5 lanes"),
    (source(lanes=6), "1 to 5 lanes"),
    ({"sources": {f"s{n}": {"rate": 1, "lanes": 5} for n in range(9)}}, "at most 40 lanes together"),
    (source(max_concurrency=1), "the least that SQS mappings know"),
    (source(base_url="ftp://example.com"), "begins with https://"),
    (source(timeout=30), "60 to 900"),
    (source(timeout=901), "60 to 900"),
    (source(memory=128), "256 to 10240"),
    (source(secrets={"brave-key": SECRET}), "{secret:NAME}"),
    (source(secrets={"BRAVE_API_KEY": "hunter2"}), "never by its value"),
    ({"sources": {"a": {"rate": 1}, "b": {"rate": 1}}}, "default_source names one of them"),
    ({"default_source": "brave"}, "default_source names one of them"),
    ({"source_files": "own"}, "at least one source file"),
    ({"schedules": {"Daily": {"file": "lists/a.csv", "expression": "rate(1 day)"}}}, "up to 31"),
    (schedule(file="keywords/a.csv"), "bucket's lists/"),
    (schedule(file="lists/"), "bucket's lists/"),
    (schedule(expression="every day"), "cron(…), rate(…) or at(…)"),
    (schedule(source="brave"), "one of the deployment's sources"),
    (schedule(device="watch"), "desktop, mobile or tablet"),
    (schedule(locale="English!"), "language tag"),
    (schedule(pages=0), "1 to 100"),
    (schedule(spread="a while"), "90s, 45m, 6h or 2d"),
    ({"compact_every": "hourly"}, "rate(1 hour)"),
    ({"compaction": "spark"}, "by function or by athena"),
    ({"horizon_hours": 100}, "0.01 to 72 hours"),
    ({"lane_minutes": 1}, "5 to 1440 minutes"),
    ({"lane_rest_minutes": -1}, "0 to 1440 minutes"),
    ({"lane_rest_minutes": 1441}, "0 to 1440 minutes"),
    ({"shard_concurrency": 1}, "the least that SQS mappings know"),
    ({"memory": {"compact": 64}}, "256 to 10240"),
    ({"reserved_concurrency": {"probe": 1}}, "for shard, fetch, aggregate, compact or conduct"),
    ({"reserved_concurrency": {"aggregate": 1}}, "healthy messages"),
    ({"measure_copies": 0}, "from 1 to 10"),
    ({"measure_copies": 11}, "from 1 to 10"),
    ({"measure_copies": 1.5}, "a whole number from 1 to 10"),
    ({"packages": "nowhere"}, "make package"),
    ({"package_build": "riscv"}, "arm64, x86_64 or local"),
    ({"architecture": "riscv"}, "arm64 or x86_64"),
    ({"function_runtime": "python2.7"}, "python3.11 to python3.14"),
    ({"function_environment": {"A B": "c"}}, "letters, digits and underscores"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=[str(wrong)[:60] for wrong, _ in WRONG])
def test_a_wrong_value_is_refused_with_a_sentence(variables: Workspace, wrong: dict[str, Any], sentence: str):
    with pytest.raises(Failed) as refused:
        variables.plan(**wrong)

    # Terraform wraps its lines at 78 characters and draws a bar beside them.
    said = " ".join(re.sub(r"[│╷╵]", " ", str(refused.value)).split())
    assert sentence in said


RIGHT: list[dict[str, Any]] = [
    {},
    {"name": "abc"},
    {"contact": "https://www.example.com/crawling"},
    source(rate=0.0000116, burst=100, lanes=5, concurrency=64, timeout=900, memory=10240),
    source(rate=200, quota=0, max_concurrency=1000, secrets={"BRAVE_API_KEY": SECRET}),
    {"kms_key_arn": KEY},
    {"compaction": "athena"},
    schedule(file="lists/a b+ü.csv.gz", locale="zh-Hant-TW", device="tablet", source="wikipedia", pages=100),
    schedule(expression="at(2026-01-31T06:00:00)"),
    {"measure": True, "measure_copies": 10},
    {"reserved_concurrency": {"shard": 5, "aggregate": 2, "conduct": 1}},
]


@pytest.mark.parametrize("right", RIGHT, ids=[str(right)[:60] for right in RIGHT])
def test_the_ends_of_each_range_are_accepted(variables: Workspace, right: dict[str, Any]):
    assert variables.plan(**right)


def test_every_variable_has_a_description_and_stands_in_the_readme():
    page = (INFRA / "README.md").read_text("utf-8")
    text = "".join(path.read_text("utf-8") for path in sorted(INFRA.glob("variables*.tf")))
    names = re.findall(r'^variable "(\w+)" {\n  description', text, re.MULTILINE)

    assert len(names) == text.count("\nvariable ") + text.startswith("variable ")
    for name in names:
        assert re.search(rf"^\| `{name}`", page, re.MULTILINE), name
    outputs = re.findall(r'^output "(\w+)"', (INFRA / "outputs.tf").read_text("utf-8"), re.MULTILINE)
    for name in outputs:
        assert re.search(rf"^\| `{name}`", page, re.MULTILINE), name
