"""The kernel's texts, as they are on Lambda and elsewhere: each gives what it says, or little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import machine

LAMBDA_X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor @ 2.50GHz
flags\t\t: fpu vme de

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor @ 2.90GHz
"""
LAMBDA_ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LAMBDA_X86, ("Intel(R) Xeon(R) Processor @ 2.50GHz", 2)),
        (LAMBDA_ARM, ("implementer 0x41 architecture 8 variant 0x3 part 0xd0c revision 1", 1)),
        ("", ("", 0)),
        ("no such file", ("", 0)),
    ],
)
def test_a_processor_has_a_model_or_numbers(text: str, expected: tuple[str, int]):
    """Intel's say a name, Arm's only numbers; the first processor speaks for all."""
    assert machine.cpu_of(text) == expected


def test_memory_is_in_kilobytes():
    """What is missing or no number is left out."""
    text = "MemTotal:  190304 kB\nMemFree:   52000 kB\nMemAvailable: many kB\nHugePages_Total: 0\n"
    assert machine.memory_of(text) == {"MemTotal": 190304, "MemFree": 52000}


def test_mounts_say_where_and_whether_to_write():
    """A path with a blank in it is one path."""
    text = (
        "/dev/root / ext4 ro,nosuid 0 0\n/dev/vdd /tmp ext4 rw,relatime 0 0\n"
        "none /mnt/a\\040b tmpfs rw 0 0\nhalf a line\n"
    )
    assert [(one["path"], one["type"], one["writable"]) for one in machine.mounts_of(text)] == [
        ("/", "ext4", False),
        ("/tmp", "ext4", True),  # noqa: S108 - a line of the text
        ("/mnt/a b", "tmpfs", True),
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            'NAME="Amazon Linux"\nVERSION_ID="2023"\nPRETTY_NAME="Amazon Linux 2023.6"\n',
            "Amazon Linux 2023.6",
        ),
        ("NAME=Alpine\nVERSION_ID=3.20\n", "Alpine 3.20"),
        ("", ""),
    ],
)
def test_a_system_has_a_name(text: str, name: str):
    """The one that is meant for people, or name and version."""
    assert machine.release_of(text) == name


def test_a_process_may_be_called_anything():
    """Brackets and blanks in its name do not move its numbers."""
    fields = " ".join(str(number) for number in range(22))
    told = machine.process_of(f"17 (a) b (c)) S 1 {fields}")
    assert told == {"id": 17, "name": "a) b (c)", "parent": 1, "began": 17}


def test_limits_and_times_are_numbers_or_nothing():
    """``max`` is no limit; an empty text is nothing."""
    assert machine.limit_of("536870912\n") == 536870912
    assert machine.limit_of("max\n") is None
    assert machine.limit_of("9223372036854771712\n") is None
    assert machine.uptime_of("12.34 3.21\n") == 12.34
    assert machine.uptime_of("") is None
    assert machine.boot_of("a-b\n") == "a-b"


@given(st.text())
def test_no_text_is_an_error(text: str):
    """Whatever a kernel writes, a probe goes on."""
    machine.cpu_of(text)
    machine.memory_of(text)
    machine.mounts_of(text)
    machine.release_of(text)
    machine.process_of(text)
    machine.uptime_of(text)
    machine.boot_of(text)
    machine.limit_of(text)


@given(st.lists(st.integers(0, 10**6), min_size=300, max_size=400))
def test_what_is_listed_is_bounded(numbers: list[int]):
    """A machine with thousands of mounts gives a reading that still fits a row."""
    text = "\n".join(f"d /m{number} ext4 rw 0 0" for number in numbers)
    assert len(machine.mounts_of(text)) == machine.MOST_LISTED
