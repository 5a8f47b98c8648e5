"""Feature services and models: what is trained and served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from twinlake.definitions.on_demand import OnDemandSelection, OnDemandView
from twinlake.definitions.quality import Quality
from twinlake.definitions.sources import Source
from twinlake.definitions.views import FeatureView, Selection

# The objective of XGBoost under which a model gives the probability that a label is 1.
PROBABILITIES = "binary:logistic"
# The one under which it gives the probability of each class.
CLASS_PROBABILITIES = "multi:softprob"
FEWEST_CLASSES = 3
FEWEST_FOLDS = 2
TEST_FRACTION = 0.2
# Said by the caller or by the machine, never by a definition: they must not change what is learned.
RESERVED_PARAMETERS = frozenset(
    {"nthread", "n_jobs", "seed", "random_state", "device", "verbosity"}
)
# A setting of a candidate's beside XGBoost's parameters: how many trees at most.
ROUNDS = "rounds"
# What a leaderboard always compares; a model's own candidates are called otherwise.
OWN_SETTINGS = "xgboost"
LOGISTIC_REGRESSION = "logistic_regression"
RIDGE = "ridge"
DECISION_TREE = "decision_tree"
LINEAR_DISCRIMINANT = "linear_discriminant"
QUADRATIC_DISCRIMINANT = "quadratic_discriminant"
ALWAYS_COMPARED = (
    OWN_SETTINGS,
    LOGISTIC_REGRESSION,
    RIDGE,
    DECISION_TREE,
    LINEAR_DISCRIMINANT,
    QUADRATIC_DISCRIMINANT,
)

Parameter = str | int | float


@dataclass(frozen=True)
class FeatureService:
    """The ordered list of features that one model takes.

    Attributes:
        name: The service's name.
        features: Whole views, stored or on demand, or ``view.select("a", "b")``.
        description: For people; no part of the meaning.
    """

    name: str
    features: Sequence[FeatureView | Selection | OnDemandView | OnDemandSelection]
    description: str = ""

    def parts(self) -> Iterator[tuple[FeatureView | OnDemandView, tuple[str, ...]]]:
        """Yield each view, of either kind, with the features taken from it, in order."""
        for item in self.features:
            if isinstance(item, Selection | OnDemandSelection):
                yield item.view, tuple(item.names)
            elif isinstance(item, OnDemandView):
                yield item, tuple(item.outputs)
            else:
                yield item, tuple(name for name, *_ in item.declared())

    def selections(self) -> Iterator[tuple[FeatureView, tuple[str, ...]]]:
        """Yield each stored view with the names of the features taken from it, in order."""
        for view, names in self.parts():
            if isinstance(view, FeatureView):
                yield view, names

    def feature_names(self) -> list[str]:
        """Give the names of all features, in order."""
        return [name for _, names in self.parts() for name in names]

    def on_demand(self) -> list[OnDemandView]:
        """Give the on-demand views that features are taken from."""
        views = {view.name: view for view, _ in self.parts() if isinstance(view, OnDemandView)}
        return list(views.values())

    def needed(self) -> list[tuple[FeatureView, tuple[str, ...]]]:
        """Give each stored view once, with all features that are taken from it or read on demand.

        Those taken come first, so that a service without on-demand views needs what it takes.
        """
        views: dict[str, FeatureView] = {}
        names: dict[str, dict[str, None]] = {}
        read = [pair for view in self.on_demand() for pair in view.reads()]
        for view, some in [*self.selections(), *read]:
            views.setdefault(view.name, view)
            names.setdefault(view.name, {}).update(dict.fromkeys(some))
        return [(view, tuple(names[name])) for name, view in views.items()]

    def views(self) -> list[FeatureView]:
        """Give each view as it is stored, once, whatever the names that it is joined under."""
        return list({view.stored.name: view.stored for view, _ in self.needed()}.values())

    def request_fields(self) -> dict[str, str]:
        """Give the fields that a question must bring beside the join keys: name to type."""
        return {name: kind for view in self.on_demand() for name, kind in view.request.items()}

    def stored(self) -> FeatureService:
        """Give the service of what is stored for this one, without anything on demand."""
        return FeatureService(
            self.name, tuple(view.select(*names) for view, names in self.needed())
        )


@dataclass(frozen=True)
class Model:
    """What is trained on a training set of a service.

    Attributes:
        name: The model's name in the model registry.
        service: Where its features come from.
        label: The spine column that it forecasts.
        spine_features: Spine columns that it takes beside the service's features.
        baselines: Naive forecast to compare with: its name to the feature that it is.
        parameters: XGBoost's parameters.
        candidates: Further settings that a leaderboard tries: a name to the parameters that differ
            from the model's own, and to ``rounds`` where the number of trees does. Without any,
            a few that often do well.
        rounds: How many trees at most.
        test_fraction: The last part of time that is held out.
        trained_from: Only rows after this instant are learned, such as ``"2022-01-15"``.
        tested_from: Rows of this instant and later are held out, instead of a fraction.
        threshold: With the objective ``binary:logistic``, whose label is 0 or 1: a row whose
            probability is above it is called positive.
        decisions: What a decision by the threshold is called: of a row that is not positive, and of
            one that is, such as ``("Loan approved!", "Loan rejected!")``.
        classes: The label is text, one of these, and the model gives the probability of each.
        predicts: What the column of the predicted class is called where predictions are kept; by
            default the label's name behind ``predicted_``.
        folds: Measure by cross-validation in so many parts, instead of holding the last part of
            time out: for rows whose order in time says nothing.
        source: Whose events a stream scores; by default the one that all features come from.
        quality: What is watched of its predictions while it runs.
        description: For people; no part of the meaning.
    """

    name: str
    service: FeatureService
    label: str
    spine_features: Sequence[str] = ()
    baselines: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    candidates: Mapping[str, Mapping[str, Parameter]] = field(default_factory=dict)
    rounds: int = 200
    test_fraction: float = TEST_FRACTION
    trained_from: str | None = None
    tested_from: str | None = None
    threshold: float | None = None
    decisions: Sequence[str] = ()
    classes: Sequence[str] = ()
    predicts: str = ""
    folds: int | None = None
    source: Source | None = None
    quality: Quality | None = None
    description: str = ""

    @property
    def said_column(self) -> str:
        """Name the column that says what was decided: the class, or whether it is positive."""
        return self.predicted_column if self.classes else "is_positive"

    @property
    def predicted_column(self) -> str:
        """Name the column of the predicted class."""
        return self.predicts or f"predicted_{self.label}"
