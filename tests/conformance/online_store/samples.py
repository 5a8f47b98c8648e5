"""Tables and rows that the tests share. A row's content follows from its key and write_us."""

from __future__ import annotations

from twinlake.online.store import OnlineRow, OnlineTable

METERS = OnlineTable(
    "meters",
    keys=(("home", "string"),),
    features=(("total", "double"), ("days", "bigint"), ("tariff", "string")),
)
PAIRS = OnlineTable(
    "pairs",
    keys=(("region", "string"), ("number", "bigint"), ("code", "binary")),
    features=(("total", "double"),),
)


def meter(home: str, write_us: int, *, null: bool | None = None, size: int = 40) -> OnlineRow:
    """A row of METERS; odd thousands are null unless told, so that nulls replace."""
    null = write_us // 1000 % 2 == 1 if null is None else null
    values = (None, None, None) if null else (write_us / 3, write_us, f"{home}@{write_us}")
    state = f"{home}@{write_us};".encode() * (size // 8)
    until = None if null else write_us + 5
    return OnlineRow((home,), values, write_us - 10, write_us - 5, until, state, write_us)


def pair(region: str, number: int, code: bytes, write_us: int = 1) -> OnlineRow:
    key = region, number, code
    return OnlineRow(key, (write_us / 7,), -5, -4, None, repr(key).encode(), write_us)
