"""Real servers for tests: each on a free loopback port in a temporary folder, stopped by its process id.

``start_redis``, ``start_rabbitmq``, ``start_mediawiki`` and ``start_omega`` give a running ``Server``. Where
the program is not installed they raise ``Missing``; ``.ci/servers`` installs it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

STARTS_WITHIN = 60.0
STOPS_WITHIN = 20.0
MEDIAWIKI = Path("/usr/share/mediawiki")
OMEGA = Path("/usr/lib/cgi-bin/omega/omega")
OMEGA_TEMPLATES = Path("/usr/share/xapian-omega/templates")
RABBITMQ_PLACES = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/usr/local/sbin")


class Missing(Exception):
    """A server's program is not installed here."""


def free_port() -> int:
    """A loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One running program, or several that belong together; ``stop`` and ``start`` keep its data."""

    def __init__(
        self,
        url: str,
        folder: Path,
        commands: list[list[str]],
        env: Mapping[str, str],
        ready: Callable[[], bool],
    ) -> None:
        self.url = url
        self._folder = folder
        self._commands = commands
        self._env = dict(env)
        self._ready = ready
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the processes and return when the server answers."""
        with (self._folder / "output.log").open("ab") as log:
            for command in self._commands:
                self._processes.append(
                    subprocess.Popen(  # noqa: S603 - our own fixed commands
                        command,
                        cwd=self._folder,
                        env=self._env,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,  # one group, so that its children end with it
                    )
                )
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._ready():
            over = time.monotonic() > deadline
            if over or self._processes[-1].poll() is not None:
                said = (self._folder / "output.log").read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"{self._commands[-1][0]} did not come up; it said:\n{said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the processes, the last started first; returns when they are gone."""
        while self._processes:
            process = self._processes.pop()
            for kill in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, kill)
                    process.wait(STOPS_WITHIN)
                except ProcessLookupError:
                    process.wait(STOPS_WITHIN)
                except subprocess.TimeoutExpired:
                    continue
                break


def start_redis(folder: Path) -> Server:
    """A Redis that writes every change to its log before it answers, so that a restart keeps messages."""
    program = shutil.which("redis-server", path=_path())
    if program is None:
        raise Missing("redis-server is not installed; .ci/servers installs it")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]

    def ready() -> bool:
        return _answer(port, b"PING\r\n").startswith(b"+PONG")

    server = Server(f"redis://127.0.0.1:{port}/0", folder, [[program, *options, *durable]], os.environ, ready)
    server.start()
    return server


def start_rabbitmq(folder: Path) -> Server:
    """A RabbitMQ node of its own: name, ports, cookie and data are this folder's, whoever runs it.

    Debian's ``/usr/sbin/rabbitmq-server`` changes to the user ``rabbitmq`` and to ``/var/lib``, so the
    script behind it is started. ``epmd`` is started first, or the node would leave one running.
    """
    program = shutil.which("rabbitmq-server", path=os.pathsep.join(RABBITMQ_PLACES))
    epmd = shutil.which("epmd", path=_path())
    if program is None or epmd is None:
        raise Missing("rabbitmq-server is not installed; .ci/servers installs it")
    port, dist_port, epmd_port = free_port(), free_port(), free_port()
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.file = false\n"
        "disk_free_limit.absolute = 10MB\n"
    )
    (folder / "plugins").write_text("[].\n")
    env = {
        "PATH": _path(),
        "HOME": str(folder),  # Erlang keeps its cookie here
        "LANG": "C.UTF-8",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_NODENAME": f"serpline-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
    }

    def ready() -> bool:
        # A node listens before it serves; when it does, it answers a wrong header with the right one.
        return _answer(port, b"AMQP\x00\x00\x00\x00").startswith(b"AMQP")

    commands = [[epmd, "-port", str(epmd_port), "-address", "127.0.0.1"], [program]]
    server = Server(f"amqp://guest:guest@127.0.0.1:{port}//", folder, commands, env, ready)
    server.start()
    return server


def start_mediawiki(folder: Path, pages: Mapping[str, str]) -> Server:
    """A wiki of these pages (wikitext by title) on SQLite, served by PHP's own web server."""
    php = shutil.which("php", path=_path())
    if php is None or not (MEDIAWIKI / "maintenance" / "install.php").exists():
        raise Missing("mediawiki is not installed; .ci/servers installs it")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "MW_CONFIG_FILE": str(folder / "LocalSettings.php")}

    def maintain(script: str, *words: str, known: bool = True) -> None:
        command = [php, str(MEDIAWIKI / "maintenance" / script), *words]
        subprocess.run(  # noqa: S603 - our own fixed commands
            command, cwd=folder, env=env if known else os.environ, check=True, capture_output=True
        )

    place = [
        "--dbtype",
        "sqlite",
        "--dbname",
        "wiki",
        "--dbpath",
        str(folder / "data"),
        "--confpath",
        str(folder),
    ]
    address = ["--server", url, "--scriptpath", "", "--lang", "en", "--pass", os.urandom(16).hex()]
    (folder / "data").mkdir()
    maintain("install.php", *place, *address, "Test wiki", "Admin", known=False)
    (folder / "pages").mkdir()
    files = []
    for title, text in pages.items():
        files.append(folder / "pages" / f"{title}.txt")
        files[-1].write_text(text, "utf-8")
    maintain("importTextFiles.php", "-u", "Admin", "--overwrite", *map(str, files))
    maintain("rebuildtextindex.php")

    def ready() -> bool:
        return _answer(port, b"GET /api.php HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.")

    server = Server(url, folder, [[php, "-S", f"127.0.0.1:{port}", "-t", str(MEDIAWIKI)]], env, ready)
    server.start()
    return server


def start_omega(folder: Path, pages: Mapping[str, str]) -> Server:
    """Xapian's own search engine over these pages (text by title), with the templates that come with it."""
    omindex = shutil.which("omindex", path=_path())
    if omindex is None or not OMEGA.exists():
        raise Missing("xapian-omega is not installed; .ci/servers installs it")
    for name in ("pages", "data", "log", "cdb"):
        (folder / name).mkdir()
    for at, (title, text) in enumerate(pages.items()):
        page = f'<html><head><meta charset="utf-8"><title>{escape(title)}</title></head><body>{escape(text)}'
        (folder / "pages" / f"page {at}.html").write_text(page, "utf-8")
    (folder / "omega.conf").write_text(
        f"database_dir {folder / 'data'}\ntemplate_dir {OMEGA_TEMPLATES}\nlog_dir {folder / 'log'}\n"
        f"cdb_dir {folder / 'cdb'}\n"
    )
    command = [omindex, "--db", str(folder / "data" / "default"), "--url", "/pages", str(folder / "pages")]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own fixed command
    port = free_port()
    env = {**os.environ, "OMEGA_CONFIG_FILE": str(folder / "omega.conf")}

    def ready() -> bool:
        return _answer(port, b"GET /omega HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.")

    door = [sys.executable, str(Path(__file__).with_name("omega_door.py")), str(port), str(OMEGA)]
    server = Server(f"http://127.0.0.1:{port}", folder, [door], env, ready)
    server.start()
    return server


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _answer(port: int, question: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as line:
            line.sendall(question)
            return line.recv(64)
    except OSError:
        return b""
