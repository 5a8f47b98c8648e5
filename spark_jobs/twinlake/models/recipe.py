"""How one model is trained: plain data, resolved from the definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from twinlake.definitions.services import (
    CLASS_PROBABILITIES,
    FEWEST_FOLDS,
    PROBABILITIES,
    RESERVED_PARAMETERS,
    Parameter,
)
from twinlake.errors import InputError


@dataclass(frozen=True)
class TrainingRecipe:
    """What to learn from a training set, and what to compare with.

    Attributes:
        name: The model's name.
        label: The column that is forecast.
        features: The columns that it is forecast from, in the order the model takes them.
        time_column: The rows' event timestamps; time splits training from test.
        test_fraction: The last part of time that is held out, in (0, 1).
        trained_from_us: Only what happened after it is learned; needs ``tested_from_us``.
        tested_from_us: What happened then or later is held out, instead of a fraction.
        threshold: The label is 0 or 1 and is forecast as a probability; a row whose probability is
            above the threshold is called positive.
        classes: The label is text, one of these; each is forecast with its probability.
        folds: Measured by cross-validation in so many parts, and learned from all rows.
        params: XGBoost's parameters; threads and seed are arguments of the training.
        candidates: Settings that a leaderboard tries beside these: name to what differs.
        rounds: How many trees, or how many at most with early stopping.
        early_stopping_rounds: Stop when so many trees did not help on the validation tail.
        validation_fraction: With early stopping, the last part of the training time.
        baselines: Naive forecasts to compare with: name to the column that is the forecast.
    """

    name: str
    label: str
    features: tuple[str, ...]
    time_column: str = "event_timestamp"
    test_fraction: float = 0.2
    params: Mapping[str, Parameter] = field(default_factory=dict)
    candidates: Mapping[str, Mapping[str, Parameter]] = field(default_factory=dict)
    rounds: int = 100
    early_stopping_rounds: int | None = None
    validation_fraction: float = 0.1
    baselines: Mapping[str, str] = field(default_factory=dict)
    trained_from_us: int | None = None
    tested_from_us: int | None = None
    threshold: float | None = None
    classes: tuple[str, ...] = ()
    folds: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no training set can satisfy.

        Raises:
            InputError: Names the field and what it should be.
        """
        problems = []
        if not self.features or len(set(self.features)) != len(self.features):
            problems.append("features must be at least one, each named once")
        if self.label in self.features or self.time_column in self.features:
            problems.append("neither the label nor the time column may be a feature")
        if self.label in self.baselines.values():
            problems.append("the label cannot be its own baseline")
        if not (0 < self.test_fraction < 1 and 0 < self.validation_fraction < 1):
            problems.append("test_fraction and validation_fraction must lie between 0 and 1")
        if self.rounds < 1 or (
            self.early_stopping_rounds is not None and self.early_stopping_rounds < 1
        ):
            problems.append("rounds and early_stopping_rounds must be at least 1")
        if reserved := sorted(RESERVED_PARAMETERS & set(self.params)):
            problems.append(f"params must not set {', '.join(reserved)}")
        if "model" in self.baselines:
            problems.append("a baseline cannot be called model")
        problems += [*self._split_problems(), *self._threshold_problems(), *self._class_problems()]
        if problems:
            raise InputError(f"recipe {self.name}: " + "; ".join(problems))

    def _split_problems(self) -> Iterator[str]:
        if self.trained_from_us is None:
            return
        if self.tested_from_us is None:
            yield "trained_from_us needs tested_from_us"
        elif self.tested_from_us <= self.trained_from_us:
            yield "tested_from_us must lie after trained_from_us"

    def _threshold_problems(self) -> Iterator[str]:
        if (self.threshold is None) != (self.params.get("objective") != PROBABILITIES):
            yield f"a threshold goes with the objective {PROBABILITIES}, and neither without it"
        elif self.threshold is not None:
            if not 0 < self.threshold < 1:
                yield "threshold must lie between 0 and 1"
            if self.baselines:
                yield "baselines forecast numbers, and this model gives probabilities"

    def _class_problems(self) -> Iterator[str]:
        objective = self.params.get("objective", CLASS_PROBABILITIES)
        if self.classes and (objective != CLASS_PROBABILITIES or self.threshold is not None):
            yield f"classes go with the objective {CLASS_PROBABILITIES} alone"
        elif self.classes and self.baselines:
            yield "baselines forecast numbers, and this model gives probabilities"
        if self.folds is not None and self.folds < FEWEST_FOLDS:
            yield f"folds must be at least {FEWEST_FOLDS}"

    def columns(self) -> tuple[str, ...]:
        """Name every column of a training set that the training reads, each once."""
        return tuple(
            dict.fromkeys([self.time_column, self.label, *self.features, *self.baselines.values()])
        )
