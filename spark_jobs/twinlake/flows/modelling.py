"""Train a model on a training set, under MLflow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from twinlake.definitions.services import Model
from twinlake.definitions.times import parse_instant_us, to_datetime
from twinlake.errors import InputError, StateError
from twinlake.flows.project import Project
from twinlake.flows.training_sets import TrainingSet, find_receipt, names
from twinlake.lake import tables, training_tables
from twinlake.models.mlflow_session import TrackingStore
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.tracking import TrackedModel, log_training
from twinlake.models.train import TrainingResult, train

SEED = 7


@dataclass(frozen=True)
class Trained:
    """A trained model: what it is worth, and where it was logged."""

    model: Model
    training_set: TrainingSet
    result: TrainingResult
    tracked: TrackedModel


def train_model(project: Project, model_name: str, training_set: TrainingSet) -> Trained:
    """Train a model on a training set and log it.

    Raises:
        InputError: The training set is not one of the model's service, or lacks a column.
    """
    model = project.model(model_name)
    if training_set.receipt.service != model.service.name:
        raise InputError(
            f"training set {training_set.name} is of service {training_set.receipt.service}, "
            f"model {model.name} takes {model.service.name}",
            hint=f"build one with `twinlake training-set build {model.service.name}`",
        )
    recipe = recipe_of(model)
    started = to_datetime(project.now_us())
    project.tell(f"training {model.name} on {training_set.receipt.rows:,} rows")
    table = training_tables.read_arrow(
        project.spark, training_set.path, training_set.version, recipe.columns()
    )
    result = train(table, recipe, seed=SEED, threads=os.cpu_count() or 1)
    project.tell("logging the model in MLflow")
    tracked = log_training(
        tracking_store(project, model.name),
        recipe,
        result,
        training_set.receipt,
        training_set.pin,
        started_at=started,
        finished_at=to_datetime(project.now_us()),
        alias="champion",
    )
    return Trained(model, training_set, result, tracked)


def newest_training_set(project: Project, service: str) -> TrainingSet:
    """Give the training set of a service that was built last.

    Raises:
        StateError: There is none.
    """
    for name in reversed(names(project)):
        receipt = find_receipt(project, name)
        if receipt is not None and receipt.service == service:
            path = project.places.training_set(name)
            version = tables.last_commit(project.spark, path).version
            return TrainingSet(
                name, path, version, tables.table_id(project.spark, path), receipt, built=False
            )
    raise StateError(
        f"there is no training set of service {service}",
        hint=f"run `twinlake training-set build {service} --spine FILE` first",
    )


def recipe_of(model: Model) -> TrainingRecipe:
    """Resolve a model's definition into what the training takes."""
    features = model.service.feature_names()
    return TrainingRecipe(
        name=model.name,
        label=model.label,
        features=(*features, *model.spine_features),
        test_fraction=model.test_fraction,
        params=dict(model.parameters),
        rounds=model.rounds,
        baselines=dict(model.baselines),
        trained_from_us=_instant_us(model.trained_from),
        tested_from_us=_instant_us(model.tested_from),
        threshold=model.threshold,
    )


def _instant_us(text: str | None) -> int | None:
    return None if text is None else parse_instant_us(text)


def tracking_store(project: Project, experiment: str) -> TrackingStore:
    """Tell where runs and models go."""
    artifacts = project.settings.mlflow_artifacts
    if not re.match(r"[a-z][a-z0-9+.-]*:/", artifacts):
        artifacts = Path(artifacts).absolute().as_uri()
    return TrackingStore(project.settings.mlflow_tracking, artifacts, experiment)
