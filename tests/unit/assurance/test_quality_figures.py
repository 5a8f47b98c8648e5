"""What windows are worth: each figure against its definition in plain Python."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from twinlake.assurance.drift import LEAST_SHARE, Reference
from twinlake.assurance.quality import QualityFold, Sums
from twinlake.assurance.quality_rows import QualitySpec
from twinlake.assurance.quality_tables import metric_table
from twinlake.flows.quality_metrics import QualityMetrics

S = 1_000_000
TIME = pa.timestamp("us", "UTC")
NEAREST = 2.0**-52
Figures = dict[tuple[str, str | None], float]


def figures(task: str, reference: Reference | None = None, **columns: Any) -> Figures:
    rows = len(next(iter(columns.values())))
    spec = QualitySpec(task, 60 * S, 0, classes=("a", "b", "c"), threshold=0.5)
    table = pa.table(
        {"event_timestamp": pa.array([1] * rows, TIME), "model_version": [7] * rows, **columns}
    )
    fold = QualityFold(spec, reference)
    fold.add(table)
    told = fold.close(60 * S).metrics.to_pylist()
    return {(row["metric"], row["of"]): row["value"] for row in told}


def mean(values: list[Any]) -> float:
    return float(sum(map(Fraction, values), Fraction(0)) / len(values))


def naive_auc(pairs: list[tuple[bool, float]]) -> float | None:
    wins = [
        Fraction(2 * (high > low) + (high == low), 2)
        for positive, high in pairs
        for other, low in pairs
        if positive and not other
    ]
    return float(sum(wins, Fraction(0)) / len(wins)) if wins else None


def check(told: Figures, expected: dict[tuple[str, str | None], float | None]) -> None:
    for key, value in expected.items():
        if value is None:
            assert key not in told
        else:
            assert told[key] == pytest.approx(value, rel=1e-12, abs=1e-12), key


def naive_errors(pairs: list[tuple[str, str]]) -> dict[tuple[str, str | None], float | None]:
    shares = {
        name: mean([label != said for label, said in pairs if label == name])
        for name in {label for label, _ in pairs}
    }
    errors: dict[tuple[str, str | None], float | None] = {
        ("error", name): share for name, share in shares.items()
    }
    overall = mean([label == said for label, said in pairs])
    return errors | {
        ("accuracy", None): overall,
        ("mean_per_class_error", None): math.fsum(shares.values()) / len(shares),
    }


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=1))
def test_probabilities(pairs: list[tuple[bool, float]]) -> None:
    labels, given_ = zip(*pairs, strict=True)
    told = figures("probability", prediction=given_, label=labels)
    surprises = [p if label else 1 - p for label, p in pairs]
    clipped = [min(max(p, NEAREST), 1 - NEAREST) for p in surprises]
    texts = [(str(int(label)), str(int(p > 0.5))) for label, p in pairs]
    check(told, naive_errors(texts))
    loss = -math.fsum(map(math.log, clipped)) / len(pairs)
    check(told, {("auc", None): naive_auc(pairs), ("log_loss", None): loss})
    # Few probabilities: each part of the calibration is one of them.
    off = 0.0
    for number, forecast in enumerate(sorted(set(given_))):
        labels_there = [label for label, p in pairs if p == forecast]
        actual = mean([int(label) for label in labels_there])
        if len(set(given_)) <= 5 and len(pairs) <= 9:
            check(told, {("calibration_actual", str(number)): actual})
            off += abs(forecast - actual) * len(labels_there)
    if len(pairs) <= 9:
        check(told, {("calibration_error", None): off / len(pairs)})


classes = st.sampled_from(["a", "b", "c"])
shares = st.sampled_from([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.125, 0.125, 0.75]])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), classes, shares), min_size=1))
def test_classes(rows: list[tuple[str, str, list[float]]]) -> None:
    labels, said, given_ = zip(*rows, strict=True)
    told = figures("classes", label=labels, predicted=said, probabilities=list(given_))
    check(told, naive_errors([(label, name) for label, name, _ in rows]))
    hits = [each["abc".index(label)] if label != "d" else 0.0 for label, _, each in rows]
    clipped = [min(max(hit, NEAREST), 1 - NEAREST) for hit in hits]
    loss = -math.fsum(map(math.log, clipped)) / len(rows)
    against = [
        naive_auc([(label == name, each[index]) for label, _, each in rows])
        for index, name in enumerate("abc")
    ]
    there = [value for value in against if value is not None]
    auc = math.fsum(there) / len(there) if there else None
    check(told, {("log_loss", None): loss, ("auc", None): auc})


numbers = st.floats(-1e6, 1e6)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1))
def test_numbers(pairs: list[tuple[float, float]]) -> None:
    labels, said = zip(*pairs, strict=True)
    told = figures("number", label=labels, prediction=said)
    off = [abs(Fraction(p) - Fraction(label)) for label, p in pairs]
    expected = {("mae", None): mean(off), ("rmse", None): math.sqrt(mean([x * x for x in off]))}
    for key, value in expected.items():
        assert told[key] == pytest.approx(value, rel=1e-9, abs=1e-9)


def naive_psi(learned: list[Any], seen: list[Any], parts: list[Any]) -> float:
    """Compare shares part by part; a part is a test of membership."""
    total = 0.0
    for part in parts:
        a = max(sum(map(part, seen)) / len(seen), LEAST_SHARE)
        e = max(sum(map(part, learned)) / len(learned), LEAST_SHARE)
        total += (a - e) * math.log(a / e)
    return total


values = st.none() | st.sampled_from([0.0, 1.0, 2.0, 2.5, 10.0])
texts = st.none() | st.sampled_from(["x", "y", "z"])
samples = st.lists(st.tuples(values, texts), min_size=1, max_size=30)


@settings(max_examples=80, deadline=None)
@given(samples, samples)
def test_drift(learned: list[tuple[Any, Any]], seen: list[tuple[Any, Any]]) -> None:
    def columns(rows: list[tuple[Any, Any]]) -> dict[str, pa.Array]:
        amounts, kinds = zip(*rows, strict=True)
        return {"amount": pa.array(amounts, pa.float64()), "kind": pa.array(kinds, pa.string())}

    reference = Reference.of(pa.table(columns(learned)), ["amount", "kind"])
    assert Reference.read(json.loads(json.dumps(reference.document()))) == reference
    said = np.zeros(len(seen))
    told = figures("number", reference, prediction=said, **columns(seen))
    edges = [-math.inf, *reference.features["amount"].edges, math.inf]
    parts: list[Any] = [lambda v: v is None]
    parts += [
        lambda v, low=low, high=high: v is not None and low < v <= high
        for low, high in pairwise(edges)
    ]
    amount = naive_psi([a for a, _ in learned], [a for a, _ in seen], parts)
    known = {kind for _, kind in learned if kind}
    parts = [lambda v, kind=kind: v == kind for kind in [*sorted(known), None]]
    parts.append(lambda v: v is not None and v not in known)
    kind = naive_psi([k for _, k in learned], [k for _, k in seen], parts)
    check(
        told, {("psi", "amount"): amount, ("psi", "kind"): kind, ("psi", None): max(amount, kind)}
    )


def test_quantiles_cut_a_training_set_in_parts_of_one_size() -> None:
    table = pa.table({"x": np.arange(1, 1_001, dtype=np.float64)})
    parts = Reference.of(table, ["x"]).features["x"]
    assert parts.rows == (100,) * 10 + (0,)


def test_metrics_tell_the_newest_window_and_version() -> None:
    metrics = QualityMetrics()
    minute = 60 * S
    metrics.note("iris", metric_table([(0, 1, "accuracy", None, 0.5, 9)], minute))
    rows = [(minute, 1, "accuracy", None, 0.75, 4), (minute, 2, "accuracy", None, 1.0, 8)]
    metrics.note("iris", metric_table([*rows, (minute, 2, "error", "b", 0.0, 3)], minute))
    metrics.note("iris", metric_table([(0, 3, "accuracy", None, 0.1, 9)], minute))
    metrics.note_sums("iris", Sums(21, 12, 2, 4, 2, 1, {"used": 12, "waiting": 1}))
    metrics.note_alerts("iris", {"poor": True})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    told = generate_latest(registry).decode()
    for line in (
        'twinlake_quality{metric="accuracy",model="iris",of=""} 1.0',
        'twinlake_quality{metric="error",model="iris",of="b"} 0.0',
        'twinlake_quality_records{metric="accuracy",model="iris",of=""} 8.0',
        'twinlake_quality_model_version{model="iris"} 2.0',
        'twinlake_quality_window_end_seconds{model="iris"} 120.0',
        'twinlake_quality_predictions_total{model="iris",verdict="late"} 2.0',
        'twinlake_quality_labels_total{model="iris",verdict="used"} 12.0',
        'twinlake_quality_waiting{model="iris"} 4.0',
        'twinlake_alert_raised{model="iris",rule="poor"} 1.0',
    ):
        assert f"{line}\n" in told
    assert 'verdict="waiting"' not in told
