"""Private addresses: a source reaches inside only where its file says so, whatever a name server says."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.cli.main import main
from pipeline.errors import Misuse
from pipeline.http_client import AiohttpClient
from pipeline.robots import RobotsShelf
from pipeline.source_files import check_contact, renamed
from pipeline.storage.folder import FolderStorage
from stages.records import Request, Response
from stages.source import Limits
from tests.pipeline.hostile_engine import HostileEngine, answer
from tests.pipeline.test_hostile import ask, source_at


class Names(AbstractResolver):
    """A name server that gives these answers, one after the other, and the last one from then on."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


def send(*urls: str, private_hosts: bool = False, names: Names | None = None) -> list[Response]:
    async def sent() -> list[Response]:
        client = AiohttpClient(private_hosts=private_hosts, resolver=names)
        try:
            return [await client.send(Request("GET", url, {}), Limits(timeout=2.0)) for url in urls]
        finally:
            await client.close()

    return asyncio.run(sent())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.7", "169.254.169.254", "0.0.0.0", "fd00:ec2::254"],  # noqa: S104  # to refuse
)
def test_a_name_that_leads_inside_is_not_connected_to(address: str):
    """The engine behind it sees nothing; the failure says why."""
    with HostileEngine({}) as engine:
        [got] = send(f"http://engine.example:{engine.port}/s?q=a", names=Names([address]))
        assert engine.asked == []
    assert (got.status, got.failure) == (0, "private_address")


def test_a_name_that_leads_inside_is_asked_where_the_file_allows_it():
    with HostileEngine({}) as engine:
        names = Names(["127.0.0.1"])
        [got] = send(f"http://wiki.lan:{engine.port}/s?q=a", private_hosts=True, names=names)
    assert (got.status, got.failure) == (200, "")


def test_the_address_that_was_looked_at_is_the_one_connected_to():
    """A name server that says one thing now and another later: every answer is judged before it is used."""
    with HostileEngine({}) as one, HostileEngine({}) as other:
        names = Names(["127.0.0.1"], ["169.254.169.254"], ["169.254.169.254", "127.0.0.1"])
        urls = [f"http://wiki.lan:{port}/s?q=a" for port in (one.port, other.port, other.port)]
        first, second, third = send(*urls, private_hosts=True, names=names)
        assert (first.status, second.failure, third.status) == (200, "private_address", 200)
        assert len(other.asked) == 1


@pytest.mark.parametrize(
    "host",
    ["10.0.0.7", "169.254.169.254", "0.0.0.0", "2130706433", "127.1", "0177.0.0.1", "[fe80::1%25lo]"],  # noqa: S104  # to refuse
)
def test_an_address_in_the_url_itself_is_judged_too(host: str):
    """No name server is asked for those, so they are looked at before."""
    [got] = send(f"http://{host}/s?q=a")
    assert got.failure == "private_address"
    assert got.latency_ms < 500


def test_this_machine_is_asked_by_its_own_names_only():
    """``127.0.0.1`` or ``localhost`` in a file means what it says; a name that leads here does not."""
    with HostileEngine({}) as engine:
        for host in ("127.0.0.1", "localhost"):
            assert send(f"http://{host}:{engine.port}/s?q=a")[0].failure == ""


@pytest.mark.parametrize("with_robots", [False, True])
def test_each_task_of_a_private_host_fails_with_the_reason_and_without_a_request(
    tmp_path: Path,
    with_robots: bool,  # noqa: FBT001  # a row of the table above
):
    """Not tried again, not waited for, whether its robots.txt would be read first or not."""
    robots = RobotsShelf(FolderStorage(tmp_path), time.time) if with_robots else None
    with HostileEngine({}) as engine:
        source = source_at(f"http://engine.example:{engine.port}")
        pages = ask(source, ("a", "b"), robots, names=Names(["127.0.0.1"]))
        assert engine.asked == []
    assert {word: (page.status, page.reason, page.attempts) for word, page in pages.items()} == dict.fromkeys(
        "ab", ("failed", "private_address", 1)
    )


def test_a_host_that_came_back_from_inside_has_its_rules_read(tmp_path: Path):
    """What a private address left in the fleet's store is out of date at once."""
    robots = RobotsShelf(FolderStorage(tmp_path), time.time)
    with HostileEngine({"/robots.txt": answer(b"User-agent: *\nDisallow: /s\n", "text/plain")}) as engine:
        base = f"http://wiki.lan:{engine.port}"
        ask(source_at(base), ("a",), robots, names=Names(["127.0.0.1"]))
        allowed = source_at(base, head="private_hosts = true")
        [page] = ask(allowed, ("a",), robots, names=Names(["127.0.0.1"])).values()
        assert engine.asked == ["/robots.txt"]
    assert (page.status, page.reason) == ("refused", "robots")


def test_a_redirect_to_an_allowed_name_that_leads_inside_is_not_followed():
    """The file allows the name, not whatever its name server says of it."""
    away = answer(b"", status=302, Location="http://b.example/s")
    with HostileEngine({"a": away}) as engine:
        source = source_at(engine.base_url, head='allowed_hosts = ["b.example"]')
        pages = ask(source, ("a", "b"), names=Names(["10.0.0.7"]))
    assert (pages["a"].status, pages["a"].reason) == ("failed", "private_address")
    assert pages["b"].status == "ok"


@pytest.mark.parametrize(
    ("base", "allowed"), [("http://10.0.0.7/w/", True), ("http://localhost:8888", False), ("http://[", False)]
)
def test_a_copy_for_an_address_of_ones_own_network_allows_it(base: str, allowed: bool):  # noqa: FBT001  # a row of the table above
    """Who types the address means it: the file says so then, once."""
    text = renamed('name = "a"\nbase_url = "http://x.example"\nkind = "api"\n', "b", base)
    assert text.count("private_hosts = true") == allowed
    assert renamed(text, "c", base).count("private_hosts = true") == allowed


def test_without_a_contact_no_host_of_the_source_is_beyond_this_machine():
    """Neither its own nor one that a redirect may lead to; one in a private network is somebody's too."""
    here = source_at("http://127.0.0.1:1", head='allowed_hosts = ["localhost:2", "[::1]:3"]')
    check_contact(here, "")
    for source in (
        source_at("http://127.0.0.1:1", head='allowed_hosts = ["b.example"]'),
        source_at("http://10.0.0.7", head="private_hosts = true"),
        source_at("http://localhost.example"),
    ):
        check_contact(source, "me@example.org")
        with pytest.raises(Misuse, match="SERPLINE_CONTACT"):
            check_contact(source, "")


def test_trying_a_source_with_a_private_host_says_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """One line with the file, the field and the value."""
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nkind = "api"\nsummary = "x"\nbase_url = "http://10.0.0.7"\n'
        '[request]\nurl = "{base_url}/s?q={keyword}"\n[politeness]\nrate = 1\n[answer]\nlanguage = "css"\n'
        '[[answer.results]]\nrows = "a"\nfields = { title = "b" }\n'
    )
    monkeypatch.setenv("SERPLINE_SOURCES", str(tmp_path))
    assert main(["sources", "try", "mine", "x"]) == 2
    said = capsys.readouterr().err
    assert "mine.toml" in said
    assert "private_hosts" in said
    assert len(said.splitlines()) == 1


def test_a_worker_without_a_contact_takes_no_work_for_a_host_beyond_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It says so in one line before it looks for its broker."""
    monkeypatch.delenv("SERPLINE_CONTACT", raising=False)
    assert main(["worker", "fetch", "--source", "wikipedia", "--broker", "redis://127.0.0.1:1"]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert "SERPLINE_CONTACT" in said
