"""Two pictures of a training result, drawn without a display and without global state."""

from __future__ import annotations

from pathlib import Path

from twinlake.models.train import TrainingResult

MOST_FEATURES_SHOWN = 20


def draw_forecast(result: TrainingResult, label: str, out: Path) -> None:
    """Draw mean forecast and mean actual value over the test part's timestamps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    times = result.test_tail["time"].to_numpy()
    axes.plot(times, result.test_tail["actual"].to_numpy(), label="actual", linewidth=1)
    axes.plot(times, result.test_tail["forecast"].to_numpy(), label="forecast", linewidth=1)
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
