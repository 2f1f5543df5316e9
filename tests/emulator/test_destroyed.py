"""What destroy leaves of the real system, and that a later apply goes on from there."""

from __future__ import annotations

import pytest

from tests.emulator.deploy import CommandFailed
from tests.emulator.policies import grants_of, missing
from tests.emulator.system import System
from tests.emulator.work import as_csv, assert_whole, keywords, pages_of

pytestmark = pytest.mark.timeout(240)


def test_applied_again_the_tables_have_their_rows(system: System):
    """Without ``force_destroy`` the bucket stays; views and tables are found again, and runs go on."""
    deployment = system.deployment
    assert deployment is not None
    words = keywords(20, "outlive")
    run = system.drop("keywords/outliving.csv", as_csv(words))
    system.wait_until_complete([run])
    counts = (
        "SELECT (SELECT count(*) FROM pages), (SELECT count(*) FROM shards), (SELECT count(*) FROM results)"
    )
    before = system.rows(counts)

    since = system.recording.mark()
    deployment.apply(force_destroy=False)
    with pytest.raises(CommandFailed, match="BucketNotEmpty"):
        deployment.destroy()
    assert not system.client("glue").get_databases()["DatabaseList"]
    deployment.apply(force_destroy=True)

    assert system.rows(counts) == before
    assert [page[0] for page in pages_of(system, [run])] == sorted(words)
    later = system.drop("keywords/after.csv", as_csv(words))
    system.wait_until_complete([later])
    assert_whole(system, [later], words)
    assert not deployment.changes()
    compact = f"{system.name}-compact"
    grants = grants_of(system)[compact]
    made = [call for call in system.recording.calls(since) if call.function == compact]
    assert "glue:DeleteTable" in {call.action for call in made}
    assert not {lacking for call in made for lacking in missing(grants, call)}
