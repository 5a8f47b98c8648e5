"""Models of scikit-learn: one pipeline from columns to forecasts, kept by skops, never pickled.

Numbers are imputed, with a column that says so, and scaled; text is one-hot. All of it is part of
the pipeline, so that a model that was loaded needs nothing else.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from twinlake.definitions.services import (
    LINEAR_DISCRIMINANT,
    LOGISTIC_REGRESSION,
    QUADRATIC_DISCRIMINANT,
    RIDGE,
)
from twinlake.errors import StateError
from twinlake.models.columns import Categories, Doubles, categories_of, is_text, model_inputs
from twinlake.models.recipe import TrainingRecipe

if TYPE_CHECKING:
    import pandas as pd

SKOPS_FILE = "model.skops"
# Shallow enough to say something of rows that it never saw.
TREE_DEPTH = 8
TREE_LEAF_ROWS = 20
MAX_ITERATIONS = 2_000
# Without it a class in which a column never varies could not be told from others at all.
COVARIANCE_SHRINKAGE = 1e-3
# Beyond what skops trusts by itself.
FURTHER_TRUSTED = ("numpy.dtype", "sklearn.tree._tree.Tree")
# All that a pipeline of ours is made of. skops itself trusts every estimator of scikit-learn.
TRUSTED = frozenset(
    {
        "builtins.dict",
        "builtins.list",
        "builtins.slice",
        "builtins.str",
        "builtins.tuple",
        "numpy.dtype",
        "numpy.float64",
        "numpy.int64",
        "numpy.ndarray",
        "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
        "sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis",
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.impute._base.MissingIndicator",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._ridge.Ridge",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._encoders.OneHotEncoder",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._tree.Tree",
    }
)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of scikit-learn; see ``Scorer``."""

    fitted: Any
    file_name: str = SKOPS_FILE

    @property
    def algorithm(self) -> str:
        """Name what the model was learned by."""
        return str(self.fitted.steps[-1][0])

    @property
    def features(self) -> tuple[str, ...]:
        """Name the columns that the model takes, in order."""
        return tuple(map(str, self.fitted.feature_names_in_))

    @cached_property
    def categories(self) -> Categories:
        """Give the columns of text, each with the values that the model knows."""
        for name, encoder, columns in self.fitted.steps[0][1].transformers_:
            if name == "text":
                listed = zip(columns, encoder.categories_, strict=True)
                return {column: pa.array(values.tolist(), pa.string()) for column, values in listed}
        return {}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Name the classes that it tells apart; none where it tells none."""
        learned = getattr(self.fitted, "classes_", np.empty(0))
        return tuple(map(str, learned)) if learned.dtype.kind == "U" else ()

    def predict(self, table: pa.Table, *, threads: int = 1) -> Doubles:  # noqa: ARG002 (see Scorer)
        """Forecast each row; see ``Scorer``."""
        if not len(table):
            return np.empty((0, len(self.classes)) if self.classes else 0)
        rows = frame(model_inputs(table, self.features, self.categories))
        if self.classes:
            return np.asarray(self.fitted.predict_proba(rows), dtype=np.float64)
        if hasattr(self.fitted, "predict_proba"):
            return np.asarray(self.fitted.predict_proba(rows)[:, 1], dtype=np.float64)
        return np.asarray(self.fitted.predict(rows), dtype=np.float64)

    def gains(self) -> None:
        """Give nothing: one column becomes several on the way, of other scales."""

    def contributions(self, table: pa.Table) -> None:
        """Give nothing, for the same reason."""

    def flavour(self) -> tuple[Any, dict[str, Any]]:
        """Give MLflow's part for scikit-learn, and what it is told."""
        import mlflow.sklearn
        import sklearn
        import skops

        return mlflow.sklearn, {
            "sk_model": self.fitted,
            "serialization_format": mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
            "skops_trusted_types": list(FURTHER_TRUSTED),
            "pip_requirements": [
                f"scikit-learn=={sklearn.__version__}",
                f"skops=={skops.__version__}",
            ],
        }


