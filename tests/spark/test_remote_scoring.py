"""Scoring a stream by a model behind HTTP: each event ends with one answer, or one reason."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from examples.taxi_fares.formula import expected_fare
from tests.spark.benches import Bench, Cells, collected
from tests.unit.inference.server import Seen, answering
from twinlake.errors import EnvironmentFailure, InputError
from twinlake.flows import streaming
from twinlake.flows.stream_lander import Progress
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.flows.stream_scoring import Scoring
from twinlake.inference.endpoint import Endpoint
from twinlake.lake import tables

DEFINITIONS = """
from twinlake import Kafka, Model, Request, on_demand
requests = Source(
    "requests", schema="ride_request_id bigint, area string, at timestamp", event_timestamp="at",
    event_id="ride_request_id", stream=Kafka("requests"),
)
rides = Source(
    "rides", schema="area string, fare double, at timestamp", event_timestamp="at",
    batch=Files("in"),
)
area = Entity("area", join_keys={"area": "string"})
area_fares = FeatureView(
    "area_fares", entity=area, source=rides, max_events_per_key=100,
    features=[Aggregate("mean", "fare", windows={"mean_fare_1d": "1d"})],
)
@on_demand(inputs=[Request(ride_request_id="bigint")], outputs={"is_even": "bigint"})
def evenness(f):
    return {"is_even": 1 - f["ride_request_id"] % 2}
asked = FeatureService("asked", features=[evenness])
looked_up = FeatureService("looked_up", features=[area_fares])
fares = Model("fares", service=asked, source=requests, label="fare",
              spine_features=["ride_request_id"])
by_area = Model("by_area", service=looked_up, source=requests, label="fare")
"""


class Requests:
    """A bench whose topic gets ride requests."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench.define(DEFINITIONS).apply()
        self._sent = 0

    def send(self, ids: range) -> None:
        folder = self.bench.folder / "state" / "topics" / "requests"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps({"ride_request_id": n, "area": "JFK", "at": "2018-03-01T10:00:00Z"})
            for n in ids
        ]
        self._sent += 1
        (folder / f"{self._sent}.json").write_text("\n".join(lines))

    def stream(self, endpoint: Endpoint | None, tasks: int = 1, model: str = "fares") -> Progress:
        scoring = {model: Scoring("answers", endpoint, tasks)}
        done = streaming.stream(self.bench.open(), [], once=True, models=scoring)
        return done["requests"]

    def rows(self, model: str = "fares") -> list[Cells]:
        path = self.bench.project.places.predictions(model)
        frame = tables.read(self.bench.spark, path)
        return collected(frame.orderBy("ride_request_id"))

    def told(self) -> Counter[int]:
        folder = self.bench.folder / "state" / "topics" / "answers"
        lines = [line for file in folder.glob("*.json") for line in file.read_text().splitlines()]
        return Counter(json.loads(line)["ride_request_id"] for line in lines)


@pytest.fixture
def requests(bench: Bench) -> Requests:
    return Requests(bench)


async def fare(request: web.Request, seen: Seen) -> web.Response:
    """Answer by the formula, but for some rides."""
    ride = int(request.query["ride_request_id"])
    seen.data.setdefault("asked", Counter())[ride] += 1
    if ride % 10 == 3:
        return web.Response(text="Missing ride_request_id", status=400)
    if ride % 10 == 5:
        return web.Response(text="<html>down</html>", content_type="text/html")
    if ride % 10 == 7:
        await asyncio.Event().wait()
    if ride % 10 == 9 and seen.data["asked"][ride] == 1:
        return web.Response(text="try again", status=503)
    return web.json_response({"ride_request_id": ride, "expected_fare": expected_fare(ride)})


@pytest.fixture
def fares() -> Iterator[Seen]:
    with answering(fare) as seen:
        yield seen


