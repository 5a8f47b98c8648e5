"""Alerts: once when one begins, once when it is over, the same after any restart."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlake import Alert
from twinlake.assurance.alerting import AlertEvent, AlertRules
from twinlake.assurance.quality_tables import metric_table

S = 1_000_000
MINUTE = 60 * S
RULE = Alert(
    "poor", "accuracy", below=0.9, windows=2, minimum_records=10, hold_off="3m"
)  # fmt: skip
# Window, version, value, records.
Row = tuple[int, int, float, int]
histories = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.integers(1, 3),
        st.sampled_from([0.5, 0.9, 1.0]),
        st.sampled_from([9, 10, 500]),
    ),
    unique_by=lambda row: row[:2],
    max_size=40,
).map(sorted)


def table(rows: list[Row], metric: str = "accuracy", of: str | None = None) -> pa.Table:
    told = [
        (number * MINUTE, version, metric, of, value, records)
        for number, version, value, records in rows
    ]
    return metric_table(told, MINUTE)


def naive(rows: list[Row], rule: Alert) -> list[tuple[int, str]]:
    """Walk over the windows that count."""
    newest = {number: (value, records) for number, _, value, records in rows}
    events: list[tuple[int, str]] = []
    bad: list[bool] = []
    cleared = -(10**9)
    for number, (value, records) in newest.items():
        if records < rule.minimum_records:
            continue
        bad.append(value < 0.9)
        is_raised = bool(events) and events[-1][1] == "raised"
        if is_raised and not bad[-1]:
            events.append((number, "cleared"))
            cleared = number
        is_bad = len(bad) >= rule.windows and all(bad[-rule.windows :])
        if not is_raised and is_bad and number >= cleared + rule.hold_off_us // MINUTE:
            events.append((number, "raised"))
    return events


def seen(events: list[AlertEvent]) -> list[tuple[int, str]]:
    minutes = [
        int(event.window_start[11:13]) * 60 + int(event.window_start[14:16]) for event in events
    ]
    return [(minute, event.kind) for minute, event in zip(minutes, events, strict=True)]


@settings(max_examples=200, deadline=None)
@given(histories, st.integers(1, 3), st.sampled_from(["0s", "3m", "10m"]))
def test_as_a_walk_over_the_windows(rows: list[Row], windows: int, hold_off: str) -> None:
    rule = Alert(
        "poor", "accuracy", below=0.9, windows=windows, minimum_records=10, hold_off=hold_off
    )
    assert seen(AlertRules("m", [rule]).feed(table(rows))) == naive(rows, rule)


@settings(max_examples=100, deadline=None)
@given(histories, st.integers(0, 31), st.integers(0, 31))
def test_restarts_and_repetitions_change_nothing(rows: list[Row], at: int, back: int) -> None:
    whole = AlertRules("m", [RULE]).feed(table(rows))
    first = AlertRules("m", [RULE])
    events = first.feed(table([row for row in rows if row[0] < at]))
    second = AlertRules("m", [RULE], json.loads(json.dumps(first.note())))
    events += second.feed(table([row for row in rows if row[0] >= min(at, back)]))
    assert events == whole
    assert len({event.id for event in events}) == len(events)


def test_a_replaced_champion_ends_the_alert_of_the_one_before() -> None:
    rules = AlertRules("iris", [RULE])
    bad = [(0, 1, 1.0, 50), (1, 2, 0.3, 50), (2, 2, 0.3, 50)]
    (raised,) = rules.feed(table(bad))
    assert (raised.kind, raised.model_version, raised.threshold) == ("raised", 2, 0.9)
    assert raised.message == (
        "poor: accuracy of model iris version 2 is 0.3, below 0.9, in the window until "
        "1970-01-01T00:03:00Z (50 records), in 2 windows in a row"
    )
    assert rules.raised() == {"poor": True}
    # In the window of the change both said something: the new one counts.
    (cleared,) = rules.feed(table([(3, 2, 0.3, 40), (3, 3, 1.0, 10)]))
    assert (cleared.kind, cleared.model_version, rules.raised()) == ("cleared", 3, {"poor": False})


def test_rules_take_their_own_metric_and_what_it_is_of() -> None:
    alerts = [
        Alert("moved", "psi", above=0.2, of="amount"),
        Alert("any", "psi", above=0.2),
        Alert("b", "error", above=0.2, of="b"),
    ]

    def told(rows: list[Row], metric: str, of: Any) -> list[str]:
        return [event.rule for event in AlertRules("m", alerts).feed(table(rows, metric, of))]

    row = [(0, 1, 0.3, 5)]
    assert told(row, "psi", "amount") == ["moved"]
    assert told(row, "psi", None) == ["any"]
    assert told(row, "error", "b") == ["b"]
    assert told(row, "error", "a") == told([(0, 1, 0.2, 5)], "psi", None) == []
