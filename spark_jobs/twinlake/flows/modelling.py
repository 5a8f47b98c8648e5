"""Train models on a training set, under MLflow: one, or candidates side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pyarrow as pa

from twinlake.definitions.services import Model
from twinlake.definitions.times import parse_instant_us, to_datetime
from twinlake.errors import InputError, StateError
from twinlake.flows.catalogue import erasure_text
from twinlake.flows.project import Project
from twinlake.flows.training_sets import TrainingSet, find_receipt, names
from twinlake.lake import tables, training_tables
from twinlake.models import mlflow_session
from twinlake.models.candidates import candidates_of
from twinlake.models.content import combine, digest, partial_hash
from twinlake.models.leaderboard import Entry, ranked
from twinlake.models.mlflow_session import TrackingStore, require_tracking
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.tracking import (
    Origin,
    TrackedLeaderboard,
    TrackedModel,
    log_leaderboard,
    log_training,
)
from twinlake.models.train import TrainingResult, split_parts, train, train_candidate
from twinlake.registry.trained import TrainedModel, TrainedModels

SEED = 7
CHAMPION = "champion"


@dataclass(frozen=True)
class Trained:
    """A trained model: what it is worth, and where it was logged."""

    model: Model
    training_set: TrainingSet
    result: TrainingResult
    tracked: TrackedModel


@dataclass(frozen=True)
class Leaderboard:
    """Candidates of a model, best first, and where they were logged."""

    model: Model
    training_set: TrainingSet
    entries: list[Entry]
    tracked: TrackedLeaderboard


def train_model(project: Project, model_name: str, training_set: TrainingSet) -> Trained:
    """Train a model on a training set, log it, and make it the champion.

    Raises:
        InputError: The training set is not one of the model's service, or lacks a column.
        StateError: Its rows are not those that its receipt names.
        EnvironmentFailure: MLflow does not answer, or cannot write.
    """
    model = _model_of(project, model_name, training_set)
    store, recipe = tracking_store(project, model.name), recipe_of(model)
    require_tracking(store)
    started = to_datetime(project.now_us())
    table = _read(project, training_set, recipe)
    project.tell(f"training {model.name} on {training_set.receipt.rows:,} rows")
    result = train(table, recipe, seed=SEED, threads=_threads())
    project.tell("logging the model in MLflow")
    tracked = log_training(
        store,
        recipe,
        result,
        Origin(training_set.receipt, training_set.pin),
        started_at=started,
        finished_at=to_datetime(project.now_us()),
        alias=CHAMPION,
    )
    _remember(project, training_set, tracked, result)
    return Trained(model, training_set, result, tracked)


def train_candidates(project: Project, model_name: str, training_set: TrainingSet) -> Leaderboard:
    """Train several candidates on one training set and split, and make the best the champion.

    Raises:
        InputError: As ``train_model``.
        StateError: As ``train_model``.
        EnvironmentFailure: As ``train_model``.
    """
    model = _model_of(project, model_name, training_set)
    store, recipe = tracking_store(project, model.name), recipe_of(model)
    require_tracking(store)
    parts = split_parts(_read(project, training_set, recipe), recipe)
    entries = []
    for candidate in candidates_of(recipe):
        project.tell(f"training {candidate.name} on {len(parts.learned):,} rows")
        started = to_datetime(project.now_us())
        result = train_candidate(parts, candidate, seed=SEED, threads=_threads(), shuffle=True)
        entries.append(Entry(candidate, result, started, to_datetime(project.now_us())))
    entries = ranked(entries)
    project.tell(f"logging {len(entries)} candidates in MLflow")
    origin = Origin(training_set.receipt, training_set.pin)
    tracked = log_leaderboard(store, recipe, entries, origin, alias=CHAMPION)
    _remember(project, training_set, tracked.best, entries[0].result)
    return Leaderboard(model, training_set, entries, tracked)


def _remember(
    project: Project, training_set: TrainingSet, tracked: TrackedModel, result: TrainingResult
) -> None:
    """Note what a version learned from, so that lineage and plan need not ask MLflow."""
    TrainedModels(project.settings.state).add(
        TrainedModel(
            tracked.name,
            tracked.version,
            result.scorer.algorithm,
            training_set.name,
            training_set.receipt.digest(),
            tracked.run_id,
            tracked.sha256,
        )
    )


def require_mlflow(project: Project, model_name: str) -> None:
    """Find out whether a model could be logged, before its training set is built.

    Raises:
        EnvironmentFailure: MLflow does not answer, or cannot write.
    """
    require_tracking(tracking_store(project, model_name))


def _model_of(project: Project, model_name: str, training_set: TrainingSet) -> Model:
    model = project.model(model_name)
    if training_set.receipt.service != model.service.name:
        raise InputError(
            f"training set {training_set.name} is of service {training_set.receipt.service}, "
            f"model {model.name} takes {model.service.name}",
            hint=f"build one with `twinlake training-set build {model.service.name}`",
        )
    return model


def _read(project: Project, training_set: TrainingSet, recipe: TrainingRecipe) -> pa.Table:
    """Read what a recipe takes of a training set, whose rows must be those of its receipt.

    Raises:
        InputError: A column that the recipe takes is not there.
        StateError: They are not.
    """
    receipt = training_set.receipt
    for name in recipe.columns():
        if name not in receipt.columns:
            raise InputError.unknown("column", name, receipt.columns)
    parts, taken = [], []
    wanted = list(recipe.columns())
    hint = f"remove {training_set.path} and its receipt, and build it again"
    try:
        batches = training_tables.read_batches(
            project.spark, training_set.path, training_set.version
        )
        for batch in batches:
            parts.append(partial_hash(batch, receipt.columns))
            taken.append(batch.select(wanted))
    except (OSError, InputError, pa.ArrowInvalid) as error:
        raise StateError(
            f"training set {training_set.name} cannot be read: {error}", hint=hint
        ) from error
    total = combine(parts)
    content = digest(total, receipt.columns)
    if content != receipt.content:
        erased = erasure_text(project, training_set.name)
        raise StateError(
            f"training set {training_set.name} is not what its receipt says: {total.rows:,} rows "
            f"with content {content}, {receipt.rows:,} with {receipt.content} were built"
            + ("" if erased is None else f"; {erased}"),
            hint=hint,
        )
    return pa.Table.from_batches(taken, pa.schema([batches.schema.field(n) for n in wanted]))


def _threads() -> int:
    return os.cpu_count() or 1


def newest_training_set(project: Project, service: str) -> TrainingSet:
    """Give the training set of a service that was built last.

    Raises:
        StateError: There is none.
    """
    for name in reversed(names(project)):
        receipt = find_receipt(project, name)
        if receipt is not None and receipt.service == service:
            path = project.places.training_set(name)
            version = tables.newest_version(project.spark, path)
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
        candidates={name: dict(changed) for name, changed in model.candidates.items()},
        rounds=model.rounds,
        baselines=dict(model.baselines),
        trained_from_us=_instant_us(model.trained_from),
        tested_from_us=_instant_us(model.tested_from),
        threshold=model.threshold,
        classes=tuple(model.classes),
        folds=model.folds,
    )


def _instant_us(text: str | None) -> int | None:
    return None if text is None else parse_instant_us(text)


def tracking_store(project: Project, experiment: str) -> TrackingStore:
    """Tell where runs and models go."""
    return mlflow_session.tracking_store(project.settings, experiment)
