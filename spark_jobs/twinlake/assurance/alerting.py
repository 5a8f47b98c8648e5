"""Alerts: rules on final quality windows, one event when one begins and one when it is over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from twinlake.definitions.quality import Alert
from twinlake.definitions.times import MIN_US, format_instant

RAISED, CLEARED = "raised", "cleared"
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """An alert begins or is over.

    Attributes:
        id: The same for the same rule, window and kind, however often it is computed.
        kind: ``raised`` or ``cleared``.
        model: The model.
        rule: The rule's name.
        metric: What it is on.
        of: The class or feature that the metric is of.
        value: What the metric came to.
        threshold: What it is compared with.
        records: On how many records the value rests.
        model_version: The newest one of the window.
        window_start: The window that decided, ISO 8601.
        window_end: Its end.
        message: All of it in a sentence.
    """

    id: str
    kind: str
    model: str
    rule: str
    metric: str
    of: str | None
    value: float
    threshold: float
    records: int
    model_version: int | None
    window_start: str
    window_end: str
    message: str

    def document(self) -> dict[str, Any]:
        """Give the event as a JSON object."""
        return asdict(self)


@dataclass(slots=True)
class _State:
    """Where a rule stands: after the window that ends at ``until_us``."""

    until_us: int = MIN_US
    broken: int = 0
    raised: bool = False
    cleared_us: int = MIN_US


@dataclass(frozen=True, slots=True)
class _Row:
    start_us: int
    end_us: int
    version: int | None
    value: float
    records: int


class AlertRules:
    """The rules of one model over its windows, whatever versions made them.

    Of each window the newest version counts, so that who replaces a bad champion ends its alert.
    A window with too few records changes nothing, and neither does one without the metric.

    Args:
        model: The model's name.
        alerts: Its rules.
        note: What ``note`` gave before a restart.
    """

    def __init__(
        self, model: str, alerts: Sequence[Alert], note: Mapping[str, Any] | None = None
    ) -> None:
        self._model, self._alerts = model, tuple(alerts)
        known = note or {}
        self._states = {
            alert.name: _State(**known[alert.name]) if alert.name in known else _State()
            for alert in alerts
        }

    def feed(self, metrics: pa.Table) -> list[AlertEvent]:
        """Take final windows; give the events in order of window and rule.

        Args:
            metrics: ``Final.metrics``: windows of a metric in order. Windows that were taken before
                change nothing.
        """
        rows = metrics.select(
            ["window_start", "window_end", "model_version", "metric", "of", "value", "records"]
        )
        starts, ends = (rows.column(i).cast(pa.int64()).to_pylist() for i in (0, 1))
        others = [rows.column(i).to_pylist() for i in range(2, 7)]
        newest: dict[tuple[str, str | None], dict[int, _Row]] = {}
        for start, end, version, metric, of, value, records in zip(
            starts, ends, *others, strict=True
        ):
            windows = newest.setdefault((metric, of), {})
            known = windows.get(end)
            # No version told is older than any that is.
            if known is None or (version or -1) > (known.version or -1):
                windows[end] = _Row(start, end, version, value, records)
        events = [
            (row.end_us, number, event)
            for number, alert in enumerate(self._alerts)
            for _, row in sorted(newest.get((alert.metric, alert.of), {}).items())
            if (event := self._step(alert, row)) is not None
        ]
        return [event for *_, event in sorted(events, key=lambda each: each[:2])]

    def raised(self) -> dict[str, bool]:
        """Tell of each rule whether its alert is on."""
        return {name: state.raised for name, state in self._states.items()}

    def note(self) -> dict[str, Any]:
        """Give where each rule stands, as a JSON object."""
        return {name: asdict(state) for name, state in self._states.items()}

    def _step(self, alert: Alert, row: _Row) -> AlertEvent | None:
        state = self._states[alert.name]
        if row.end_us <= state.until_us:
            return None
        state.until_us = row.end_us
        if row.records < alert.minimum_records:
            return None
        if not breaks(alert, row.value):
            state.broken = 0
            if not state.raised:
                return None
            state.raised, state.cleared_us = False, row.end_us
            return self._event(alert, row, CLEARED)
        state.broken += 1
        is_held = state.cleared_us > MIN_US and row.end_us < state.cleared_us + alert.hold_off_us
        if state.raised or state.broken < alert.windows or is_held:
            return None
        state.raised = True
        return self._event(alert, row, RAISED)

    def _event(self, alert: Alert, row: _Row, kind: str) -> AlertEvent:
        named = json.dumps([self._model, alert.name, row.end_us, kind])
        threshold = alert.above if alert.above is not None else alert.below
        return AlertEvent(
            id=hashlib.sha256(named.encode()).hexdigest()[:_ID_DIGITS],
            kind=kind,
            model=self._model,
            rule=alert.name,
            metric=alert.metric,
            of=alert.of,
            value=row.value,
            threshold=float(threshold or 0.0),
            records=row.records,
            model_version=row.version,
            window_start=format_instant(row.start_us),
            window_end=format_instant(row.end_us),
            message=self._sentence(alert, row, kind),
        )

    def _sentence(self, alert: Alert, row: _Row, kind: str) -> str:
        what = alert.metric + (f" of {alert.of}" if alert.of else "")
        version = "" if row.version is None else f" version {row.version}"
        side = f"above {alert.above:g}" if alert.above is not None else f"below {alert.below:g}"
        found = f"{what} of model {self._model}{version} is {row.value:.4g}"
        until = f"in the window until {format_instant(row.end_us)} ({row.records:,} records)"
        if kind == CLEARED:
            return f"{alert.name} is over: {found}, no longer {side}, {until}"
        row_of = "" if alert.windows == 1 else f", in {alert.windows} windows in a row"
        return f"{alert.name}: {found}, {side}, {until}{row_of}"


def breaks(alert: Alert, value: float) -> bool:
    """Tell whether a value breaks a rule."""
    if alert.above is not None:
        return value > alert.above
    return alert.below is not None and value < alert.below


def documents(events: Iterable[AlertEvent]) -> list[dict[str, Any]]:
    """Give events as JSON objects, for an outbox."""
    return [event.document() for event in events]
