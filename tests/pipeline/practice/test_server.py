"""The engine over the wire: its doors, its notes, its beginning and end."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from pipeline.errors import Misuse
from pipeline.practice.app import create_app
from pipeline.practice.desk import Behaviour
from pipeline.practice.faults import Fault
from pipeline.practice.index import Index
from pipeline.practice.page import ask as asked
from pipeline.practice.page import results_page
from pipeline.practice.quota import Quota
from pipeline.practice.server import PracticeEngine, serve
from pipeline.practice.static import write_static
from tests.pipeline.practice.client import ask


def test_the_page_over_the_wire_is_the_page(engine: PracticeEngine, index: Index):
    answer = ask(engine.base_url, "/search", q="read a file", page=2, hl="de")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.body == results_page(index, asked("read a file", page="2", hl="de"))


def test_the_api_tells_what_the_page_shows(engine: PracticeEngine, index: Index):
    answer = ask(engine.base_url, "/api/search", q="read a file", page=2, size=5)
    told = json.loads(answer.body)
    total, hits = index.search("read a file", 5, 5)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert (told["query"], told["total"], told["page"], told["next"]) == ("read a file", total, 2, 3)
    assert [item["position"] for item in told["items"]] == [6, 7, 8, 9, 10]
    assert [(i["title"], i["link"], i["snippet"], i["kind"]) for i in told["items"]] == [
        (hit.title, hit.link, hit.snippet, hit.kind) for hit in hits
    ]


def test_the_api_has_an_end(engine: PracticeEngine):
    assert json.loads(ask(engine.base_url, "/api/search", q="read a file", page=10).body)["next"] is None
    assert json.loads(ask(engine.base_url, "/api/search", q="qqxyzzy").body)["items"] == []
    assert len(json.loads(ask(engine.base_url, "/api/search", q="file", size=9999).body)["items"]) == 100


def test_robots_txt_allows_searches_and_nothing_private(engine: PracticeEngine):
    text = ask(engine.base_url, "/robots.txt").body.decode()
    assert {"Allow: /search", "Allow: /api", "Disallow: /private"} <= set(text.splitlines())
    engine.set_robots("User-agent: *\nDisallow: /\n")
    assert ask(engine.base_url, "/robots.txt").body == b"User-agent: *\nDisallow: /\n"


def test_echo_tells_the_callers_address(engine: PracticeEngine):
    assert json.loads(ask(engine.base_url, "/echo").body)["address"] == "127.0.0.1"


def test_a_result_link_leads_to_its_target_and_nowhere_else(engine: PracticeEngine):
    target = "https://docs.python.example/3/library/csv.html#csv.reader"
    assert ask(engine.base_url, "/url", target=target).headers["Location"] == target
    assert ask(engine.base_url, "/url", target="https://elsewhere.example/").status == 404


@pytest.mark.parametrize("elsewhere", ["//evil.example/", "https://evil.example/", "/\\evil.example"])
def test_redirects_stay_on_this_engine(engine: PracticeEngine, elsewhere: str):
    assert ask(engine.base_url, "/redirect", to="/search?q=x").headers["Location"] == "/search?q=x"
    assert ask(engine.base_url, "/redirect", to=elsewhere).headers["Location"].startswith("/redirect?round=")


def test_every_request_is_noted_and_controls_are_not(engine: PracticeEngine):
    before = time.time(), time.monotonic()
    engine.set_faults([Fault("error", keywords=("bad",))])
    for query in ("good", "bad"):
        ask(engine.base_url, "/search", q=query, page=3)
    ask(engine.base_url, "/robots.txt")
    notes = json.loads(ask(engine.base_url, "/practice/arrivals").body)
    told = [(n["path"], n["keyword"], n["page"], n["answer"], n["user_agent"]) for n in notes]
    assert told == [
        ("/search", "good", 3, "ok", "serpline-tests"),
        ("/search", "bad", 3, "error", "serpline-tests"),
        ("/robots.txt", "", 1, "ok", "serpline-tests"),
    ]
    assert all(before[0] <= n["at"] <= time.time() for n in notes)
    assert all(before[1] <= n["monotonic"] <= time.monotonic() for n in notes)
    assert [a.keyword for a in engine.arrivals] == ["good", "bad", ""]


def test_an_arrival_is_noted_when_it_arrives_not_when_it_is_answered(engine: PracticeEngine):
    engine.set_faults([Fault("slow", share=1.0, seconds=0.4)])
    asking = threading.Thread(target=ask, args=(engine.base_url, "/search"), kwargs={"q": "x"})
    asking.start()
    deadline = time.monotonic() + 5
    while not engine.arrivals and time.monotonic() < deadline:
        time.sleep(0.005)
    assert asking.is_alive()
    assert engine.arrivals[0].answer == "slow"
    asking.join()


def test_faults_can_be_set_and_ended_over_the_wire(engine: PracticeEngine):
    orders = {"faults": [{"kind": "forbidden", "share": 1.0}], "robots": "User-agent: *\n"}
    assert ask(engine.base_url, "/practice/faults", "POST", json.dumps(orders).encode()).status == 200
    assert ask(engine.base_url, "/search", q="x").status == 403
    assert ask(engine.base_url, "/practice/reset", "POST").status == 200
    assert ask(engine.base_url, "/search", q="x").status == 200
    assert len(engine.arrivals) == 1


def test_orders_that_cannot_be_understood_change_nothing(engine: PracticeEngine):
    answer = ask(engine.base_url, "/practice/faults", "POST", b'{"faults":[{"kind":"boredom"}]}')
    assert answer.status == 400
    assert "$.faults[0].kind" in json.loads(answer.body)["error"]
    assert ask(engine.base_url, "/search", q="x").status == 200


def test_a_quota_refuses_what_is_too_much_and_says_until_when(engine: PracticeEngine):
    engine.set_faults([], quota=Quota(limit=0.5, burst=2))
    answers = [ask(engine.base_url, "/search", q=f"{n}") for n in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[2].headers["Retry-After"] == "2"
    assert [a.answer for a in engine.arrivals] == ["ok", "ok", "quota", "quota"]
    assert ask(engine.base_url, "/robots.txt").status == 200


def test_many_at_once_are_all_answered(engine: PracticeEngine):
    threads = [
        threading.Thread(target=ask, args=(engine.base_url, "/search"), kwargs={"q": f"file {n}"})
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.keyword for a in engine.arrivals} == {f"file {n}" for n in range(40)}


def test_an_engine_ends_with_its_block_even_while_it_drips(index_path: Path):
    with PracticeEngine(index_path, [Fault("drip", share=1.0)]) as engine:
        connection = http.client.HTTPConnection(engine.base_url.removeprefix("http://"), timeout=5)
        connection.request("GET", "/search?q=x")
        response = connection.getresponse()
        began = time.monotonic()
    assert time.monotonic() - began < 3
    response.close()
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        ask(engine.base_url, "/echo")


def test_a_port_that_is_taken_is_said_so(engine: PracticeEngine, index_path: Path):
    port = int(engine.base_url.rpartition(":")[2])
    with pytest.raises(Misuse, match="choose another port"), PracticeEngine(index_path, port=port):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org", ""])  # noqa: S104 - it must be refused
def test_only_this_machine_is_served(index_path: Path, host: str):
    with pytest.raises(Misuse, match="loopback"):
        serve(host, 0, index_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_when_it_is_ready_and_ends_cleanly_when_told(index_path: Path, number: signal.Signals):
    program = (
        "import sys; from pathlib import Path; from pipeline.practice.server import serve;"
        "serve('127.0.0.1', 0, Path(sys.argv[1]), [], lambda url: print(url, flush=True))"
    )
    command = [sys.executable, "-c", program, str(index_path)]
    root = Path(__file__).parents[3]
    # The command is this interpreter and the lines above.
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert ask(url, "/search", q="csv").status == 200
        os.kill(process.pid, number)
        out, complaints = process.communicate(timeout=10)
    assert (process.returncode, out, complaints) == (0, b"", b"")


def test_the_engine_is_also_an_application(index_path: Path):
    """For who has a loop already; it needs no server to be asked."""

    async def use() -> tuple[int, bytes]:
        app = await create_app(index_path, Behaviour(robots="User-agent: *\n"))
        async with TestServer(app) as server, TestClient(server) as client:
            answer = await client.get("/robots.txt")
            return answer.status, await answer.read()

    assert asyncio.run(use()) == (200, b"User-agent: *\n")


def test_static_pages_are_the_engines_pages(tmp_path: Path, index: Index, index_path: Path):
    files = write_static(tmp_path / "pages", ["read a file", "csv"], 2, index_path=index_path, gzipped=True)
    assert [file.name for file in files] == ["0.html", "1.html", "2.html", "3.html"]
    assert files[1].read_bytes() == results_page(index, asked("read a file", page="2"))
    assert (tmp_path / "pages" / "0.html.gz").stat().st_size < files[0].stat().st_size / 3
