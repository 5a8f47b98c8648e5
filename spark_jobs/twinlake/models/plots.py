"""Pictures of a training result, drawn without a display and without global state."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from twinlake.models.classification import Classification
from twinlake.models.train import TrainingResult

MOST_FEATURES_SHOWN = 20


def draw_result(result: TrainingResult, label: str, folder: Path) -> None:
    """Draw what was found on the test part: precision over recall, or the forecast over time."""
    if result.classification is not None:
        draw_precision_recall(result.classification, label, folder / "precision_recall.png")
    if result.test_tail is not None:
        draw_forecast(result.test_tail, label, folder / "forecast.png")


def draw_precision_recall(found: Classification, label: str, out: Path) -> None:
    """Draw precision over recall, and where the threshold lies on it, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    recall, precision = (found.curve[name].to_numpy() for name in ("recall", "precision"))
    axes.step(recall, precision, where="post", linewidth=1)
    axes.plot([found.recall], [found.precision], "o", label=f"threshold {found.threshold:g}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title(f"{label}, average precision {found.average_precision:.3f}")
    axes.legend()
    figure.savefig(out, format="png", dpi=90)


def draw_forecast(tail: pa.Table, label: str, out: Path) -> None:
    """Draw mean forecast and mean actual value over the test part's timestamps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    times = tail["time"].to_numpy()
    axes.plot(times, tail["actual"].to_numpy(), label="actual", linewidth=1)
    axes.plot(times, tail["forecast"].to_numpy(), label="forecast", linewidth=1)
    axes.set_title(f"{label}, mean over the rows of each timestamp of the test part")
    axes.legend()
    figure.savefig(out, format="png", dpi=90)


def draw_importance(result: TrainingResult, out: Path) -> None:
    """Draw the features with the greatest share of the total gain, as PNG."""
    from matplotlib.figure import Figure

    shares = sorted(result.importance.items(), key=lambda item: item[1])[-MOST_FEATURES_SHOWN:]
    figure = Figure(figsize=(7, 1 + 0.25 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh([name for name, _ in shares], [share for _, share in shares])
    axes.set_title("share of the total gain")
    figure.savefig(out, format="png", dpi=90)
