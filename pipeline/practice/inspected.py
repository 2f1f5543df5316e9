"""The documents of what is written in C: builtins and extension modules, asked rather than read."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

from pipeline.practice.corpus import Document, Home, Kind, document

_SPOKEN_FOR = {
    "_asyncio": "asyncio",
    "_bisect": "bisect",
    "_bz2": "bz2",
    "_codecs": "codecs",
    "_collections": "collections",
    "_contextvars": "contextvars",
    "_csv": "csv",
    "_datetime": "datetime",
    "_decimal": "decimal",
    "_elementtree": "xml.etree.ElementTree",
    "_functools": "functools",
    "_hashlib": "hashlib",
    "_heapq": "heapq",
    "_io": "io",
    "_json": "json",
    "_lzma": "lzma",
    "_operator": "operator",
    "_pickle": "pickle",
    "_queue": "queue",
    "_random": "random",
    "_signal": "signal",
    "_socket": "socket",
    "_sqlite3": "sqlite3",
    "_ssl": "ssl",
    "_struct": "struct",
    "_thread": "threading",
    "_weakref": "weakref",
    "_zoneinfo": "zoneinfo",
    "posix": "os",
    "pyexpat": "xml.parsers.expat",
}
"""Extension modules that stand behind a public one."""

_THEMSELVES = (
    "array",
    "atexit",
    "binascii",
    "cmath",
    "errno",
    "faulthandler",
    "fcntl",
    "gc",
    "grp",
    "itertools",
    "marshal",
    "math",
    "mmap",
    "pwd",
    "re",
    "readline",
    "resource",
    "select",
    "sys",
    "syslog",
    "termios",
    "time",
    "unicodedata",
    "zlib",
)


def inspected_documents() -> Iterator[Document]:
    """What builtins and the extension modules of importance say about themselves, in a fixed order."""
    yield from _members(importlib.import_module("builtins"), "")
    names = {name: name for name in _THEMSELVES} | _SPOKEN_FOR
    for name, spoken in sorted(names.items()):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # not every platform has every extension
        if name == spoken and module.__doc__:
            yield document(spoken, "module", module.__doc__, Home(spoken))
        yield from _members(module, spoken)


def _members(module: ModuleType, spoken: str) -> Iterator[Document]:
    about = " ".join((module.__doc__ or "").split())
    for name, value in sorted(vars(module).items()):
        kind = _kind(value)
        if name.startswith("_") or kind is None:
            continue
        title = f"{spoken}.{name}" if spoken else name
        yield from _one(title, kind, value, Home(spoken, about))
        if kind != "class":
            continue
        for method, function in sorted(vars(value).items()):
            if not method.startswith("_") and _kind(function) == "function":
                yield from _one(f"{title}.{method}", "function", function, Home(spoken, about))


def _one(title: str, kind: Kind, value: object, home: Home) -> Iterator[Document]:
    text = getattr(value, "__doc__", None)
    if not isinstance(text, str) or not text.strip():
        return
    name = title.rpartition(".")[2]
    start = f"{name}:" if kind == "class" else f"{name}{_signature(value)}"
    if not home.name:
        home = Home("builtins", home.about, _builtin_page(title, kind, value))
    yield document(title, kind, f"{start} {text}", home)


def _signature(value: object) -> str:
    """The arguments as a reader knows them: without the module that C functions are bound to."""
    written = getattr(value, "__text_signature__", None) or ""
    return re.sub(r"\(\$module(, /)?(, )?", "(", written).replace("$", "")


def _builtin_page(title: str, kind: Kind, value: object) -> str:
    """The page on which the documentation keeps a builtin."""
    if isinstance(value, type) and issubclass(value, BaseException):
        return "library/exceptions.html"
    return "library/stdtypes.html" if kind == "class" or "." in title else "library/functions.html"


def _kind(value: object) -> Kind | None:
    if isinstance(value, type):
        return "class"
    # A descriptor of a C class answers to none of inspect's questions about functions but this one.
    return "function" if inspect.isroutine(value) else None
