"""Alerts: raised when a figure is beyond its bound for some windows, cleared when it is not.

What is told is a function of the final windows alone, and each event is named by the window that
brought it: whoever folds the same windows again gets the same events with the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from twinlake.assurance.quality import Figure, FinalWindow
from twinlake.definitions.quality import Alert
from twinlake.definitions.times import format_instant, parse_duration_us

RAISED, CLEARED = "raised", "cleared"


@dataclass(frozen=True)
class AlertEvent:
    """An alert that was raised or cleared.

    Attributes:
        id: Names the event; the same whenever it is found again.
        alert: The alert's name.
        kind: ``raised`` or ``cleared``.
        model: The model.
        model_version: The version that spoke.
        metric: The figure.
        of: The class that it is of; empty where it is of all.
        value: The figure in the window.
        bound: The bound of the alert.
        is_upper: Whether greater figures are beyond it.
        records: Of how many records the figure is.
        window_start, window_end: The window that decided.
    """

    id: str
    alert: str
    kind: str
    model: str
    model_version: int | None
    metric: str
    of: str
    value: float
    bound: float
    is_upper: bool
    records: int
    window_start: str
    window_end: str

    def text(self) -> str:
        """Say it in a line."""
        beyond = "above" if self.is_upper else "below"
        figure = f"{self.metric} of {self.of}" if self.of else self.metric
        is_or_not = beyond if self.kind == RAISED else f"not {beyond}"
        return (
            f"ALERT {self.kind}: {self.alert}: {figure} of {self.model} version "
            f"{self.model_version} is {self.value:.4g}, {is_or_not} {self.bound:.4g}, over "
            f"{self.records:,} records from {self.window_start} to {self.window_end}"
        )

    def document(self) -> dict[str, Any]:
        """Write it down."""
        return asdict(self)


@dataclass
class AlertState:
    """Where an alert stands.

    Attributes:
        is_raised: Whether it was told and is not over.
        beyond: How many windows in a row were beyond the bound.
        cleared_us: When the window ended that cleared it last.
    """

    is_raised: bool = False
    beyond: int = 0
    cleared_us: int | None = None


class Alerting:
    """Folds final windows into events.

    Args:
        model: The model's name.
        alerts: Its alerts.
        states: Where they stand, as ``document`` gave it; those that are new begin anew.
    """

    def __init__(
        self, model: str, alerts: Sequence[Alert], states: Mapping[str, Any] | None = None
    ) -> None:
        self._model = model
        self._alerts = list(alerts)
        told = states or {}
        self._states = {a.name: AlertState(**told.get(a.name, {})) for a in alerts}

    def document(self) -> dict[str, Any]:
        """Write down where all alerts stand."""
        return {name: asdict(state) for name, state in self._states.items()}

    @property
    def raised(self) -> list[str]:
        """Name the alerts that are raised."""
        return [name for name, state in self._states.items() if state.is_raised]

    def take(self, windows: Sequence[FinalWindow]) -> Iterator[AlertEvent]:
        """Take further final windows, oldest first; of one window the newest version counts.

        An older version that still speaks in a window says nothing of what is in use.
        """
        for place, window in enumerate(windows):
            follows = windows[place + 1] if place + 1 < len(windows) else None
            if window.version is None:
                continue
            if follows is not None and follows.start_us == window.start_us:
                continue
            for alert in self._alerts:
                yield from self._judge(alert, window)

    def _judge(self, alert: Alert, window: FinalWindow) -> Iterator[AlertEvent]:
        figure = _figure(alert, window)
        if figure is None or figure.records < alert.minimum_records:
            return
        state = self._states[alert.name]
        if not is_beyond(alert, figure.value):
            state.beyond = 0
            if state.is_raised:
                state.is_raised, state.cleared_us = False, window.end_us
                yield self._event(alert, CLEARED, window, figure)
            return
        state.beyond += 1
        if state.is_raised or state.beyond < alert.windows:
            return
        hold_off_us = parse_duration_us(alert.hold_off)
        if state.cleared_us is not None and window.end_us - state.cleared_us < hold_off_us:
            return
        state.is_raised = True
        yield self._event(alert, RAISED, window, figure)

    def _event(self, alert: Alert, kind: str, window: FinalWindow, figure: Figure) -> AlertEvent:
        bound = alert.above if alert.above is not None else alert.below
        return AlertEvent(
            id=f"{self._model}/{alert.name}/{window.start_us}/{kind}",
            alert=alert.name,
            kind=kind,
            model=self._model,
            model_version=window.version,
            metric=alert.metric,
            of=alert.of,
            value=figure.value,
            bound=float(bound or 0),
            is_upper=alert.above is not None,
            records=figure.records,
            window_start=str(format_instant(window.start_us)),
            window_end=str(format_instant(window.end_us)),
        )


def is_beyond(alert: Alert, value: float) -> bool:
    """Tell whether a figure is beyond an alert's bound."""
    if alert.above is not None:
        return value > alert.above
    return alert.below is not None and value < alert.below


def _figure(alert: Alert, window: FinalWindow) -> Figure | None:
    for figure in window.figures:
        if (figure.metric, figure.of) == (alert.metric, alert.of):
            return figure
    return None
