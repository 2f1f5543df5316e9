"""Hypothesis strategies for pages as they are staged."""

from hypothesis import strategies as st

from stages.records import Page, Result, Task

TEXT = st.text(max_size=12)
INT32 = st.integers(0, 2**31 - 1)
TIME = st.floats(0, 4e9)
RESULTS = st.builds(Result, INT32, st.sampled_from(["organic", "ad"]), TEXT, TEXT, TEXT, TEXT)
PAGES = st.builds(
    Page,
    task=st.builds(Task, TEXT, st.integers(1, 100)),
    attempts=INT32,
    status=st.sampled_from(["ok", "failed", "refused"]),
    reason=TEXT,
    http_status=st.integers(0, 599),
    requested_at=TIME,
    fetched_at=TIME,
    latency_ms=INT32,
    bytes=st.integers(0, 2**63 - 1),
    url=TEXT,
    total_results=st.none() | st.integers(0, 2**63 - 1),
    results=st.lists(RESULTS, max_size=4).map(tuple),
)
