"""The source file: a search engine described in TOML, decoded, checked and ready to be used."""

from __future__ import annotations

import tomllib
from hashlib import blake2b
from urllib.parse import urlsplit

import msgspec

from stages.records import Malformed
from stages.source_checks import check_headers, check_host, check_json, check_keyword, check_spec, need
from stages.source_spec import (
    TRANSFORMS,
    AnswerSpec,
    FieldRule,
    Limits,
    Marks,
    Politeness,
    ResultRules,
    SourceError,
    SourceSpec,
)
from stages.template import Template, fill, parse_template, secret_names

__all__ = [
    "TRANSFORMS",
    "AnswerSpec",
    "FieldRule",
    "Limits",
    "Marks",
    "Politeness",
    "ResultRules",
    "Source",
    "SourceError",
    "SourceSpec",
    "parse_source",
]


class Source(msgspec.Struct, frozen=True):
    """A checked source: its description, the hash of its file, its templates, the hosts it may ask.

    ``bases`` has the base address by locale where that has a slot, else one under the empty name;
    ``headers`` the plain ones, ``secret_headers`` those with slots for ``secrets``.
    """

    spec: SourceSpec
    hash: str
    url: Template
    body: Template | None
    hosts: frozenset[str]
    bases: dict[str, str]
    headers: dict[str, str]
    secret_headers: dict[str, str]
    secrets: tuple[str, ...]

    @property
    def obeys_robots(self) -> bool:
        """Whether robots.txt decides what is asked."""
        said = self.spec.politeness.robots
        return said if said is not None else self.spec.kind == "page"

    @property
    def name(self) -> str:
        """The source's name, as rows, queues and log lines have it."""
        return self.spec.name

    def base_for(self, locale: str) -> str:
        """The base address for a locale. Raises ``Malformed`` for one that the source has no host for."""
        base = self.bases.get("" if "" in self.bases else locale)
        if base is None:
            raise Malformed(f"source {self.name} has no locale {locale!r}")
        return base


def parse_source(text: str, *, base_url: str | None = None) -> Source:
    """Give the source that a TOML text describes; ``base_url`` replaces the file's own.

    Raises ``SourceError`` with the path of the field that is wrong.
    """
    try:
        values = tomllib.loads(text)
        spec = msgspec.convert(values, SourceSpec)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SourceError(str(error)) from error
    if base_url is not None:
        spec = msgspec.structs.replace(spec, base_url=base_url)
    check_spec(spec)
    body = spec.request.body
    try:
        bases = _bases(spec)
        url = parse_template(spec.request.url, "request.url")
        filled = parse_template(body, "request.body") if body is not None else None
    except ValueError as error:
        raise SourceError(str(error)) from error
    check_keyword(url, filled)
    if filled is not None and spec.request.body_format == "json":
        check_json(filled)
    headers = spec.request.headers
    secret_headers = {name: value for name, value in headers.items() if secret_names(value)}
    check_headers(headers, secret_headers, bases)
    own = {urlsplit(base).netloc.lower() for base in bases.values()}
    for host in sorted(own):
        check_host(host, "base_url", spec)
    for at, host in enumerate(spec.allowed_hosts):
        check_host(host, f"allowed_hosts[{at}]", spec)
    return Source(
        spec=spec,
        hash=blake2b(text.encode(), digest_size=8).hexdigest(),
        url=url,
        body=filled,
        hosts=frozenset({*own, *(allowed.lower() for allowed in spec.allowed_hosts)}),
        bases=bases,
        headers={name: value for name, value in headers.items() if name not in secret_headers},
        secret_headers=secret_headers,
        secrets=tuple(sorted({name for value in secret_headers.values() for name in secret_names(value)})),
    )


def _bases(spec: SourceSpec) -> dict[str, str]:
    """The base address by locale, checked: the only slot is ``{language}``, of the locales in the file.

    So every host is known when the file is read, and no task can name another.
    """
    template = parse_template(spec.base_url, "base_url")
    need(set(template.slots) <= {"language"}, "base_url", "no slot but {language}")
    need(spec.locales or not template.slots, "locales", "its locales: base_url has a host for each")
    locales = spec.locales if template.slots else ("",)
    bases = {
        locale: fill(template, {"language": locale.partition("-")[0]}, "url").rstrip("/")
        for locale in locales
    }
    for base in bases.values():
        try:
            parts = urlsplit(base)
        except ValueError as error:
            expected = f"Expected an http(s) address with a host ({error})"
            raise SourceError(f"{expected} - at `$.base_url`") from error
        web = parts.scheme in ("http", "https") and parts.hostname
        need(web, "base_url", "an http(s) address with a host")
        need("@" not in parts.netloc, "base_url", "no user and password: addresses are stored")
    return bases
