"""A Glue that is slow, shut or emptied: a sentence that says what to do, and messages come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from pipeline.attaching import create_tables
from pipeline.compaction import Compactor
from pipeline.errors import CatalogUnavailable
from pipeline.glue import SureGlueCatalog
from tests.pipeline.aws import Lossy, glue, refusal, sure
from tests.pipeline.trouble_kit import Scene, says

__all__ = ["glue", "sure"]


@pytest.fixture
def on_glue(sure: SureGlueCatalog, tmp_path: Path) -> Scene:
    return Scene(tmp_path, sure)


class Troubled:
    """A Glue client whose next answers to a call are errors."""

    def __init__(self, inner: Any, call: str, *errors: Exception) -> None:
        self._inner = inner
        self._call = call
        self._errors = list(errors)

    def __getattr__(self, name: str) -> Any:
        answer = getattr(self._inner, name)
        if name != self._call:
            return answer

        def asked(**given: Any) -> Any:
            if self._errors:
                raise self._errors.pop(0)
            return answer(**given)

        return asked


def troubled(sure: SureGlueCatalog, tmp_path: Path, call: str, *errors: Exception) -> SureGlueCatalog:
    catalog = SureGlueCatalog(
        sure.name, Troubled(sure.glue, call, *errors), warehouse=f"file://{tmp_path}/tables"
    )
    catalog.sleep = lambda _: None
    return catalog


SLOW = [
    refusal("ThrottlingException"),
    refusal("OperationTimeoutException"),
    refusal("InternalServiceException"),
    ReadTimeoutError(endpoint_url="glue"),
]


@pytest.mark.parametrize("call", ["get_table", "update_table"])
@pytest.mark.parametrize("error", SLOW, ids=str)
def test_a_slow_glue_is_asked_again(
    sure: SureGlueCatalog, on_glue: Scene, tmp_path: Path, call: str, error: Exception
):
    """Throttled, timed out, out of order: the messages wait, and every batch is there once in the end."""
    told = on_glue.fails(on_glue.step(troubled(sure, tmp_path, call, *[error] * 40)))
    says(told, "Glue")
    assert isinstance(told, CatalogUnavailable)
    on_glue.comes_back(sure)


@pytest.mark.parametrize("call", ["get_table", "update_table"])
def test_a_glue_that_lets_nobody_in_says_what_to_grant(
    sure: SureGlueCatalog, on_glue: Scene, tmp_path: Path, call: str
):
    """A missing grant is the operator's to mend: until then nothing is buried."""
    error = refusal("AccessDeniedException")
    says(on_glue.fails(on_glue.step(troubled(sure, tmp_path, call, *[error] * 40))), "Glue", "IAM", "grant")
    on_glue.comes_back(sure)


def test_a_table_that_is_gone_from_glue_is_told(sure: SureGlueCatalog, on_glue: Scene, glue: Lossy):
    """Dropped in mid-run, as `terraform destroy` does: files stay, messages wait, it is attached again."""
    step = on_glue.at_work(sure)
    del glue._inner.tables["pages"]
    says(on_glue.fails(step), "pages", "attach")
    says(on_glue.fails(on_glue.step(sure)), "pages", "attach")
    with pytest.raises(CatalogUnavailable, match="attach"):
        next(iter(Compactor(sure, Path("lake")).compact()))
    assert create_tables(sure, on_glue.storage)["pages"] == "attached"
    on_glue.comes_back(sure)
