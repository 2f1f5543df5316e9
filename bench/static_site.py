"""The engine for benchmarks: the practice engine's answers as files, served by nginx on a core of its own.

Which file answers is fixed by a hash of the question, so every contender gets the same answers.
"""

from __future__ import annotations

import csv
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.figures import Failed
from bench.process import ROOT, WORK, pinned
from pipeline.practice.desk import ROBOTS
from pipeline.practice.index import Index
from pipeline.practice.server import PracticeEngine
from pipeline.practice.static import write_static
from stages.keywords import normalise

FILES = 200
RESULTS_A_PAGE = 10

_CORE = 1
_LIGHTEST = 85_000
"""Bytes of the lightest page that is still as heavy as a real one."""

_CONFIGURATION = """
{user}
worker_processes 1;
error_log error.log;
pid nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    types {{ application/json json; text/plain txt; }}
    default_type text/html;
    charset utf-8;
    charset_types application/json;
    split_clients "$arg_q" $chosen {{
{shares}
    }}
    server {{
        listen 127.0.0.1:{port};
        root files;
        location = /robots.txt {{ }}
        location = /search {{ rewrite ^ /$chosen.html break; }}
        location = /api/search {{ rewrite ^ /$chosen.json break; }}
    }}
}}
"""


def questions() -> list[str]:
    """The real questions that the project ships, in the form in which Serpline asks them."""
    with (ROOT / "examples" / "keywords.csv").open(encoding="utf-8", newline="") as file:
        return [normalise(row["keyword"]) for row in csv.DictReader(file)]


def write_keywords(count: int) -> Path:
    """A keyword file of so many distinct questions."""
    asked = questions()
    path = WORK / f"questions-{count}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{asked[n % len(asked)]} {n}\n" for n in range(count)), "utf-8")
    return path


@contextmanager
def serving() -> Iterator[str]:
    """Write the answers, start nginx on a free port; gives the base URL and ends nginx afterwards."""
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if nginx is None:
        raise Failed("the pages are served by nginx: install Debian's nginx-light, or put nginx on the PATH")
    prefix = WORK / "nginx"
    shutil.rmtree(prefix, ignore_errors=True)
    _write_answers(prefix / "files")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    base_url = f"http://127.0.0.1:{port}"
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    share = 100 / FILES
    shares = [f"        {share:.2f}% {n};" for n in range(FILES - 1)] + [f"        * {FILES - 1};"]
    (prefix / "nginx.conf").write_text(
        _CONFIGURATION.format(user=user, port=port, shares="\n".join(shares)), "utf-8"
    )
    command = [nginx, "-p", f"{prefix}/", "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
    with subprocess.Popen(pinned(command, _CORE)) as process:
        try:
            _await_answer(base_url, process)
            yield base_url
        finally:
            process.terminate()


def _write_answers(folder: Path) -> None:
    """The same questions as pages and as JSON; only those with a whole page of results."""
    index_path = WORK / "practice.sqlite3"
    index = Index(index_path)
    full = [text for text in questions()[: FILES * 2] if len(index.search(text)[1]) == RESULTS_A_PAGE]
    index.close()
    asked = full[:FILES]
    pages = write_static(folder, asked, index_path=index_path)
    lightest = min(page.stat().st_size for page in pages)
    if len(pages) != FILES or lightest < _LIGHTEST:
        raise Failed(f"{len(pages)} pages were written, the lightest of {lightest:,} bytes")
    with PracticeEngine(index_path) as engine:
        for n, question in enumerate(asked):
            path = f"/api/search?q={quote(question, safe='')}&hl=en&page=1&size={RESULTS_A_PAGE}"
            (folder / f"{n}.json").write_bytes(_get(engine.base_url, path))
    (folder / "robots.txt").write_text(ROBOTS, "utf-8")


def _await_answer(base_url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise Failed("nginx did not start: see build/bench/nginx/error.log")
        try:
            _get(base_url, "/robots.txt")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Failed("nginx gave no answer within five seconds")


def _get(base_url: str, path: str) -> bytes:
    connection = HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise Failed(f"{path} was answered with {answer.status}")
        return answer.read()
    finally:
        connection.close()
