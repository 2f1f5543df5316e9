"""Ids are derived from what they name, and from all of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.records import Batch, BatchId, Task, digest, task_id
from tests.stages.kit import BATCH


@given(st.lists(st.text(st.characters())), st.lists(st.text(st.characters())))
def test_a_digest_tells_apart_whatever_differs(one: list[str], two: list[str]):
    """Also where only the borders between the parts differ, and for half a surrogate."""
    assert (digest(*one) == digest(*two)) == (one == two)
    assert digest("ab", "c") != digest("a", "bc")


@pytest.mark.parametrize(
    "change", [{"run_id": "r2"}, {"source": "other"}, {"locale": "de-DE"}, {"device": "mobile"}]
)
def test_a_task_is_named_by_its_run_source_locale_and_device(change: dict[str, str]):
    assert task_id(msgspec.structs.replace(BATCH, **change), Task("a")) != task_id(BATCH, Task("a"))


def test_a_task_is_named_by_its_keyword_and_page_and_not_by_its_history():
    """Tried again, in another cut or batch, it is the same task."""
    name = task_id(BATCH, Task("a"))
    assert task_id(msgspec.structs.replace(BATCH, cut=3, hop=2, batch_no=9), Task("a", 1, 2, 1)) == name
    assert len({name, task_id(BATCH, Task("a", 2)), task_id(BATCH, Task("b"))}) == 3


def test_ids_stay_what_they_are_for_ever():
    """Stored tables hold them: a change of the hash would make old and new rows of one task differ."""
    assert task_id(BATCH, Task("python")) == "03bf28db6abc845f086856a1cd7eb954"
    assert str(BATCH.id) == "r1/0/1.0"


@given(st.lists(st.builds(Task, st.text(), st.integers(1), st.integers(0), st.integers(0))), st.integers(0))
def test_a_batch_travels_unchanged(tasks: list[Task], hop: int):
    batch = msgspec.structs.replace(BATCH, tasks=tuple(tasks), hop=hop)
    assert msgspec.json.decode(msgspec.json.encode(batch), type=Batch) == batch


def test_waiting_does_not_change_which_batch_it_is():
    assert msgspec.structs.replace(BATCH, hop=9).id == BATCH.id == BatchId("r1", 0, 1, 0)
    assert msgspec.structs.replace(BATCH, cut=1).id > BATCH.id
