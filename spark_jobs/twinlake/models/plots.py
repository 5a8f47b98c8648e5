"""Pictures of training results, drawn without a display and without global state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from twinlake.models.class_figures import ClassFigures
from twinlake.models.classification import Classification
from twinlake.models.importance import Importance
from twinlake.models.leaderboard import Entry
from twinlake.models.train import TrainingResult

MOST_FEATURES_SHOWN = 20
Judged = Mapping[str, Classification]


def draw_result(result: TrainingResult, label: str, folder: Path) -> None:
    """Draw what was found on the test part: how labels are told, or the forecast over time."""
    if result.classification is not None:
        judged = {"model": result.classification}
        draw_precision_recall(judged, label, folder / "precision_recall.png")
        draw_calibration(judged, label, folder / "calibration.png")
    if result.classes is not None:
        draw_confusion(result.classes, label, folder / "confusion.png")
    if result.test_tail is not None:
        draw_forecast(result.test_tail, label, folder / "forecast.png")


def draw_leaderboard(entries: Sequence[Entry], label: str, folder: Path) -> None:
    """Draw candidates together: their curves where they give probabilities, else their errors."""
    told = {e.candidate.name: e.result.classification for e in entries}
    judged = {name: found for name, found in told.items() if found is not None}
    if judged:
        draw_precision_recall(judged, label, folder / "precision_recall.png")
        draw_calibration(judged, label, folder / "calibration.png")
        return
    by_class = {e.candidate.name: e.result.classes for e in entries}
    apart = {name: one.mean_per_class_error for name, one in by_class.items() if one is not None}
    if apart:
        _draw_bars(apart, f"{label}, mean error per class", folder / "errors.png")
        return
    errors = {e.candidate.name: e.result.errors["model"].mae for e in entries}
    _draw_bars(errors, f"{label}, mean absolute error", folder / "errors.png")


def draw_precision_recall(judged: Judged, label: str, out: Path) -> None:
    """Draw precision over recall, and where the threshold lies on it, as PNG."""

    def draw(axes: Any) -> None:  # noqa: ANN401 (of matplotlib)
        for name, found in judged.items():
            recall, precision = (found.curve[head].to_numpy() for head in ("recall", "precision"))
            told = f"{name}, average precision {found.average_precision:.3f}"
            (line,) = axes.step(recall, precision, where="post", linewidth=1, label=told)
            axes.plot([found.recall], [found.precision], "o", color=line.get_color())
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        threshold = next(iter(judged.values())).threshold
        axes.set_title(f"{label}; the dot is the threshold, {threshold:g}")
        axes.legend()

    _save(out, (6, 5), draw)


def draw_calibration(judged: Judged, label: str, out: Path) -> None:
    """Draw the share of positives over the probability that they were given, as PNG."""

    def draw(axes: Any) -> None:  # noqa: ANN401 (of matplotlib)
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="dashed")
        for name, found in judged.items():
            forecast, actual = (
                found.calibration[head].to_numpy() for head in ("forecast", "actual")
            )
            told = f"{name}, log loss {found.log_loss:.3f}"
            axes.plot(forecast, actual, marker="o", markersize=4, linewidth=1, label=told)
        axes.set(xlabel="probability given", ylabel="share of positives")
        axes.set_title(f"{label}, in parts of about as many rows")
        axes.legend()

    _save(out, (6, 5), draw)


def draw_confusion(told: ClassFigures, label: str, out: Path) -> None:
    """Draw how often each class was taken for which, as PNG."""

    def draw(axes: Any) -> None:  # noqa: ANN401 (of matplotlib)
        axes.imshow(told.confusion, cmap="Blues")
        places = range(len(told.classes))
        for row in places:
            for column in places:
                count = int(told.confusion[row, column])
                is_dark = count > told.confusion.max() / 2
                colour = "white" if is_dark else "black"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
        axes.set_xticks(places, told.classes, rotation=30)
        axes.set_yticks(places, told.classes)
        axes.set(xlabel="taken for", ylabel=label)
        axes.set_title(f"mean error per class {told.mean_per_class_error:.4f}")

    _save(out, (5, 4), draw)


def draw_forecast(tail: pa.Table, label: str, out: Path) -> None:
    """Draw mean forecast and mean actual value over the test part's timestamps, as PNG."""

    def draw(axes: Any) -> None:  # noqa: ANN401 (of matplotlib)
        times = tail["time"].to_numpy()
        axes.plot(times, tail["actual"].to_numpy(), label="actual", linewidth=1)
        axes.plot(times, tail["forecast"].to_numpy(), label="forecast", linewidth=1)
        axes.set_title(f"{label}, mean over the rows of each timestamp of the test part")
        axes.legend()

    _save(out, (9, 4), draw)


def draw_importance(importance: Importance, out: Path) -> None:
    """Draw the features that are worth most, as PNG."""
    _draw_bars(importance.values, importance.measured_by, out)


def _draw_bars(values: Mapping[str, float], title: str, out: Path) -> None:
    shown = sorted(values.items(), key=lambda item: item[1])[-MOST_FEATURES_SHOWN:]

    def draw(axes: Any) -> None:  # noqa: ANN401 (of matplotlib)
        axes.barh([name for name, _ in shown], [value for _, value in shown])
        axes.set_title(title)

    _save(out, (7, 1 + 0.25 * len(shown)), draw)


def _save(out: Path, inches: tuple[float, float], draw: Callable[[Any], None]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    draw(figure.add_subplot())
    figure.savefig(out, format="png", dpi=90)
