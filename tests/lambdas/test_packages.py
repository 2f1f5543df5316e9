"""The functions' zips: small enough, the same every time, and enough for each function alone."""

from __future__ import annotations

import json
import platform
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from infra.packages import alone
from infra.packages.archive import Zip, write_zip
from infra.packages.build import ROOT, build
from infra.packages.contents import OURS
from infra.packages.targets import KINDS, TARGETS, Target
from infra.packages.wheels import PackageError, locked, wheels_of

MOST_UNZIPPED = {"light": 45e6, "heavy": 210e6}
KIND_OF = {
    "shard": "heavy",  # Parquet files
    "fetch": "light",
    "conduct": "light",
    "probe": "light",
    "aggregate": "heavy",
    "compact": "heavy",
}
DOORS = sorted(path.stem for path in (ROOT / "lambdas").glob("*.py") if not path.stem.startswith("_"))
TARGET = {target.name: target for target in TARGETS}
EVERY = list(product(KINDS, TARGET))

NEVER = {
    *("boto3", "botocore", "s3transfer", "urllib3"),  # the runtime's
    *("kombu", "amqp", "vine", "redis", "duckdb", "_duckdb", "sqlglot", "sqlalchemy"),
    *("rich", "pygments", "click"),
}
NEVER_LIGHT = NEVER | {"pyarrow", "pyiceberg", "pydantic", "pydantic_core"}
NEVER_HEAVY = NEVER | {"aiohttp", "lxml", "parsel", "selectolax", "protego"}
NEVER_IN = {"light": NEVER_LIGHT, "heavy": NEVER_HEAVY}

MACHINE = {"arm64": 183, "x86_64": 62}  # ELF's e_machine

pytestmark = pytest.mark.timeout(600)  # the first build downloads and packs everything

