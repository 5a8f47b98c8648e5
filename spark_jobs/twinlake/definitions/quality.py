"""How well a model does once it is asked: windows, labels that come later, alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinlake.definitions.sources import Source
from twinlake.definitions.times import parse_duration_us

# What is said of a window as soon as no prediction of it is waited for.
TRAFFIC_METRICS = ("records", "unscored", "unscored_share", "psi")
# What is said of it once no label of it is waited for.
LABEL_METRICS = (
    "labelled",
    "unlabelled",
    "accuracy",
    "error",
    "mean_per_class_error",
    "auc",
    "log_loss",
    "mae",
    "rmse",
    "calibration_error",
)
METRICS = (*TRAFFIC_METRICS, *LABEL_METRICS)
# Of a class, and of a feature; psi without one is the greatest of all features.
OF_A_CLASS, OF_A_FEATURE = "error", "psi"


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule on one metric of a model's quality windows.

    Attributes:
        name: The rule's name, one of its own in the model.
        metric: One of ``METRICS``.
        above: A window whose value is greater breaks the rule; give this or ``below``.
        below: A window whose value is smaller breaks it.
        windows: After how many such windows in a row the alert is raised.
        minimum_records: A window of fewer records changes nothing.
        hold_off: For how long after it was over it is not raised again, in event time.
        of: The class (``error``) or the feature (``psi``) that the metric is of.
    """

    name: str
    metric: str
    above: float | None = None
    below: float | None = None
    windows: int = 1
    minimum_records: int = 1
    hold_off: str = "0s"
    of: str | None = None

    @property
    def hold_off_us(self) -> int:
        """The hold-off in microseconds."""
        return parse_duration_us(self.hold_off)


@dataclass(frozen=True, slots=True)
class Labels:
    """What turned out, where it becomes known after the prediction.

    Attributes:
        source: The source whose rows say it.
        prediction_id: The columns that identify a prediction: their names, or the prediction's
            column to the source's where the two differ.
        label: The source's column that says what was true.
        within: How long after a prediction its label is waited for. A window's figures that need
            labels are final when all of them came or this time is over.
    """

    source: Source
    prediction_id: Mapping[str, str] | Sequence[str]
    label: str
    within: str = "14d"

    @property
    def id_columns(self) -> dict[str, str]:
        """The prediction's columns that identify it, each with the source's column."""
        if isinstance(self.prediction_id, Mapping):
            return dict(self.prediction_id)
        return {name: name for name in self.prediction_id}

    @property
    def within_us(self) -> int:
        """How long a label is waited for, in microseconds."""
        return parse_duration_us(self.within)


@dataclass(frozen=True, slots=True)
class Quality:
    """What is watched of a model's predictions.

    Attributes:
        window: The width of a window; windows follow each other from the UTC epoch on.
        lateness: How much older than the newest prediction one may be and still be counted.
        labels: Where labels come from that come later; none: they come with the event.
        alerts: Rules on the windows.
        topic: Where the counts of final windows are sent, if anywhere.
        totals_topic: Where the counts since the beginning are sent, with each final window.
        alerts_topic: Where alerts are sent, beside the places that the environment names.
    """

    window: str = "1m"
    lateness: str = "10s"
    labels: Labels | None = None
    alerts: Sequence[Alert] = ()
    topic: str = ""
    totals_topic: str = ""
    alerts_topic: str = ""

    @property
    def window_us(self) -> int:
        """The width of a window in microseconds."""
        return parse_duration_us(self.window)

    @property
    def lateness_us(self) -> int:
        """The allowed lateness in microseconds."""
        return parse_duration_us(self.lateness)
