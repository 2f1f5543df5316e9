"""Source files: the shipped ones and the user's own, read, checked and compiled once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import Misuse
from pipeline.settings import read_secret
from stages.hosts import Place, place_named
from stages.run import SourceTerms
from stages.source import Source, SourceError, parse_source

if TYPE_CHECKING:
    from stages.extract import Extractor


class LoadedSource(msgspec.Struct, frozen=True):
    """A source ready to be used, the name of the file it came from, and that file's text.

    ``golden`` is the folder of its golden answers, which need not be there.
    """

    source: Source
    file: str
    text: str
    golden: Traversable

    @property
    def extractor(self) -> Extractor:
        """Its rules, compiled: keep what this gives."""
        # Sharding knows sources too, and needs none of the parsers.
        from stages.extract import compile_rules  # noqa: PLC0415

        return compile_rules(self.source.spec.answer)

    @property
    def terms(self) -> SourceTerms:
        """What a run freezes of it."""
        spec = self.source.spec
        return SourceTerms(self.source.hash, spec.paging.most, spec.locales)


def load_sources(own: Path | None, base_urls: Mapping[str, str] | None = None) -> dict[str, LoadedSource]:
    """Every source by name: the shipped ones, then those of the user's folder, which may replace them.

    ``base_urls`` points named sources elsewhere (a test's engine, a site of one's own). Raises
    ``Misuse`` with the file and the field that is wrong.
    """
    texts = shipped_files()
    if own is not None:
        if not own.is_dir():
            raise Misuse(f"there is no folder of sources at {own}")
        texts |= {str(path): (path.read_text("utf-8"), own) for path in sorted(own.glob("*.toml"))}
    loaded = parse_files(texts, base_urls)
    for one in loaded.values():
        try:
            one.extractor  # noqa: B018  # a wrong rule is refused now, not at the first page
        except SourceError as error:
            raise Misuse(f"source file {one.file}: {error}") from error
    return loaded


SourceFiles = dict[str, tuple[str, Traversable]]
"""Source files by path: the text, and the folder of its golden answers."""


def shipped_files() -> SourceFiles:
    """The source files that come with Serpline."""
    shipped = files("pipeline").joinpath("sources")
    return {
        entry.name: (entry.read_text("utf-8"), shipped)
        for entry in sorted(shipped.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def parse_files(texts: SourceFiles, base_urls: Mapping[str, str] | None = None) -> dict[str, LoadedSource]:
    """The sources by name, later files before earlier ones of the same name; rules are not compiled yet."""
    elsewhere = base_urls if base_urls is not None else {}
    loaded: dict[str, LoadedSource] = {}
    for file, (text, folder) in texts.items():
        stem = Path(file).stem
        try:
            source = parse_source(text, base_url=elsewhere.get(stem))
        except SourceError as error:
            raise Misuse(f"source file {file}: {error}") from error
        if source.name != stem:
            raise Misuse(f"source file {file}: its name must be {stem!r}, as the file's - at `$.name`")
        loaded[stem] = LoadedSource(source, file, text, folder.joinpath("golden").joinpath(stem))
    return loaded


def pick_source(sources: Mapping[str, LoadedSource], name: str) -> LoadedSource:
    """The source of this name. Raises ``Misuse`` with the names there are."""
    if name not in sources:
        raise Misuse(f"there is no source {name!r}; there are: {', '.join(sorted(sources))}")
    return sources[name]


def renamed(text: str, name: str, base_url: str | None = None) -> str:
    """A source file's text under another name and, given one, with another base address.

    Who names an address of a private network there allows it: ``private_hosts`` is written beside it.
    """
    text = re.sub(r"^name = .*$", lambda _: f'name = "{name}"', text, count=1, flags=re.MULTILINE)
    if base_url is not None:
        line = f'base_url = "{base_url.rstrip("/")}"'
        if _place(base_url) == "private" and not re.search(r"^private_hosts\b", text, re.MULTILINE):
            line += "\nprivate_hosts = true"
        text = re.sub(r"^base_url = .*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    return text


def user_agent(version: str, contact: str) -> str:
    """Who asks: Serpline, its version, and whom to write to."""
    return f"serpline/{version} (+{contact})" if contact else f"serpline/{version}"


def check_contact(source: Source, contact: str) -> None:
    """No contact, no live run: raises ``Misuse`` for a source beyond this machine without one."""
    if not contact and any(_place(f"//{host}") != "machine" for host in source.hosts):
        raise Misuse(
            f"source {source.name} is not on this machine: set SERPLINE_CONTACT to a mail address or URL "
            "by which its operators can reach you"
        )


def read_secrets(source: Source, read: Callable[[str], str] = read_secret) -> dict[str, str]:
    """The secrets that a source's headers need, by name.

    Raises ``Misuse`` naming the source and the variable that is missing.
    """
    try:
        return {name: read(name) for name in source.secrets}
    except Misuse as error:
        raise Misuse(f"source {source.name}: {error}") from error


def check_ready(source: Source, contact: str, read: Callable[[str], str] = read_secret) -> None:
    """Whether a source can be asked from here: raises ``Misuse`` for a missing contact or secret."""
    check_contact(source, contact)
    read_secrets(source, read)


def ready_sources(sources: Mapping[str, LoadedSource], contact: str) -> dict[str, LoadedSource]:
    """The sources that can be asked from here; rows that name another are rejected, never asked halfway."""
    ready = {}
    for name, loaded in sources.items():
        try:
            check_ready(loaded.source, contact)
        except Misuse:
            continue
        ready[name] = loaded
    return ready


def _place(url: str) -> Place | None:
    """Where the host of an address is, if it says so itself."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return place_named(host) if host is not None else None
