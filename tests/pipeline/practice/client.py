"""A client that hides nothing: no redirects followed, nothing inflated, one connection a request."""

import http.client
from typing import NamedTuple
from urllib.parse import urlencode


class Answer(NamedTuple):
    """What came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(base_url: str, path: str, method: str = "GET", body: bytes | None = None, **query: object) -> Answer:
    """One request; ``query`` is encoded behind the path."""
    connection = http.client.HTTPConnection(base_url.removeprefix("http://"), timeout=10)
    try:
        target = f"{path}?{urlencode(query)}" if query else path
        connection.request(method, target, body=body, headers={"User-Agent": "serpline-tests"})
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()
