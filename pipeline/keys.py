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
MEASUREMENTS = "measurements/"
TERMS = "packages/terms.json"
"""What a deployment says of its sources, for whoever works beside its functions: `apply` leaves it there."""


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


PATH_OPTIONS = ("source", "locale", "device", "pages", "spread")


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


def backlog_chunk(folder: str, part: int, number: int, tasks: int, moment: float = 0.0) -> str:
    """Some batches of one part in the backlog of its run: how many tasks, and when the first is due."""
    due = f"{int(moment)}-" if moment else ""
    return f"{folder}{part:04d}-{number:07d}-{due}{tasks}.jsonl"


def backlog_held(folder: str, batch: Batch) -> str:
    """A batch that was sent and came back to wait; each time it does that it is another object.

    Who deletes the one that it was released from deletes none that it came back to since.
    """
    name = backlog_chunk(folder, batch.part, batch.batch_no, len(batch.tasks), batch.not_before)
    number = f"{folder}{batch.part:04d}-{batch.batch_no:07d}"
    return f"{number}.{batch.cut}.{batch.hop}{name.removeprefix(number)}"


def chunk_terms(key: str) -> tuple[int, float]:
    """Of some batches in the backlog: how many tasks they are, and the moment from which they are due."""
    _part, _number, *due, tasks = key.rpartition("/")[2].removesuffix(".jsonl").split("-")
    return int(tasks), float(due[0]) if due else 0.0


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


def staged_closings() -> str:
    """Where the staged rows of table ``closings`` are: a folder that no run's id can be."""
    return f"{STAGING}_closings/"


def staged_closing(source: str, closing_id: str) -> str:
    """The staged row of one closing or reopening of a source."""
    return f"{staged_closings()}{source}/{closing_id}.json"


def closing_id(key: str) -> str:
    """The id of a staged closing or reopening."""
    return key.rpartition("/")[2].removesuffix(".json")


def is_closing(key: str) -> bool:
    """Whether a staged key is a closing or reopening rather than a batch."""
    return key.startswith(staged_closings())


def pace(source: str) -> str:
    """The pacer's state of a source, where a folder holds it."""
    return f"pace/{source}.json"


def robots(host: str) -> str:
    """What a host's robots.txt said."""
    return f"robots/{host.replace(':', '_')}.json"


def measurements(experiment: str) -> str:
    """Where an experiment and what its probes saw are."""
    return f"{MEASUREMENTS}{experiment}/"


def experiment(name: str) -> str:
    """An experiment as it was written down before it began."""
    return f"{measurements(name)}experiment.json"


def reading(experiment_name: str, probe: str) -> str:
    """What one probe saw."""
    return f"{measurements(experiment_name)}{probe}.json"


def is_experiment(key: str) -> bool:
    """Whether a key below ``MEASUREMENTS`` is the description of an experiment."""
    return key == experiment(key.removeprefix(MEASUREMENTS).partition("/")[0])


def is_reading(key: str) -> bool:
    """Whether a key below ``MEASUREMENTS`` is what a probe saw."""
    return key.count("/") == MEASUREMENTS.count("/") + 1 and not is_experiment(key)


def sent(experiment_name: str, probe: str) -> str:
    """That a probe has sent what is below it, or tries to: nobody else does."""
    return f"{measurements(experiment_name)}sent/{probe}"


def repeats(experiment_name: str) -> str:
    """Where it is written down that probes were told again to run."""
    return f"{measurements(experiment_name)}again/"


def repeat(experiment_name: str, probe: str, invocation: str) -> str:
    """That a probe was told again to run, by the invocation in which it was."""
    return f"{repeats(experiment_name)}{probe}/{invocation}.json"


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


def probe_queue(name: str) -> str:
    """The queue of the probes of a tree."""
    return f"{name}-probe"


def probe_function(name: str, copy: int = 0) -> str:
    """A copy of the function that is measured; the first has no number."""
    return f"{name}-probe-{copy}" if copy else f"{name}-probe"


def schedule_group(name: str) -> str:
    """The group of the one-time schedules that carry an experiment."""
    return f"{name}-measure"


def schedule_role(name: str) -> str:
    """The role in which Scheduler starts the probes."""
    return f"{name}-schedule-measure"
