from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.taxi_fares.formula import Bucket, expected_fare, served
from twinlake.inference.caller import Caller
from twinlake.inference.endpoint import Endpoint


@pytest.mark.parametrize(
    ("ride", "fare"),
    [
        (20, 40.68894898991148),
        (40, 83.03070340619873),
        (100, 96.15821676075325),
        (123, 38.518104367585856),
        (1000, 31.945598426634206),
    ],
)
def test_fares_are_the_doubles_of_the_original(ride: int, fare: float) -> None:
    assert expected_fare(ride) == fare


@given(st.integers(1, 10**15))
def test_fares_stay_in_their_range(ride: int) -> None:
    assert 8 <= expected_fare(ride) <= 100 * 1.2


@given(st.lists(st.floats(0, 2), max_size=200))
def test_no_second_has_more_than_burst_and_rate(pauses: list[float]) -> None:
    now, passed = 0.0, []
    bucket = Bucket(20, 5, lambda: now)
    for pause in pauses:
        now += pause
        if bucket.take() == 0:
            passed.append(now)
    for began in passed:
        assert sum(began <= one <= began + 1 for one in passed) <= 5 + 20


def test_the_stand_in_asks_for_its_key_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARES_KEY", "right")
    with served(api_key="right", rate=20, burst=3) as url:
        told: dict[str, Any] = {"contract": "predict-fare", "timeout_s": 0.5}
        with Caller(Endpoint(url, **told)) as caller:
            assert next(caller.call([{"ride_request_id": 20}])).status == 403
        with Caller(Endpoint(url, api_key_variable="FARES_KEY", **told)) as caller:
            made = list(caller.call({"ride_request_id": ride} for ride in range(8)))
    assert {one.reason for one in made} == {None, "refused", "throttled"}
    assert [one.status for one in made if one.index == 0] == [400]
    assert all(one.status == 429 for one in made if one.reason == "throttled")