def endpoint(seen: Seen, **changes: Any) -> Endpoint:
    told: dict[str, Any] = {"timeout_s": 3.0, "capacity": 8, "breaker_failures": 1_000}
    url = seen.url.replace("/invocations", "/predictFare")
    return Endpoint(url, "predict-fare", **told | changes)


@pytest.mark.parametrize("tasks", [1, 2])
def test_each_ride_ends_once_with_a_fare_or_a_reason(
    requests: Requests, fares: Seen, tasks: int
) -> None:
    requests.stream(endpoint(fares), tasks)
    requests.send(range(1, 61))
    done = requests.stream(endpoint(fares), tasks)
    rows = requests.rows()
    assert [row["ride_request_id"] for row in rows] == list(range(1, 61))
    for row in rows:
        ride, why = row["ride_request_id"], row["unscored"]
        reason = {3: "refused", 5: "bad_answer", 7: "timeout"}.get(ride % 10)
        assert (None if why is None else why.partition(":")[0]) == reason
        assert row["prediction"] == (expected_fare(ride) if reason is None else None)
        assert row["latency_ms"] >= 0
    assert set(requests.told().values()) == {1}
    assert len(requests.told()) == 60
    assert done.scored["fares"].predictions == 42
    assert done.scored["fares"].unscored == 18
    assert fares.most_at_once <= 8 * tasks
    assert fares.data["asked"][9] == 2, "what fails for a moment is tried again"


def test_what_the_table_holds_wins_over_a_second_answer(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(range(1_000))

    async def counting(request: web.Request, _: Seen) -> web.Response:
        ride = int(request.query["ride_request_id"])
        return web.json_response({"ride_request_id": ride, "expected_fare": next(answers)})

    with answering(counting) as seen:
        requests.stream(endpoint(seen))
        requests.send(range(1, 5))

        def fail(*_: object) -> None:
            raise EnvironmentFailure("the process dies here")

        with monkeypatch.context() as broken:
            broken.setattr(TopicOutput, "send", fail)
            with pytest.raises(EnvironmentFailure):
                requests.stream(endpoint(seen))
        first = requests.rows()
        assert {row["prediction"] for row in first} == {0.0, 1.0, 2.0, 3.0}
        requests.stream(endpoint(seen))
    assert requests.rows() == first
    assert seen.requests == 4
    assert requests.told() == Counter([1, 2, 3, 4])


def test_an_endpoint_that_is_down_gives_reasons_and_the_stream_goes_on(requests: Requests) -> None:
    with answering(fare) as seen:
        gone = endpoint(seen, timeout_s=0.3)
    requests.stream(gone)
    requests.send(range(1, 4))
    done = requests.stream(gone)
    assert done.scored["fares"].unscored == 3
    for row in requests.rows():
        assert row["unscored"].partition(":")[0] in {"unreachable", "circuit_open", "timeout"}


def test_who_looks_features_up_himself_is_told_the_event(requests: Requests) -> None:
    told: list[Any] = []

    async def predict(request: web.Request, _: Seen) -> web.Response:
        entities = (await request.json())["entities"]
        told.extend(entities)
        made = [{"key": {"area": e["area"]}, "status": "present", "prediction": 7.5}
                for e in entities]  # fmt: skip
        return web.json_response({"model": "by_area", "model_version": 3, "predictions": made})

    with pytest.raises(InputError, match="takes features of other sources than requests"):
        requests.stream(None, model="by_area")
    with answering(predict) as seen:
        asked = Endpoint(
            seen.url.replace("/invocations", "/v1/predict/by_area"), "twinlake-predict"
        )
        requests.stream(asked, model="by_area")
        requests.send(range(1, 3))
        requests.stream(asked, model="by_area")
    assert told == [{"area": "JFK"}] * 2
    rows = requests.rows("by_area")
    assert [(r["prediction"], r["model_version"], r["unscored"]) for r in rows] == [
        (7.5, 3, None)
    ] * 2
