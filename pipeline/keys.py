"""Object keys: every one that Serpline writes or reads is spelled here."""

from __future__ import annotations

from stages.records import Batch

STAGING = "staging/"
RUNS = "runs/"
KEYWORDS = "keywords/"
LISTS = "lists/"
UNFINISHED = "unfinished/"
BACKLOG = "backlog/"
SOURCES = "sources/"
TABLES = "tables/"


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


def is_drop(key: str) -> bool:
    """Whether an object is a keyword file that was dropped, and no folder's mark."""
    return key.startswith(KEYWORDS) and not key.endswith("/")


def path_options(key: str) -> dict[str, str]:
    """The options that the folders of a dropped file's key name, as in ``source=brave/pages=2``."""
    named = (folder.partition("=") for folder in key.split("/")[1:-1])
    return {name: value for name, equals, value in named if equals and name in PATH_OPTIONS and value}


PATH_OPTIONS = ("source", "locale", "device", "pages")


def direct_keywords(run_id: str) -> str:
    """The keywords of a message that held them itself."""
    return f"{RUNS}{run_id}/keywords.jsonl"


def unfinished(run_id: str) -> str:
    """The mark of a run that was not yet seen complete."""
    return f"{UNFINISHED}{run_id}"


def control(run_id: str) -> str:
    """Whether the operator paused or cancelled a run."""
    return f"{RUNS}{run_id}/control.json"


def backlog(source: str) -> str:
    """Where the batches are that a source's rate cannot reach yet."""
    return f"{BACKLOG}{source}/"


def backlog_of(source: str, created_at: float, run_id: str) -> str:
    """The backlog of one run; a source's runs sort by age."""
    return f"{backlog(source)}{int(created_at * 1000):015d}-{run_id}/"


def backlog_chunk(folder: str, part: int, number: int, tasks: int) -> str:
    """Some batches of one part in the backlog of its run, and how many tasks they are."""
    return f"{folder}{part:04d}-{number:07d}-{tasks}.jsonl"


def conduct(source: str) -> str:
    """Which lane of a source works, and since when."""
    return f"conduct/{source}.json"


def own_source(name: str) -> str:
    """A source file of the user's own."""
    return f"{SOURCES}{name}.toml"


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


def last_metadata(table: str) -> str:
    """Where a table's last state is, while no catalog names it."""
    return f"{TABLES}{table}.last.json"


def keywords_queue(name: str) -> str:
    """The queue of shard."""
    return f"{name}-keywords"


def fetch_queue(name: str, source: str) -> str:
    """The queue of fetch for one source."""
    return f"{name}-fetch-{source}"


def results_queue(name: str) -> str:
    """The queue of aggregate."""
    return f"{name}-results"
