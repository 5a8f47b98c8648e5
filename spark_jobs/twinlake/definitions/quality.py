"""What is watched of a model's predictions while it runs, and what is told when it gets worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# What a window of each kind of model is measured by; ``of`` names a class.
OF_ALL = ("records", "scored", "labelled")
OF_CLASSES = ("accuracy", "mean_per_class_error", "log_loss")
OF_A_CLASS = ("error",)
OF_PROBABILITIES = ("accuracy", "auc", "log_loss", "mean_prediction")
OF_FORECASTS = ("mae", "rmse", "mean_prediction")


@dataclass(frozen=True, slots=True)
class Alert:
    """Tells when a figure of a model is beyond a bound, and again when it is not any more.

    Attributes:
        name: The alert's name.
        metric: The figure: ``records``, ``scored``, ``labelled``; of classes ``accuracy``,
            ``mean_per_class_error``, ``log_loss``, ``error``; of a threshold ``accuracy``, ``auc``,
            ``log_loss``, ``mean_prediction``; of numbers ``mae``, ``rmse``, ``mean_prediction``.
        above: It is beyond the bound where the figure is greater than this.
        below: It is where the figure is less than this.
        of: The class that the figure is of, where it is of one.
        windows: So many windows in a row have to be beyond it before it is told.
        minimum_records: Windows in which the figure is of fewer records say nothing.
        hold_off: So long after it was over it is not told again.
    """

    name: str
    metric: str
    above: float | None = None
    below: float | None = None
    of: str = ""
    windows: int = 1
    minimum_records: int = 1
    hold_off: str = "0s"


@dataclass(frozen=True, slots=True)
class Quality:
    """What is watched of a model's predictions.

    Attributes:
        window: Figures are of windows of this length, beginning at whole multiples of it.
        lateness: A window is final once an event was seen that happened this long after its end;
            what comes for it then is counted as late.
        alerts: What is told.
        topic: Where the counts of final windows are sent, if anywhere.
        totals_topic: Where the counts since the beginning are sent, after each window.
        alerts_topic: Where alerts are sent.
    """

    window: str = "1m"
    lateness: str = "10s"
    alerts: Sequence[Alert] = ()
    topic: str = ""
    totals_topic: str = ""
    alerts_topic: str = ""
