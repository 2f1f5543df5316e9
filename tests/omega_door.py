"""Serves the CGI program of Xapian Omega: ``python omega_door.py PORT PROGRAM``."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Door(BaseHTTPRequestHandler):
    """Each question is one run of the program, as RFC 3875 says."""

    def do_GET(self) -> None:
        """Answer with what the program says."""
        path, _, query = self.path.partition("?")
        told = {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "SCRIPT_NAME": path}
        ran = subprocess.run(  # noqa: S603 - the program that a test named
            [sys.argv[2]], env={**os.environ, **told, "QUERY_STRING": query}, capture_output=True, check=False
        )
        head, _, body = ran.stdout.partition(b"\n\n")
        self.send_response(500 if ran.returncode else 200)
        for line in head.decode().splitlines():
            name, _, value = line.partition(":")
            self.send_header(name, value.strip())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Door).serve_forever()
