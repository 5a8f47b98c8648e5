"""Looking at many keys at once says what looking at each says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlake.errors import InputError
from twinlake.online.row_check import RowCheck
from twinlake.online.store import OnlineTable
from twinlake.online.values import INT64_HIGH, MAX_KEY_BYTES

PARTS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text("az", min_size=1, max_size=3),
    "bigint": st.integers(-(2**63), INT64_HIGH),
    "tinyint": st.integers(-128, 127),
    "boolean": st.booleans(),
}
STRAYS = [
    *(None, 1.0, b"x", True, "x", 7, 128, -129, 2**63, -(2**63) - 1),
    *("", "\ud800", "é" * MAX_KEY_BYTES, "x" * (MAX_KEY_BYTES + 1)),
]
FINE: dict[str, list[Any]] = {
    "string": [f"fine {n}" for n in range(9)],
    "bigint": list(range(9)),
    "tinyint": list(range(9)),
    "boolean": [True, False] * 5,
}


@st.composite
def keys(draw: st.DrawFn) -> tuple[OnlineTable, list[Any]]:
    kinds = draw(st.lists(st.sampled_from(list(PARTS)), min_size=1, max_size=2))
    table = OnlineTable("t", tuple((f"k{n}", kind) for n, kind in enumerate(kinds)), ())
    good = st.tuples(*(PARTS[kind] for kind in kinds))
    odd = st.tuples(*(st.sampled_from(STRAYS) for _ in kinds)) | st.sampled_from(
        [(), "x", ["x"], None]
    )
    return table, draw(st.lists(good, min_size=8, max_size=12)) + draw(st.lists(odd, max_size=1))


def refused(check: RowCheck, some: list[Any]) -> str | None:
    try:
        for key in some:
            check.key(key)
    except InputError as error:
        return error.message
    return None


def require_the_same(table: OnlineTable, some: list[Any]) -> None:
    check = RowCheck(table)
    expected = refused(check, some)
    if expected is None:
        check.keys(some)
        return
    with pytest.raises(InputError) as found:
        check.keys(some)
    assert found.value.message == expected


@given(keys())
def test_many_keys_at_once(drawn: tuple[OnlineTable, list[Any]]) -> None:
    require_the_same(*drawn)


@pytest.mark.parametrize("kind", PARTS)
def test_one_that_does_not_fit_among_many(kind: str) -> None:
    table = OnlineTable("t", (("k", kind),), ())
    for stray in STRAYS:
        require_the_same(table, [*((part,) for part in FINE[kind]), (stray,)])
