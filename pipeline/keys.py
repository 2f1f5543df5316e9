"""Object keys: every one that Serpline writes or reads is spelled here."""

from __future__ import annotations

from stages.records import Batch

STAGING = "staging/"
RUNS = "runs/"
KEYWORDS = "keywords/"


def run(run_id: str) -> str:
    """The frozen run."""
    return f"{RUNS}{run_id}/run.json"


def complete(run_id: str) -> str:
    """The mark of a run whose every task is accounted for."""
    return f"{RUNS}{run_id}/complete.json"


def rejects(run_id: str, part: int) -> str:
    """What one part could not read."""
    return f"{RUNS}{run_id}/rejects-{part}.jsonl"


def lock(run_id: str) -> str:
    """Held by the one process that runs a run on this machine."""
    return f"{RUNS}{run_id}/lock"


def dropped(version: str, name: str) -> str:
    """A keyword file as it was dropped; ``version`` tells files of one name apart."""
    return f"{KEYWORDS}{version}/{name}"


def staging(run_id: str) -> str:
    """Where all staged objects of a run are."""
    return f"{STAGING}{run_id}/"


def staged(batch: Batch) -> str:
    """The staged object of one cut of a batch."""
    return f"{staging(batch.run_id)}{batch.part}/{batch.batch_no}-{batch.cut}.json.gz"


def staged_shard(run_id: str, part: int) -> str:
    """The staged row of table ``shards``."""
    return f"{staging(run_id)}{part}/shard.json"


def is_shard(key: str) -> bool:
    """Whether a staged key is a shard row rather than a batch."""
    return key.endswith("/shard.json")


def pace(source: str) -> str:
    """The pacer's state of a source, where a folder holds it."""
    return f"pace/{source}.json"


def robots(host: str) -> str:
    """What a host's robots.txt said."""
    return f"robots/{host.replace(':', '_')}.json"


def keywords_queue(name: str) -> str:
    """The queue of shard."""
    return f"{name}-keywords"


def fetch_queue(name: str, source: str) -> str:
    """The queue of fetch for one source."""
    return f"{name}-fetch-{source}"


def results_queue(name: str) -> str:
    """The queue of aggregate."""
    return f"{name}-results"
