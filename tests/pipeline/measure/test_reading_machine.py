"""The machine below a probe, from a folder that stands for it, and from the one that this runs on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

from pipeline.measure.machine import read_machine, since_start

STAT = " ".join(["S", "1", *("0" for _ in range(17)), "4200", *("0" for _ in range(30))])


def made(root: Path) -> Path:
    """A machine of files: two processes, one mount, a limit."""
    files = {
        "proc/cpuinfo": "processor : 0\nmodel name : Graviton\n",
        "proc/meminfo": "MemTotal: 200000 kB\n",
        "proc/mounts": f"/dev/root {root} ext4 ro 0 0\n/dev/gone /gone/away ext4 rw 0 0\n",
        "proc/uptime": "50.00 1.00\n",
        "proc/sys/kernel/random/boot_id": "boot-7\n",
        "proc/self/stat": f"9 (python3) {STAT}\n",
        "proc/1/stat": f"1 (init) {STAT}\n",
        "proc/9/stat": f"9 (python3) {STAT}\n",
        "proc/9/cmdline": "python3\0--password=hunter2\0",
        "proc/9/environ": "SECRET=hunter2\0",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
        "etc/os-release": 'PRETTY_NAME="Amazon Linux 2023"\n',
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_everything_is_read(tmp_path: Path):
    """What there is, in the columns and beside them; a mount that is gone has no size."""
    machine = read_machine(made(tmp_path))
    assert (machine.boot_id, machine.os_release) == ("boot-7", "Amazon Linux 2023")
    assert (machine.cpu_model, machine.cpu_count) == ("Graviton", 1)
    more = machine.more
    assert more["memory_kb"] == {"MemTotal": 200000}
    assert more["memory_limit_bytes"] == 536870912
    assert more["processes"] == [
        {"id": 1, "name": "init", "parent": 1},
        {"id": 9, "name": "python3", "parent": 1},
    ]
    root, gone = more["disks"]
    assert root["bytes"] > root["free_bytes"] > 0
    assert "bytes" not in gone
    assert more["user"]["id"] == os.getuid()


def test_a_newer_kind_of_limit_stands_first(tmp_path: Path):
    """The second version of the groups, where it says a number."""
    (made(tmp_path) / "sys/fs/cgroup/memory.max").write_text("268435456\n")
    assert read_machine(tmp_path).more["memory_limit_bytes"] == 268435456
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert read_machine(tmp_path).more["memory_limit_bytes"] == 536870912


def test_neither_command_lines_nor_variables_are_read(tmp_path: Path):
    """They may hold what belongs in no table."""
    assert "hunter2" not in msgspec.json.encode(read_machine(made(tmp_path))).decode()


def test_an_empty_machine_gives_little_and_no_error(tmp_path: Path):
    """A kernel that shows nothing."""
    machine = read_machine(tmp_path)
    assert (machine.boot_id, machine.cpu_count, machine.more["processes"]) == ("", 0, [])
    assert since_start(tmp_path) is None


def test_a_process_knows_how_long_it_lived(tmp_path: Path):
    """From the kernel's ticks: begun 42 seconds after the machine, which is 50 old."""
    assert since_start(made(tmp_path)) == 50 - 4200 / os.sysconf("SC_CLK_TCK")


def test_this_machine_can_be_written_down():
    """Whatever runs this: it is JSON, and of a size for a row."""
    text = msgspec.json.encode(read_machine().more).decode()
    assert json.loads(text)["python"]["version"]
    assert len(text) < 200_000
    lived = since_start()
    assert lived is None or 0 < lived < 86_400
