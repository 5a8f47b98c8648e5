"""Quality windows: the same whatever the batches, and all rows are somewhere."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlake.assurance.quality import Figure, FinalWindow, QualityFold, Watched, figures

CLASSES = ("ant", "bee", "cat")
LENGTH, LATENESS = 60, 25
KINDS = Watched(LENGTH, LATENESS, CLASSES)
SCHEMA = pa.schema(
    [("event_us", pa.int64()), ("model_version", pa.int32()), ("label", pa.string()),
     ("predicted", pa.string()), ("prediction", pa.float64()),
     ("probabilities", pa.list_(pa.float64()))]
)  # fmt: skip
Row = dict[str, Any]


def table(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def said(at: int, version: int | None, label: str | None, weights: Sequence[int] | None) -> Row:
    row: Row = {"event_us": at, "model_version": version, "label": label, "predicted": None,
                "prediction": None, "probabilities": None}  # fmt: skip
    if weights is not None:
        given_ = [weight / sum(weights) for weight in weights]
        best = max(range(3), key=given_.__getitem__)
        row |= {"predicted": CLASSES[best], "prediction": given_[best], "probabilities": given_}
    return row


ROWS = st.lists(
    st.builds(
        said,
        st.integers(-200, 600),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, *CLASSES]),
        st.one_of(st.none(), st.lists(st.integers(1, 9), min_size=3, max_size=3)),
    ),
    max_size=40,
)


def naive(rows: Sequence[Row]) -> tuple[dict[tuple[int, int | None], list[Row]], int, int]:
    """Windows row by row: final ones, how many rows are open, how many late."""
    newest: int | None = None
    held: dict[int, list[Row]] = {}
    late = 0
    for row in rows:
        start = math.floor(row["event_us"] / LENGTH) * LENGTH
        if newest is not None and start + LENGTH + LATENESS <= newest:
            late += 1
        else:
            held.setdefault(start, []).append(row)
        newest = row["event_us"] if newest is None else max(newest, row["event_us"])
    final: dict[tuple[int, int | None], list[Row]] = {}
    still = 0
    for start, kept in held.items():
        if newest is not None and start + LENGTH + LATENESS <= newest:
            for row in kept:
                final.setdefault((start, row["model_version"]), []).append(row)
        else:
            still += len(kept)
    return final, still, late


def fold(pieces: Iterable[Sequence[Row]]) -> tuple[list[FinalWindow], QualityFold]:
    folded = QualityFold(KINDS)
    return [window for piece in pieces for window in folded.add(table(piece))], folded


@given(ROWS)
def test_windows_are_those_that_one_row_after_the_other_gives(rows: list[Row]) -> None:
    windows, folded = fold([rows])
    expected, still, late = naive(rows)
    assert {(w.start_us, w.version) for w in windows} == set(expected)
    assert (folded.held, folded.late) == (still, late)
    for window in windows:
        kept = expected[window.start_us, window.version]
        counted = Counter((row["label"], row["predicted"]) for row in kept)
        assert {(a, b): n for a, b, n in window.counts} == counted
        assert window.end_us == window.start_us + LENGTH
    counted_rows = sum(n for window in windows for _, _, n in window.counts)
    assert counted_rows + folded.held + folded.late == len(rows), "each row is somewhere"
    assert [w.start_us for w in windows] == sorted(w.start_us for w in windows)


@given(ROWS, st.integers(0, 10_000))
def test_batches_change_nothing(rows: list[Row], seed: int) -> None:
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(len(rows) + 1), k=min(5, len(rows) + 1)))
    pieces = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    whole, one = fold([rows])
    parts, many = fold(pieces)
    key = {(w.start_us, w.version): w for w in whole}
    assert {(w.start_us, w.version): w for w in parts} == key
    assert len(parts) == len(whole), "no window is final twice"
    assert (many.held, many.late, many.newest_us) == (one.held, one.late, one.newest_us)


@given(ROWS, ROWS)
def test_who_begins_again_goes_on_as_if_it_had_not_ended(first: list[Row], then: list[Row]) -> None:
    _, before = fold([first])
    again = QualityFold(KINDS, before.newest_us, before.late)
    again.restore(table(first))
    assert again.held == before.held
    assert again.add(table(then)) == before.add(table(then))
    assert (again.held, again.late) == (before.held, before.late)


def found(rows: Sequence[Row], watched: Watched = KINDS) -> dict[tuple[str, str], Figure]:
    return {(one.metric, one.of): one for one in figures(table(rows), watched)}


@given(
    st.lists(
        st.tuples(st.sampled_from(CLASSES), st.lists(st.integers(1, 9), min_size=3, max_size=3)),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_figures_of_classes(pairs: list[tuple[str, list[int]]]) -> None:
    rows = [said(0, 1, label, weights) for label, weights in pairs]
    told = found(rows)
    right = [row["label"] == row["predicted"] for row in rows]
    assert told["accuracy", ""].value == pytest.approx(sum(right) / len(rows))
    assert told["accuracy", ""].records == len(rows)
    errors = []
    for name in {label for label, _ in pairs}:
        of = [good for good, row in zip(right, rows, strict=True) if row["label"] == name]
        errors.append(1 - sum(of) / len(of))
        assert told["error", name].value == pytest.approx(errors[-1])
        assert told["error", name].records == len(of)
    assert told["mean_per_class_error", ""].value == pytest.approx(sum(errors) / len(errors))
    own = [row["probabilities"][CLASSES.index(row["label"])] for row in rows]
    assert told["log_loss", ""].value == pytest.approx(-sum(map(math.log, own)) / len(own))


def test_a_label_that_the_model_does_not_know_is_a_mistake() -> None:
    rows = [said(0, 1, "ant", [9, 1, 1]), said(0, 1, "dog", [9, 1, 1])]
    told = found(rows)
    assert told["accuracy", ""].value == 0.5
    assert told["mean_per_class_error", ""].value == 0
    assert found(rows[1:])["accuracy", ""].value == 0


def test_what_was_not_scored_or_has_no_label_is_counted_but_not_measured() -> None:
    rows = [said(0, 1, "ant", [9, 1, 1]), said(0, 1, None, [1, 9, 1]), said(0, None, "bee", None)]
    told = found(rows)
    assert [told[n, ""].value for n in ("records", "scored", "labelled")] == [3, 2, 1]
    assert told["accuracy", ""].records == 1
    assert set(found([said(0, 1, None, [1, 9, 1])])) == {
        ("records", ""), ("scored", ""), ("labelled", "")
    }  # fmt: skip


def test_figures_of_probabilities_and_of_numbers() -> None:
    pairs = [(0.9, "1.0"), (0.2, "0.0"), (0.6, "0.0"), (0.4, "1.0")]
    rows = [said(0, 1, label, None) | {"prediction": value} for value, label in pairs]
    told = found(rows, Watched(LENGTH, LATENESS, (), 0.5))
    assert told["accuracy", ""].value == 0.5
    assert told["auc", ""].value == 0.75
    losses = [0.9, 0.8, 0.4, 0.4]
    assert told["log_loss", ""].value == pytest.approx(-sum(map(math.log, losses)) / 4)
    assert told["mean_prediction", ""].value == pytest.approx(0.525)
    numbers = found(rows, Watched(LENGTH, LATENESS))
    off = [abs(value - float(label)) for value, label in pairs]
    assert numbers["mae", ""].value == pytest.approx(sum(off) / 4)
    assert numbers["rmse", ""].value == pytest.approx(math.sqrt(sum(x * x for x in off) / 4))
