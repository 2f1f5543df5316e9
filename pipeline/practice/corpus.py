"""The documents: what the standard library of the running interpreter says about itself.

Sources are read with ``ast`` and never imported, so that building has no side effects. What is written in
C has no source to read and comes from ``inspected``.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["module", "class", "function"]

MINIMUM_BODY = 130
MAXIMUM_BODY = 4000

_SKIPPED = frozenset(
    {"__pycache__", "encodings", "ensurepip", "idlelib", "lib-dynload", "lib2to3", "pydoc_data"}
    | {"site-packages", "test", "tests", "turtledemo", "distutils"},
)
_PUBLIC_NAMES = {
    "_collections_abc": "collections.abc",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "posixpath": "os.path",
}
_UNWANTED = frozenset({"__main__", "antigravity", "ntpath", "this"})


class Document(msgspec.Struct, frozen=True):
    """One thing that is documented: its qualified name, where it stands, what it is, its text."""

    title: str
    path: str
    kind: Kind
    body: str


class Module(msgspec.Struct, frozen=True):
    """A source file by the name under which people know it, and what its package passes on from it."""

    name: str
    source: Path
    package: str
    exported: frozenset[str]


class Home(msgspec.Struct, frozen=True):
    """The module a document belongs to: its name, what it is about, its page where that is not its own."""

    name: str
    about: str = ""
    page: str = ""


def source_documents(root: Path | None = None) -> Iterator[Document]:
    """Every docstring below ``root`` (the standard library unless told) as a document, in a fixed order."""
    for module in _modules(root or Path(sysconfig.get_path("stdlib"))):
        try:
            tree = ast.parse(module.source.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # a distribution may carry a file that is broken on purpose
        about = " ".join((ast.get_docstring(tree) or "").split())
        if about:
            yield document(module.name, "module", about, Home(module.name))
        public = _declared(tree)
        for title, kind, text in _described(tree.body, public):
            first = title.partition(".")[0]
            by_star = "*" in module.exported and (not public or first in public)
            passed_on = by_star or first in module.exported
            owner = module.package if passed_on else module.name
            yield document(f"{owner}.{title}", kind, text, Home(owner, about))


def document(title: str, kind: Kind, text: str, home: Home) -> Document:
    """A document with its address, and a body long enough to cut a snippet from."""
    page = home.page or f"library/{home.name}.html"
    path = page if kind == "module" else f"{page}#{title}"
    body = " ".join(text.split())[:MAXIMUM_BODY]
    if len(body) < MINIMUM_BODY and home.about and kind != "module":
        body = f"{body} From the module {home.name}: {home.about[:MINIMUM_BODY]}"
    if len(body) < MINIMUM_BODY:
        body = f"{body} This {kind} of {home.name} belongs to the standard library of Python; its page gives"
        body += " the full description, the arguments it takes and the errors it raises."
    return Document(title=title, path=path, kind=kind, body=body)


def _modules(root: Path) -> Iterator[Module]:
    files = sorted(p for p in root.rglob("*.py") if not _skipped(p.relative_to(root)))
    exports: dict[str, set[str]] = {}
    for file in files:
        if file.name == "__init__.py":
            _note_exports(".".join(file.relative_to(root).parts[:-1]), file, exports)
    for file in files:
        parts = file.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        exported = frozenset(exports.get(name, ()))
        if name in _UNWANTED or (_private(name) and name not in _PUBLIC_NAMES and not exported):
            continue
        yield Module(_PUBLIC_NAMES.get(name, name), file, name.rpartition(".")[0], exported)


def _skipped(path: Path) -> bool:
    return any(part in _SKIPPED or part.startswith("config-") for part in path.parts[:-1])


def _note_exports(package: str, file: Path, exports: dict[str, set[str]]) -> None:
    """Learn what the package's ``__init__`` passes on: asyncio.tasks.gather is known as asyncio.gather."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.level == 1:
            exports.setdefault(f"{package}.{node.module}", set()).update(n.name for n in node.names)
        elif node.level == 0 and node.module.startswith(f"{package}."):
            exports.setdefault(node.module, set()).update(n.name for n in node.names)


def _declared(tree: ast.Module) -> frozenset[str]:
    """What the module lists in ``__all__``; empty where it lists nothing that can be read."""
    names: set[str] = set()
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
            and isinstance(node.value, (ast.List, ast.Tuple))
        ):
            names |= {str(item.value) for item in node.value.elts if isinstance(item, ast.Constant)}
    return frozenset(names)


def _described(
    body: list[ast.stmt], public: frozenset[str], prefix: str = ""
) -> Iterator[tuple[str, Kind, str]]:
    """Public classes, functions and methods, also inside ``if`` and ``try``.

    Who has no docstring is described by its arguments if the module lists it (csv.DictReader is one).
    """
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node) or ""
            if not _private(node.name) and (text or node.name in public):
                yield f"{prefix}{node.name}", "function", f"{_signature(node)} {text}"
        elif isinstance(node, ast.ClassDef) and not _private(node.name):
            text = ast.get_docstring(node) or ""
            if text or node.name in public:
                yield f"{prefix}{node.name}", "class", f"{node.name}: {text or _construction(node)}"
            yield from _described(node.body, frozenset(), f"{prefix}{node.name}.")
        elif isinstance(node, ast.If):
            yield from _described([*node.body, *node.orelse], public, prefix)
        elif isinstance(node, ast.Try):
            yield from _described(node.body, public, prefix)


def _construction(node: ast.ClassDef) -> str:
    """How the class is called, and what it can do, for want of a docstring."""
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    calls = [_signature(item) for item in methods if item.name == "__init__"]
    names = ", ".join(item.name for item in methods if not _private(item.name))
    call = calls[0].replace("__init__(self, ", f"{node.name}(") if calls else f"{node.name}()"
    return f"{call} Methods: {names}." if names else call


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = ast.unparse(node.args)
    if len(arguments) > 120:
        arguments = "…"
    word = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{word}{node.name}({arguments})"


def _private(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("."))
