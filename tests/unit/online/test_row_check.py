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
    "string": st.text(min_size=1, max_size=3),
    "bigint": st.integers(-(2**63) - 1, 2**63) | st.sampled_from([INT64_HIGH, INT64_HIGH + 1]),
    "tinyint": st.integers(-129, 128),
    "boolean": st.booleans(),
}
STRAYS = st.sampled_from(
    [None, 1.0, b"x", True, "x", 7, "", "\ud800", "é" * MAX_KEY_BYTES, "x" * (MAX_KEY_BYTES + 1)]
)


@st.composite
def keys(draw: st.DrawFn) -> tuple[OnlineTable, list[Any]]:
    kinds = draw(st.lists(st.sampled_from(list(PARTS)), min_size=1, max_size=2))
    table = OnlineTable("t", tuple((f"k{n}", kind) for n, kind in enumerate(kinds)), ())
    good = st.tuples(*(PARTS[kind] for kind in kinds))
    odd = good | st.tuples(*(STRAYS for _ in kinds)) | st.sampled_from([(), "x", ["x"], None])
    return table, draw(st.lists(good, min_size=8, max_size=12)) + draw(st.lists(odd, max_size=1))


def refused(check: RowCheck, some: list[Any]) -> str | None:
    try:
        for key in some:
            check.key(key)
    except InputError as error:
        return error.message
    return None


@given(keys())
def test_many_keys_at_once(drawn: tuple[OnlineTable, list[Any]]) -> None:
    table, some = drawn
    check = RowCheck(table)
    expected = refused(check, some)
    if expected is None:
        check.keys(some)
        return
    with pytest.raises(InputError) as found:
        check.keys(some)
    assert found.value.message == expected
