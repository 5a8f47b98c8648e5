"""A model's file holds no code, and none but the registered one is read."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.preprocessing import FunctionTransformer

from tests.unit.models.applicants import applicant_recipe, applicants
from tests.unit.models.conftest import START, TRAINING_SET
from twinlake.errors import InputError, StateError
from twinlake.models.boosted_trees import read_trees
from twinlake.models.candidates import candidates_of
from twinlake.models.leaderboard import Entry
from twinlake.models.mlflow_session import TrackingStore, mlflow_at
from twinlake.models.pipelines import Pipeline, read_pipeline
from twinlake.models.receipts import Receipt
from twinlake.models.registered import load_champion
from twinlake.models.tracking import Origin, log_leaderboard
from twinlake.models.train import split_parts, train_candidate


class Spoils:
    """What a pickle would do when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("spoilt"),))


@pytest.fixture(scope="module")
def entry() -> Entry:
    parts = split_parts(applicants(), applicant_recipe())
    (plain,) = [c for c in candidates_of(parts.recipe) if c.name == "logistic_regression"]
    return Entry(plain, train_candidate(parts, plain, seed=1, threads=1), START, START)


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, entry: Entry, receipt: Receipt
) -> TrackingStore:
    folder = tmp_path_factory.mktemp("lake")
    made = TrackingStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts", "loans")
    origin = Origin(receipt, TRAINING_SET)
    log_leaderboard(made, applicant_recipe(), [entry], origin, alias="champion")
    return made


@pytest.fixture
def model_file(store: TrackingStore) -> Iterator[Path]:
    """The champion's file, put right again after a test that spoils it."""
    (path,) = Path(store.artifacts).rglob("model.skops")
    good = path.read_bytes()
    yield path
    path.write_bytes(good)


def rename_file(store: TrackingStore, name: str, digest: str | None = None) -> None:
    """Register another file name, and hash, for the version."""
    with mlflow_at(store.uri) as client:
        client.set_model_version_tag("loans", "1", "twinlake.model_file", name)
        if digest is not None:
            client.set_model_version_tag("loans", "1", "twinlake.model_sha256", digest)


def test_one_changed_byte_is_refused(store: TrackingStore, model_file: Path) -> None:
    good = model_file.read_bytes()
    for place in (0, len(good) // 2, len(good) - 1):
        model_file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(StateError, match=r"loans version 1: its file has SHA-256 .*not loaded"):
            load_champion(store, "loans")
    model_file.write_bytes(good)
    assert load_champion(store, "loans").version == 1


def test_another_file_is_not_even_read(
    store: TrackingStore, model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    model_file.write_bytes(pickle.dumps(Spoils()))
    with pytest.raises(StateError, match="SHA-256"):
        load_champion(store, "loans")
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_is_not_read_though_its_hash_was_registered(
    store: TrackingStore, model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    good = sha256(model_file.read_bytes()).hexdigest()
    model_file.write_bytes(pickle.dumps(Spoils()))
    try:
        rename_file(store, "model.skops", sha256(model_file.read_bytes()).hexdigest())
        with pytest.raises(StateError, match="no model that skops wrote"):
            load_champion(store, "loans")
    finally:
        rename_file(store, "model.skops", good)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.pkl", "../model.skops", ""])
def test_a_file_of_another_kind_is_refused(
    store: TrackingStore, model_file: Path, name: str
) -> None:
    try:
        rename_file(store, name)
        with pytest.raises(StateError, match=r"model\.ubj and model\.skops can be read"):
            load_champion(store, "loans")
    finally:
        rename_file(store, "model.skops")


def pipeline_of(entry: Entry) -> Any:
    assert isinstance(entry.result.scorer, Pipeline)
    return entry.result.scorer.fitted


@pytest.mark.parametrize("strange", [KMeans(), FunctionTransformer(json.dumps)])
def test_types_that_are_not_ours_are_refused(entry: Entry, strange: Any) -> None:
    content = skops.io.dumps([pipeline_of(entry), strange])
    with pytest.raises(StateError, match=rf"holds .*{type(strange).__name__}.* not loaded"):
        read_pipeline(content)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04]\x94.", b"{}"])
def test_what_is_no_model_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(StateError, match="no model that skops wrote"):
        read_pipeline(content)
    with pytest.raises(StateError, match="no model of XGBoost"):
        read_trees(content)


def test_an_archive_without_a_schema_is_no_model() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("other.json", "{}")
    with pytest.raises(StateError, match="no model that skops wrote"):
        read_pipeline(made.getvalue())


def test_a_model_without_a_champion_says_how_to_get_one(store: TrackingStore) -> None:
    with pytest.raises(InputError, match=r"no alias champion .*'other'") as failure:
        load_champion(store, "other")
    assert "twinlake train other" in str(failure.value)
