"""The rooms of the design, held by reading every import, also those inside functions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("stages", "pipeline", "lambdas")

PURE_STDLIB = {
    *(
        "__future__",
        "bisect",
        "codecs",
        "collections",
        "contextlib",
        "csv",
        "datetime",
        "email",
        "enum",
        "functools",
        "hashlib",
        "ipaddress",
    ),
    *(
        "heapq",
        "itertools",
        "math",
        "re",
        "string",
        "tomllib",
        "typing",
        "unicodedata",
        "urllib",
        "zlib",
        "json",
    ),
}
STAGES_MAY = PURE_STDLIB | {
    *(
        "stages",
        "msgspec",
        "orjson",
        "parsel",
        "protego",
        "lxml",
        "jmespath",
        "selectolax",
        "pyarrow",
        "isal",
        "zstandard",
    ),
}
DRIVERS_OF_ONE_PLACE = {
    "kombu": "pipeline/queues/kombu",
    "redis": "pipeline/pacers/redis.py pipeline/queues/kombu",
    "aiohttp": "pipeline/http_client.py pipeline/guarded_hosts.py pipeline/practice/",
    "duckdb": "pipeline/query",
    "sqlglot": "pipeline/query",
    "pyiceberg": "pipeline/iceberg.py pipeline/glue.py pipeline/folder_catalog.py pipeline/attaching.py "
    "pipeline/table_schema.py pipeline/catalog.py pipeline/query pipeline/compaction.py "
    "pipeline/athena_compaction.py pipeline/quick_transaction.py pipeline/replacement.py "
    "pipeline/expiry.py pipeline/merging.py",
    "boto3": "pipeline/bootstrap_aws.py",
    "rich": "pipeline/cli/ pipeline/query",
    "argparse": "pipeline/cli/",
}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides which room it is from"
            yield str(node.module), node.lineno


def top(name: str) -> str:
    return name.partition(".")[0]


def every_module() -> list[Path]:
    return [path for room in ROOMS for path in modules(room)]


@pytest.mark.parametrize("path", modules("stages"), ids=lambda path: path.name)
def test_a_stage_imports_only_pure_libraries(path: Path):
    """Stages know no I/O: no driver, no file, no clock, no randomness, no environment, no logging."""
    foreign = {f"{name} (line {line})" for name, line in imports(path) if top(name) not in STAGES_MAY}
    assert not foreign


@pytest.mark.parametrize("path", modules("stages"), ids=lambda path: path.name)
def test_a_stage_reads_no_clock_and_opens_no_file(path: Path):
    """What pure libraries offer beside pure functions stays unused."""
    forbidden = {"open", "print", "input", "eval", "exec", "now", "today", "utcnow", "urlopen"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            assert name not in forbidden, f"{path.name}:{node.lineno} calls {name}"


@pytest.mark.parametrize("path", modules("pipeline"), ids=lambda path: str(path.relative_to(ROOT)))
def test_pipeline_never_imports_a_door(path: Path):
    """The arrows point one way: lambdas know pipeline, never the other way round."""
    assert not [name for name, _ in imports(path) if top(name) == "lambdas"]


@pytest.mark.parametrize("path", modules("lambdas"), ids=lambda path: path.name)
def test_a_door_knows_only_the_pipeline(path: Path):
    """A handler turns an event into a call; it builds no client and does no work."""
    allowed = {"pipeline", "lambdas"} | set(sys.stdlib_module_names)
    assert not [name for name, _ in imports(path) if top(name) not in allowed]


@pytest.mark.parametrize(("driver", "places"), DRIVERS_OF_ONE_PLACE.items())
def test_each_driver_has_one_place(driver: str, places: str):
    """A library that touches the world is imported where its errors are translated, and nowhere else."""
    for path in every_module():
        where = path.relative_to(ROOT).as_posix()
        if driver in {top(name) for name, _ in imports(path)}:
            assert any(where.startswith(place) for place in places.split()), f"{where} imports {driver}"


def test_only_settings_reads_the_environment():
    """One module knows the names of variables; everything else is told."""
    for path in every_module():
        if path.relative_to(ROOT).as_posix() == "pipeline/settings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            read = isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
            assert not read, f"{path}:{node.lineno} reads the environment"


def test_only_keys_spells_object_keys():
    """A prefix of the lake is written down once; a second spelling would be a second contract."""
    prefixes = ("staging/", "runs/", "keywords/", "pace/")
    for path in every_module():
        if path.relative_to(ROOT).as_posix() == "pipeline/keys.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(prefixes), f"{path}:{node.lineno} spells {node.value!r}"


def test_nothing_is_connected_at_import():
    """Importing any module of ours opens no file, socket or database."""
    for path in every_module():
        for node in ast.parse(path.read_text("utf-8")).body:
            value = getattr(node, "value", None)
            if isinstance(value, ast.Call):
                name = (
                    value.func.attr
                    if isinstance(value.func, ast.Attribute)
                    else getattr(value.func, "id", "")
                )
                assert name not in {"open", "connect", "client", "resource", "Connection", "get_logger"}, path


def test_every_room_says_what_belongs_there():
    """Each package has a docstring: where a new thing goes is read, not guessed."""
    for package in [path for path in every_module() if path.name == "__init__.py"]:
        assert ast.get_docstring(ast.parse(package.read_text("utf-8"))), package
