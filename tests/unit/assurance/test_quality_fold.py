"""Quality windows: the same whatever the batches, as one row at a time, and nothing twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.assurance.quality_naive import LATENESS, WIDTH, WITHIN, Naive
from twinlake.assurance.quality import QualityFold
from twinlake.assurance.quality_rows import QualitySpec
from twinlake.errors import InputError

S = 1_000_000
SPEC = QualitySpec(
    "classes", WIDTH * S, LATENESS * S, ("id",), within_us=WITHIN * S, classes=("a", "b")
)
TIME = pa.timestamp("us", "UTC")
Item = tuple[Any, ...]
classes = st.sampled_from(["a", "b", "c"])


@st.composite
def histories(draw: st.DrawFn) -> list[Item]:
    """Draw predictions and labels, some far out of order; each id is predicted once at most."""
    ids = [str(number) for number in range(draw(st.integers(1, 14)))]
    items: list[Item] = []
    now = 0
    for name in draw(st.permutations(ids)):
        now += draw(st.sampled_from([0, 1, 20, 60, 400]))
        time = max(now - draw(st.sampled_from([0, 5, 60, 300])), 0)
        unscored = draw(st.sampled_from([None, None, None, "no features"]))
        items.append(("p", name, time, draw(st.integers(1, 2)), draw(classes), unscored))
        for _ in range(draw(st.integers(0, 2))):
            at = time + draw(st.sampled_from([0, 30, 299, 300, 301, 900]))
            label = ("l", draw(st.sampled_from(ids)), at, draw(st.none() | classes))
            items.insert(draw(st.integers(0, len(items))), label)
    return items


@dataclass
class Told:
    """What a fold gave, all calls together."""

    counts: list[dict] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)
    unknown: list[dict] = field(default_factory=list)
    verdicts: list[tuple] = field(default_factory=list)


def predictions(items: list[Item]) -> pa.Table:
    _, ids, times, versions, predicted, unscored = zip(*items, strict=True)
    given_to = {"a": [0.75, 0.25], "b": [0.125, 0.875], "c": None}
    return pa.table(
        {
            "id": ids,
            "event_timestamp": pa.array([time * S for time in times], TIME),
            "model_version": versions,
            "predicted": predicted,
            "probabilities": pa.array(
                [given_to[name] for name in predicted], pa.list_(pa.float64())
            ),
            "unscored": pa.array(unscored, pa.string()),
        }
    )


def labels(items: list[Item]) -> pa.Table:
    _, ids, times, values = zip(*items, strict=True)
    stamps = pa.array([time * S for time in times], TIME)
    return pa.table({"id": ids, "event_timestamp": stamps, "label": pa.array(values, pa.string())})


def feed(fold: QualityFold, items: list[Item], told: Told, *, replayed: bool = False) -> None:
    for kind, group in groupby(items, key=lambda item: item[0]):
        if kind == "p":
            fold.add(predictions(list(group)), replayed=replayed)
        else:
            answers = fold.add_labels(labels(list(group)), replayed=replayed).to_pylist()
            told.verdicts += [tuple(answer.values()) for answer in answers]


def close(fold: QualityFold, told: Told) -> None:
    final = fold.close()
    told.counts += final.counts.to_pylist()
    # Figures without labels are final before the others: their order among each other may differ.
    told.metrics += final.metrics.to_pylist()
    told.metrics.sort(key=repr)
    told.unknown += final.unknown.to_pylist()


def run(items: list[Item], cuts: list[int], spec: QualitySpec = SPEC) -> tuple[QualityFold, Told]:
    fold, told = QualityFold(spec), Told()
    bounds = [0, *sorted({cut for cut in cuts if cut < len(items)}), len(items)]
    for start, end in pairwise(bounds):
        feed(fold, items[start:end], told)
        close(fold, told)
    return fold, told


cutting = st.lists(st.integers(0, 40), max_size=6)


@settings(max_examples=60, deadline=None)
@given(histories(), cutting)
def test_as_one_row_at_a_time(items: list[Item], cuts: list[int]) -> None:
    naive = Naive()
    verdicts = [naive.tell(item) if item[0] == "l" else naive.predict(item) for item in items]
    fold, told = run(items, cuts)
    assert [verdict for verdict, _ in told.verdicts] == [each for each in verdicts if each]
    names = ("model_version", "label", "predicted")
    counted = {
        (int(row["window_start"].timestamp()), *(row[name] for name in names)): row["count"]
        for row in told.counts
    }
    assert counted == naive.counts()
    sums = asdict(fold.sums())
    waiting = sums["labels"].pop("waiting", 0)
    assert (sums.pop("labels"), waiting) == (naive.verdicts, len(naive.early))
    assert sums == naive.totals()
    assert sums.pop("predictions") == sum(sums.values())


@settings(max_examples=60, deadline=None)
@given(histories(), cutting, st.sampled_from([2, 5, 10**9]))
def test_batches_change_nothing(items: list[Item], cuts: list[int], held: int) -> None:
    spec = replace(SPEC, most_held=held)
    one, whole = run(items, [], spec)
    other, cut = run(items, cuts, spec)
    close(one, whole)
    assert (cut.counts, cut.metrics) == (whole.counts, whole.metrics)
    assert sorted(cut.unknown, key=repr) == sorted(whole.unknown, key=repr)
    assert one.sums() == other.sums()
    assert one.running() == other.running()


@settings(max_examples=60, deadline=None)
@given(histories(), cutting, st.integers(0, 40))
def test_a_restart_changes_no_window(items: list[Item], cuts: list[int], at: int) -> None:
    whole, expected = run(items, cuts)
    before, told = run(items[:at], cuts)
    note = before.note()
    since = before.replay_from_us
    after = QualityFold(SPEC, note=note)
    # All labels are read again: of the others nothing is counted twice.
    again = [item for item in items[:at] if since is not None and item[2] * S >= since]
    seen = Told()
    feed(after, again, seen, replayed=True)
    feed(after, items[at:], told)
    close(after, told)
    assert sorted(told.counts, key=repr) == sorted(expected.counts, key=repr)
    assert told.metrics == expected.metrics
    sums, restarted = asdict(whole.sums()), asdict(after.sums())
    del sums["labels"], restarted["labels"]
    assert restarted == sums


def spec(**changes: Any) -> QualitySpec:
    return replace(SPEC, **changes)


def test_messages_say_what_became_of_a_label() -> None:
    items = [
        ("p", "1", 0, 1, "a", None),
        ("l", "1", 1, "a"),
        ("l", "1", 2, "a"),
        ("l", "1", 3, "b"),
    ]
    items += [("p", "2", 1, 1, "a", None), ("l", "2", 302, "a"), ("l", "9", 0, "b")]
    fold, told = run([*items, ("p", "3", 9_000, 1, "a", None)], [])
    assert told.verdicts == [
        ("used", None),
        ("duplicate", "prediction '1' has this label already; it counts once"),
        ("conflicting", "prediction '1' has the label 'a'; 'b' came later and is left out"),
        ("late", "label of prediction '2' came 301s after it; it was waited for 5m"),
        ("waiting", None),
    ]
    (unknown,) = told.unknown
    assert unknown["message"].startswith("no prediction '9' was counted; its label of 1970")
    assert fold.sums().unlabelled == 1


def test_labels_that_come_with_the_event_are_final_after_the_lateness() -> None:
    fold = QualityFold(spec(within_us=None, id_columns=(), label="species"))
    rows = predictions([("p", "1", 0, 1, "a", None), ("p", "2", 59, 1, "b", None)])
    fold.add(rows.append_column("species", pa.array(["a", None])))
    assert fold.close().counts.num_rows == 0
    assert fold.close((WIDTH + LATENESS - 1) * S).counts.num_rows == 0
    assert fold.close((WIDTH + LATENESS) * S).counts.column("count").to_pylist() == [1]
    sums = fold.sums()
    assert (sums.counted, sums.unlabelled, sums.waiting) == (1, 1, 0)


def test_what_is_held_is_bounded_by_count_and_by_time() -> None:
    items = [("p", str(n), n // 10, 1, "a", None) for n in range(5_000)]
    by_count, _ = run(items, list(range(0, 5_000, 100)), spec(most_held=500, within_us=10**6 * S))
    by_time, _ = run(items, list(range(0, 5_000, 100)), spec(within_us=60 * S))
    assert len(by_count._book._places) <= 2 * 500 + 2 * WIDTH * 10
    assert len(by_time._book._places) <= (2 * 60 + 2 * WIDTH + LATENESS) * 10
    for fold in (by_count, by_time):
        sums = fold.sums()
        assert sums.predictions == 5_000 == sums.waiting + sums.unlabelled


def test_wrong_use_is_told() -> None:
    with pytest.raises(InputError, match="have no column 'predicted'"):
        QualityFold(SPEC).add(predictions([("p", "1", 0, 1, "a", None)]).drop(["predicted"]))
    rows = predictions([("p", "1", 0, 1, "a", None)])
    none = pa.array([None], TIME)
    with pytest.raises(InputError, match="1 rows have no event_timestamp"):
        QualityFold(SPEC).add(rows.set_column(1, "event_timestamp", none))
    with pytest.raises(InputError, match="no task named 'guess'"):
        QualitySpec("guess", 1, 0)