Built = Mapping[tuple[str, str], Zip]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project's modules: whoever edits them meanwhile changes no zip under test."""
    copy = tmp_path_factory.mktemp("project")
    for room in OURS:
        copytree(ROOT / room, copy / room, ignore=ignore_patterns("__pycache__"))
    copy.joinpath("pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    return copy


@pytest.fixture(scope="module")
def built(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Every zip, as ``make package`` makes it, over the libraries that it keeps."""
    folder = tmp_path_factory.mktemp("packages")
    return {(kind, name): build(kind, TARGET[name], folder, root=project) for kind, name in EVERY}


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Give this machine's zips as folders, and ``runtime`` with boto3 alone."""
    folder = tmp_path_factory.mktemp("task")
    found = {kind: alone.unpack(built[kind, "local"].path, folder / kind) for kind in KINDS}
    return found | {"runtime": alone.runtime_folder(folder / "runtime")}


def names(package: Zip) -> list[str]:
    with zipfile.ZipFile(package.path) as opened:
        return opened.namelist()


def imported(
    code: str, kind: str, unpacked: Mapping[str, Path], python: Path | str = sys.executable
) -> set[str]:
    """The top packages that are loaded after this code has run in a function's world."""
    code += "\nimport json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    ended = subprocess.run(  # noqa: S603 - this Python
        alone.command(code, unpacked[kind], unpacked["runtime"], python=python),
        check=False,
        capture_output=True,
        text=True,
        env=alone.ENVIRONMENT,
        cwd=unpacked[kind],
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("kind", "target"), EVERY)
def test_a_zip_stays_within_its_size(built: Built, kind: str, target: str):
    package = built[kind, target]
    with zipfile.ZipFile(package.path) as opened:
        assert sum(entry.file_size for entry in opened.infolist()) == package.unzipped
    assert package.unzipped <= MOST_UNZIPPED[kind]


@pytest.mark.parametrize(("kind", "target"), EVERY)
def test_a_zip_holds_nothing_that_no_function_uses(built: Built, kind: str, target: str):
    """The runtime brings boto3; brokers, SQL engines and the terminal stay on this machine."""
    present = names(built[kind, target])
    tops = {name.partition("/")[0].partition(".")[0] for name in present}
    assert not tops & NEVER_IN[kind]
    ours = [name for name in present if name.startswith("pipeline/")]
    assert not [name for name in ours if name.split("/")[1] in ("practice", "cli", "query")]
    assert not [name for name in ours if "/golden" in name]
    assert "pipeline/sources/practice_api.toml" in ours


@pytest.mark.parametrize(("kind", "target"), EVERY)
def test_a_zip_tells_no_time_and_no_user(built: Built, kind: str, target: str):
    with zipfile.ZipFile(built[kind, target].path) as opened:
        entries = opened.infolist()
    assert len({entry.filename for entry in entries}) == len(entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    programs = {entry.filename for entry in entries if entry.external_attr >> 16 == 0o100755}
    assert programs == ({"bootstrap"} if target == "local" else set())
    assert {entry.external_attr >> 16 for entry in entries} <= {0o100644, 0o100755}


@pytest.mark.parametrize(("kind", "target"), [("light", "local"), ("heavy", "local"), ("light", "arm64")])
def test_a_build_from_nothing_has_the_same_bytes(
    built: Built, project: Path, tmp_path: Path, kind: str, target: str
):
    again = build(kind, TARGET[target], tmp_path, layers=tmp_path / "layers", root=project)
    assert again.sha256 == built[kind, target].sha256


@pytest.mark.parametrize(("kind", "target"), EVERY)
def test_a_build_over_the_kept_libraries_has_the_same_bytes(
    built: Built, project: Path, tmp_path: Path, kind: str, target: str
):
    assert build(kind, TARGET[target], tmp_path, root=project).sha256 == built[kind, target].sha256


def test_an_unchanged_zip_is_left_alone(built: Built, project: Path):
    path = built["light", "arm64"].path
    before = path.stat().st_mtime_ns
    build("light", TARGET["arm64"], path.parent, root=project)
    assert path.stat().st_mtime_ns == before


def test_a_changed_module_changes_the_zip(built: Built, project: Path, tmp_path: Path):
    changed = copytree(project, tmp_path / "project")
    (changed / "pipeline" / "keys.py").write_text("MARK = 1\n")
    package = build("light", TARGET["arm64"], tmp_path, root=changed)
    assert package.sha256 != built["light", "arm64"].sha256
    with zipfile.ZipFile(package.path) as opened:
        assert opened.read("pipeline/keys.py") == b"MARK = 1\n"


def test_the_order_in_which_files_come_makes_no_difference(tmp_path: Path):
    one = write_zip(tmp_path / "one.zip", {"a.py": b"1", "b.py": b"2"})
    other = write_zip(tmp_path / "other.zip", {"b.py": b"2", "a.py": b"1"})
    assert one.sha256 == other.sha256


@pytest.mark.parametrize(("kind", "target"), list(product(KINDS, MACHINE)))
def test_shared_libraries_are_for_the_machine(built: Built, kind: str, target: str):
    with zipfile.ZipFile(built[kind, target].path) as opened:
        libraries = [name for name in opened.namelist() if ".so" in Path(name).name]
        assert len(libraries) > 10
        for name in libraries:
            with opened.open(name) as library:
                head = library.read(20)
            assert head[:4] == b"\x7fELF", name
            assert struct.unpack("<H", head[18:20])[0] == MACHINE[target], name


@pytest.mark.parametrize("kind", KINDS)
def test_the_machines_get_the_same_modules(built: Built, kind: str):
    """What is tried here on this machine's zip is what the others have."""

    def modules(target: str) -> set[str]:
        plain = (name for name in names(built[kind, target]) if "__pycache__" not in name)
        return {name.partition(".cpython-")[0] for name in plain if not name.startswith("typing_extensions")}

    assert modules("arm64") == modules("x86_64")
    # Charset detectors and the like may be compiled under a name of their Python's.
    assert modules("local") - modules("x86_64") == {"bootstrap"}
    assert not modules("x86_64") - modules("local")


@pytest.mark.parametrize(("kind", "target"), EVERY)
def test_modules_are_compiled_ahead(built: Built, kind: str, target: str):
    """A function's folder is read-only: without this it compiles every module at every cold start."""
    if TARGET[target].compiler() is None:
        pytest.skip("no Python 3.13 here to compile with")
    with zipfile.ZipFile(built[kind, target].path) as opened:
        present = set(opened.namelist())
        ours = [name for name in present if name.endswith(".py") and name.split("/")[0] in OURS]
        tag = sys.implementation.cache_tag if target == "local" else "cpython-313"
        for name in ours:
            folder, _, module = name.rpartition("/")
            cached = f"{folder}/__pycache__/{module.removesuffix('.py')}.{tag}.pyc"
            assert opened.read(cached)[4:8] == b"\x01\x00\x00\x00", f"{cached} is checked against its source"


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_has_the_versions_of_the_application(kind: str):
    def versions(lock: str) -> dict[str, str]:
        lines = locked(ROOT / "requirements" / lock, TARGET["local"])
        return dict(line.split("==") for line in lines)

    application = versions("run.txt")
    assert {name: application.get(name) for name in versions(f"{kind}.txt")} == versions(f"{kind}.txt")


def test_every_door_has_its_kind_of_package():
    assert set(DOORS) <= set(KIND_OF), "name the new function's zip in KIND_OF"


@pytest.mark.parametrize("door", DOORS)
def test_a_door_opens_with_its_zip_alone(unpacked: Mapping[str, Path], door: str):
    """What it imports is in its zip or the runtime, and is what its stage uses."""
    kind = KIND_OF[door]
    loaded = imported(f"import lambdas.{door} as door; assert callable(door.handler)", kind, unpacked)
    assert not loaded & (NEVER_IN[kind] - set(alone.RUNTIME))


STEPS = {
    "light": "import pipeline.steps.shard, pipeline.steps.fetch, pipeline.bootstrap, pipeline.logs",
    "heavy": "import pipeline.steps.aggregate, pipeline.compaction, pipeline.logs, pyiceberg.catalog.glue",
}


@pytest.mark.parametrize(("kind", "code"), STEPS.items())
def test_the_steps_need_no_more_than_their_zip(unpacked: Mapping[str, Path], kind: str, code: str):
    assert not imported(code, kind, unpacked) & (NEVER_IN[kind] - set(alone.RUNTIME))


@pytest.mark.parametrize(("kind", "code"), STEPS.items())
def test_lambdas_python_runs_the_compiled_modules(
    built: Built, unpacked: Mapping[str, Path], tmp_path: Path, kind: str, code: str
):
    """The zip for this kind of machine, on the Python that Lambda has, reads no source."""
    target = next((one for one in TARGETS if one.machine == platform.machine()), None)
    python = target and target.compiler()
    if target is None or python is None or sys.platform != "linux":
        pytest.skip("no Python 3.13 here, or another kind of machine than Lambda's")
    folder = alone.unpack(built[kind, target.name].path, tmp_path / kind)
    for module in folder.rglob("*.py"):
        if not module.is_relative_to(folder / "pipeline") and not module.is_relative_to(folder / "stages"):
            continue
        module.write_text("raise SystemError('compiled again')\n")  # unchecked bytecode does not look
    imported(code, kind, {kind: folder, "runtime": unpacked["runtime"]}, python)


@pytest.mark.parametrize("kind", KINDS)
def test_a_zip_knows_its_version(unpacked: Mapping[str, Path], kind: str):
    imported("from importlib.metadata import version; assert version('serpline')", kind, unpacked)


def test_pyarrow_reaches_s3(unpacked: Mapping[str, Path]):
    imported("from pyarrow.fs import S3FileSystem; S3FileSystem(region='eu-central-1')", "heavy", unpacked)


def test_without_an_index_the_build_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing half-built is left that a later build would take for whole."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    lock = ROOT / "requirements" / "light.txt"
    with pytest.raises(PackageError, match="could not be downloaded"):
        wheels_of(lock, TARGET["arm64"], tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_lock_is_read_for_the_target_and_not_for_this_python(tmp_path: Path):
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# a comment\n"
        "old==1.0 ; python_full_version < '3.13' \\\n    --hash=sha256:aa\n"
        "arm==2.0 ; platform_machine == 'aarch64' \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    )
    assert list(locked(lock, Target("arm64", "aarch64"))) == ["arm==2.0"]
    assert list(locked(lock, Target("x86_64", "x86_64"))) == []