def read_pipeline(content: bytes) -> Pipeline:
    """Read what skops wrote, if it is made of what we write and of nothing else.

    Raises:
        StateError: It is not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            document = json.loads(archive.read("schema.json"))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise StateError(f"this is no model that skops wrote: {error}") from error
    if strange := sorted(set(_types(document)) - TRUSTED):
        raise StateError(
            f"the model holds {', '.join(strange)}, which no model of ours does; it was not loaded",
            hint="train it again",
        )
    import skops.io

    return Pipeline(skops.io.loads(content, trusted=list(FURTHER_TRUSTED)))


def fit_pipeline(learned: pa.Table, recipe: TrainingRecipe, algorithm: str, seed: int) -> Pipeline:
    """Fit one of scikit-learn's algorithms.

    Args:
        learned: Features and label as ``as_feature`` gives them.
        recipe: What to learn; XGBoost's parameters mean nothing here.
        algorithm: As candidates name them, such as ``logistic_regression``.
        seed: For what the algorithm leaves to chance.
    """
    from sklearn.pipeline import Pipeline as Steps

    estimator = _estimator(algorithm, recipe, seed)
    fitted = Steps([("inputs", _columns_to_numbers(learned, recipe)), (algorithm, estimator)])
    label = learned[recipe.label].to_numpy()
    if recipe.classes:
        label = np.array(recipe.classes)[label.astype(np.int64)]
    fitted.fit(frame(learned.select(list(recipe.features))), label)
    return Pipeline(fitted)


def frame(inputs: pa.Table) -> pd.DataFrame:
    """Write columns as pandas: text as objects with None, numbers with NaN."""
    import pandas as pd

    return pd.DataFrame(
        {name: inputs[name].to_numpy(zero_copy_only=False) for name in inputs.column_names}
    )


def _columns_to_numbers(learned: pa.Table, recipe: TrainingRecipe) -> Any:  # noqa: ANN401 (untyped)
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline as Steps
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    texts = [name for name in recipe.features if is_text(learned.schema.field(name).type)]
    numbers = [name for name in recipe.features if name not in texts]
    known = [values.to_pylist() for values in categories_of(learned, texts).values()]
    one_hot = OneHotEncoder(categories=known, handle_unknown="ignore")
    filled = SimpleImputer(strategy="median", keep_empty_features=True, add_indicator=True)
    parts = [
        ("text", one_hot, texts),
        ("numbers", Steps([("filled", filled), ("scaled", StandardScaler())]), numbers),
    ]
    return ColumnTransformer([part for part in parts if part[2]])


def _estimator(algorithm: str, recipe: TrainingRecipe, seed: int) -> Any:  # noqa: ANN401 (untyped)
    from sklearn.discriminant_analysis import (
        LinearDiscriminantAnalysis,
        QuadraticDiscriminantAnalysis,
    )
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if algorithm == LOGISTIC_REGRESSION:
        return LogisticRegression(max_iter=MAX_ITERATIONS)
    if algorithm == RIDGE:
        return Ridge()
    if algorithm == LINEAR_DISCRIMINANT:
        return LinearDiscriminantAnalysis()
    if algorithm == QUADRATIC_DISCRIMINANT:
        return QuadraticDiscriminantAnalysis(reg_param=COVARIANCE_SHRINKAGE)
    is_number = recipe.threshold is None and not recipe.classes
    kind = DecisionTreeRegressor if is_number else DecisionTreeClassifier
    return kind(max_depth=TREE_DEPTH, min_samples_leaf=TREE_LEAF_ROWS, random_state=seed)


def _types(document: Any) -> Iterator[str]:  # noqa: ANN401 (any JSON document)
    """Yield every type that a schema of skops names."""
    if isinstance(document, dict):
        if "__class__" in document:
            yield f"{document.get('__module__')}.{document['__class__']}"
        for item in document.values():
            yield from _types(item)
    elif isinstance(document, list):
        for item in document:
            yield from _types(item)
