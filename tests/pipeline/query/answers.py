"""What the queries of docs/query.md answer over ``markets.asked``, worked out by hand from its pages."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any


def _at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-07-{text}")


DAY_1, DAY_2, DAY_3 = (date(2026, 7, day) for day in (1, 2, 3))
MORNING, AFTERNOON, SECOND, THIRD = map(_at, ("01T10:00", "01T15:00", "02T10:00", "03T10:00"))
A, B, D, Z = "a.example", "b.example", "d.example", "z.example"
DESKTOP, MOBILE, SPANISH = ("en-US", "desktop"), ("en-US", "mobile"), ("es-ES", "desktop")
RED, NOTHING = "red shoes", "nichts „ß“ 鞋"

ANSWERS: dict[int, list[tuple[Any, ...]]] = {
    1: [
        (RED, "alpha", *MOBILE, 1, f"https://{A}/m", DAY_1),
        (RED, "alpha", *SPANISH, 1, f"https://{A}/e", DAY_1),
        ("zapatos", "alpha", *SPANISH, 2, f"https://{A}/z", DAY_1),
        ("sandals", "alpha", *MOBILE, 3, f"https://{A}/s", DAY_1),
        (RED, "alpha", *DESKTOP, 5, f"https://{A}/2", DAY_3),
    ],
    2: [(RED, "alpha", *DESKTOP, 5, f"https://{A}/2")],
    3: [
        (AFTERNOON, 1, B, "A title", f"https://{B}/1"),
        (AFTERNOON, 2, A, "A title", f"https://{A}/3"),
        (MORNING, 1, A, "A title", f"https://{A}/1"),
        (MORNING, 2, B, "A title", f"https://{B}/1"),
        (MORNING, 4, A, "A title", f"https://{A}/2"),
    ],
    4: [
        (DAY_3, RED, *DESKTOP, A, 2, 5, -3, f"https://{A}/2"),
        (DAY_1, RED, *DESKTOP, A, 1, 2, -1, f"https://{A}/3"),
        (DAY_1, RED, *DESKTOP, B, 2, 1, 1, f"https://{B}/1"),
    ],
    5: [
        (DAY_2, NOTHING, *DESKTOP, "entered", D, 1),
        (DAY_3, "hats", *DESKTOP, "left", B, 1),
        (DAY_3, NOTHING, *DESKTOP, "left", D, 1),
        (DAY_3, RED, *DESKTOP, "entered", D, 2),
    ],
    6: [
        (DAY_1, RED, *DESKTOP, A, f"https://{A}/1", f"https://{A}/3", 1, 2),
        (DAY_3, RED, *DESKTOP, A, f"https://{A}/3", f"https://{A}/2", 2, 5),
    ],
    # In the afternoon 1 to 1/2; in the morning b 1/2 + 1, a 1 + 1/4, c 1/11 of 2.8409.
    7: [
        (AFTERNOON, B, 1, 1, 66.7),
        (AFTERNOON, A, 1, 1, 33.3),
        (MORNING, B, 2, 2, 52.8),
        (MORNING, A, 1, 2, 44.0),
        (MORNING, "c.example", 1, 1, 3.2),
    ],
    # On the second day b 1, d 1, a 1/2 of 2.5; on the third b 2, d 1/2, a 1/5 of 2.7.
    8: [
        (A, MORNING, 0.44, None),
        (A, AFTERNOON, 0.333, -0.107),
        (A, SECOND, 0.2, -0.133),
        (A, THIRD, 0.074, -0.126),
        (B, MORNING, 0.528, None),
        (B, AFTERNOON, 0.667, 0.139),
        (B, SECOND, 0.4, -0.267),
        (B, THIRD, 0.741, 0.341),
        ("c.example", MORNING, 0.032, None),
        (D, SECOND, 0.4, None),
        (D, THIRD, 0.185, -0.215),
    ],
    9: [(MORNING, 1, 2), (AFTERNOON, 2, 1), (SECOND, 2, 1), (THIRD, 5, 1)],
    10: [
        ("gloves", "alpha", *DESKTOP, 1, f"https://{B}/gloves"),
        ("gloves", "beta", *DESKTOP, 2, f"https://{B}/g"),
    ],
    11: [(RED, *DESKTOP, 2, 1, 4)],
    12: [
        ("alpha", *DESKTOP, B, 2),
        ("alpha", *MOBILE, A, 1),
        ("alpha", *MOBILE, B, 1),
        ("alpha", *SPANISH, A, 1),
        ("alpha", *SPANISH, B, 1),
        ("beta", *DESKTOP, Z, 2),
    ],
    13: [(*MOBILE, RED, "sandals", 2), (*DESKTOP, "hats", RED, 1), (*SPANISH, RED, "zapatos", 1)],
    14: [("hats", "alpha", *DESKTOP), (NOTHING, "alpha", *DESKTOP)],
    15: [
        (RED, "alpha", *DESKTOP, "ads.example"),
        (RED, "alpha", *MOBILE, "ads.example"),
        ("sandals", "alpha", *MOBILE, "ads.example"),
    ],
    16: [("gloves", B, 1, 2), (RED, B, 1, None), (RED, D, 2, None), (RED, A, 5, None)],
    17: [
        ("run-0.csv", True, 5, 5, 0, 5, 5, 0, 0, None),
        ("run-a.csv", True, 5, 5, 0, 7, 4, 2, 1, None),
        ("run-b.csv", True, 5, 5, 0, 4, 4, 0, 0, None),
        ("run-c.csv", True, 6, 6, 0, 5, 5, 0, 0, None),
        ("run-d.csv", True, 0, 0, 0, 0, 0, 0, 0, "not UTF-8"),
    ],
    18: [("alpha", "http_429", 2, 2, _at("02T10:59"), _at("02T11:01"))],
    19: [
        ("alpha", MORNING, 3, 0.0, 0.0, 2.0, 1 / 6, 2 / 6),
        ("alpha", _at("01T11:00"), 2, 0.5, 1.0, 0.0, None, None),
    ],
    20: [
        ("alpha", MORNING, 3, 250, 250, 3),
        ("alpha", _at("01T11:00"), 1, 250, 250, 1),
        ("alpha", AFTERNOON, 5, 250, 250, 5),
        ("alpha", SECOND, 1, 250, 250, 1),
        ("alpha", _at("02T11:00"), 1, 250, 250, 1),
        ("alpha", THIRD, 4, 250, 250, 4),
        ("beta", THIRD, 2, 250, 250, 2),
    ],
    21: [
        ("alpha", _at("02T23:58"), 3.5, "http_429", 2, False),
        ("alpha", _at("03T09:00"), None, "http_403", 1, False),
        ("alpha", _at("03T12:00"), None, "http_503", 1, True),
        ("beta", THIRD, 0.3, "robots_unreachable", 1, False),
    ],
    # The two below the questions.
    22: [
        ("gloves", 1, 1, "A title"),
        (RED, 1, 1, "A title"),
        (RED, 1, 2, "A title"),
        (RED, 1, 5, "A title"),
    ],
    23: [(RED, f"https://{B}/1")],
}
"""By the number of the query on the page."""
