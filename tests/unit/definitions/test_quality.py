"""What is watched of a model: each problem has its place, plan shows it, documents lose nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.definitions.shop import model, shop, source
from twinlake import Alert, Labels, Model, Quality
from twinlake.definitions.checks import find_problems
from twinlake.definitions.documents import from_document, to_document
from twinlake.planning.planner import Facts, build_plan
from twinlake.planning.steps import Register


def labels(**changes: Any) -> Labels:
    told: dict[str, Any] = {
        "source": source(name="outcomes"),
        "prediction_id": ["order_id"],
        "label": "amount",
    }
    return Labels(**(told | changes))


def watched(**changes: Any) -> Model:
    alerts = (
        Alert("worse", "mae", above=3.0, windows=2, minimum_records=10, hold_off="1h"),
        Alert("moved", "psi", above=0.2, of="amount_7d"),
    )
    told: dict[str, Any] = {"labels": labels(), "alerts": alerts}
    return model(quality=Quality(**(told | changes)))


def places(item: Model) -> list[str]:
    found = find_problems(shop(item))
    return [problem.place.removeprefix("model next_amount, quality") for problem in found]


def test_a_sound_quality_has_no_problem_and_brings_its_source() -> None:
    assert places(watched()) == []
    assert "outcomes" in shop(watched()).sources


@pytest.mark.parametrize("given", [["order_id"], {"id": "order_id"}])
def test_documents_lose_nothing(given: Any) -> None:
    definitions = shop(watched(labels=labels(prediction_id=given, within="3d"), window="5m"))
    assert from_document(json.loads(json.dumps(to_document(definitions)))) == definitions


def test_a_model_without_quality_says_so() -> None:
    assert to_document(shop(model()))["models"][0]["quality"] is None


def alert(**changes: Any) -> Model:
    told: dict[str, Any] = {"name": "a", "metric": "mae", "above": 1.0}
    return watched(alerts=[Alert(**(told | changes))])


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (watched(window="0s"), ", window"),
        (watched(window="soon"), ", window"),
        (watched(window="5w"), ", window"),
        (watched(lateness="late"), ", lateness"),
        (watched(labels=labels(within="0s")), ", labels, within"),
        (watched(labels=labels(prediction_id=[])), ", labels, prediction_id"),
        (watched(labels=labels(prediction_id={"order_id": "id"})), ", labels, prediction_id"),
        (watched(labels=labels(label="truth")), ", labels, label"),
        (watched(labels=labels(label="order_id")), ", labels, label"),
        (alert(metric="beauty"), ", alert a, metric"),
        (alert(above=None), ", alert a"),
        (alert(below=0.5), ", alert a"),
        (alert(above=float("nan")), ", alert a, above"),
        (alert(windows=0), ", alert a, windows"),
        (alert(minimum_records=0), ", alert a, minimum_records"),
        (alert(hold_off="-1s"), ", alert a, hold_off"),
        (alert(metric="error"), ", alert a, of"),
        (alert(metric="psi", of="nothing"), ", alert a, of"),
        (alert(of="amount_7d"), ", alert a, of"),
        (alert(name="A rule"), ", alert A rule"),
        (
            watched(alerts=[Alert("a", "mae", above=1.0), Alert("a", "rmse", above=1.0)]),
            ", alert a",
        ),
    ],
)
def test_each_problem_has_its_place(wrong: Model, place: str) -> None:
    assert places(wrong) == [place]


def test_all_problems_are_told_at_once() -> None:
    assert len(places(watched(window="x", lateness="y", labels=labels(within="z", label="t")))) == 4


def test_what_is_of_the_wrong_type_is_told() -> None:
    assert places(watched(window=60)) == [""]


def test_plan_shows_a_changed_alert_that_changes_nothing_of_what_is_learned() -> None:
    before, after = shop(watched()), shop(watched(alerts=()))
    steps = build_plan(before, 1, after, Facts()).steps
    assert Register("model", "next_amount", is_new=False, changes_meaning=False) in steps
    assert all(step.kind == "model" for step in steps if isinstance(step, Register))
