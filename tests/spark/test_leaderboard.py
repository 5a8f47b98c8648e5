"""A leaderboard with text among its features, from events to a champion that scores a stream."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

import twinlake
from tests.spark.benches import Bench
from twinlake.cli.training import leaderboard_document, leaderboard_text
from twinlake.errors import EnvironmentFailure, StateError
from twinlake.flows import modelling, streaming
from twinlake.flows.feature_store import FeatureStore
from twinlake.flows.modelling import Leaderboard
from twinlake.flows.stream_scoring import Scoring
from twinlake.lake import tables
from twinlake.models.registered import load_champion

START = dt.datetime(2021, 3, 1, tzinfo=dt.UTC)
APPLICANTS = 600
SCHEMA = pa.schema(
    [("who", pa.string()), ("at", pa.timestamp("us", "UTC")), ("home", pa.string()),
     ("income", pa.float64())]
)  # fmt: skip
DEFINITIONS = """
from twinlake import Kafka, Model
applications = Source(
    "applications", schema="who string, at timestamp, home string, income double",
    event_timestamp="at", event_id="who", batch=Files("in"), stream=Kafka("applications"),
)
person = Entity("person", join_keys={"who": "string"})
people = FeatureView(
    "people", entity=person, source=applications, hop="1d", publish="stream",
    features=[Column("home"), Aggregate("sum", "income", windows={"income_1d": "1d"})],
)
loan = FeatureService("loan", features=[people])
loans = Model(
    "loans", service=loan, label="failed", threshold=0.5, rounds=10,
    parameters={"objective": "binary:logistic", "max_depth": 3},
    candidates={"stumps": {"max_depth": 1, "rounds": 2}},
)
"""


@pytest.fixture(scope="module")
def bench(module_bench: Callable[[], Bench]) -> Bench:
    made = module_bench().define(DEFINITIONS)
    chance = random.Random(4)
    rows = [
        {
            "who": f"p{number}",
            "at": START + dt.timedelta(hours=number),
            "home": chance.choice(["rent", "own", None]),
            "income": chance.gauss(10, 2),
        }
        for number in range(APPLICANTS)
    ]
    made.put("first", rows, SCHEMA)
    spine = [
        {
            "who": row["who"],
            "event_timestamp": row["at"],
            "failed": int(chance.random() < (0.9 if row["home"] == "rent" else 0.1)),
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(spine), made.folder / "spine.parquet")
    made.apply().materialize()
    return made


@pytest.fixture(scope="module")
def store(bench: Bench, spark: SparkSession) -> FeatureStore:
    return twinlake.open(bench.root, state=bench.folder / "state", spark=spark)


@pytest.fixture(scope="module")
def board(store: FeatureStore, bench: Bench) -> Leaderboard:
    return store.leaderboard("loans", bench.folder / "spine.parquet")


def test_text_of_a_view_is_learned_by_all_candidates(board: Leaderboard) -> None:
    assert {entry.candidate.name for entry in board.entries} == {
        "xgboost", "stumps", "logistic_regression", "decision_tree"
    }  # fmt: skip
    for entry in board.entries:
        assert entry.result.scorer.categories["home"].to_pylist() == ["own", "rent"]
        assert entry.figures()["roc_auc"] > 0.8
        assert entry.result.train_rows + entry.result.test_rows == APPLICANTS


def test_it_is_told_as_a_table_and_as_a_document(board: Leaderboard) -> None:
    document = leaderboard_document(board)
    assert json.loads(json.dumps(document)) == document
    told = document["leaderboard"]
    assert [row["rank"] for row in told] == [1, 2, 3, 4]
    assert document["best"] == told[0]["candidate"]
    assert document["run_id"] == told[0]["run_id"] != document["parent_run_id"]
    _, head, *rows = [line for line in leaderboard_text(document).splitlines() if line]
    heads = "candidate|ROC AUC|log loss|accuracy|average precision|precision|recall|seconds"
    assert head.split() == heads.replace("|", " ").split()
    ends = {len(row) for row in rows[:4]}
    assert len(ends) == 1, "numbers stand below each other"
    assert [row.split()[1] for row in rows[:4]] == [row["candidate"] for row in told]


def test_a_champion_with_text_scores_in_the_stream(board: Leaderboard, bench: Bench) -> None:
    folder = bench.folder / "state" / "topics" / "applications"
    folder.mkdir(parents=True)
    at = (START + dt.timedelta(hours=APPLICANTS)).isoformat()
    asked = [("a", "rent"), ("b", "own"), ("c", None), ("d", "castle")]
    lines = [json.dumps({"who": w, "at": at, "home": h, "income": 10.0}) for w, h in asked]
    project = bench.open()
    streaming.stream(project, [], once=True, models={"loans": Scoring()})
    (folder / "0.json").write_text("\n".join(lines))
    streaming.stream(project, [], once=True, models={"loans": Scoring()})
    frame = tables.read(bench.spark, project.places.predictions("loans"))
    found = {row["who"]: row for row in frame.collect()}
    assert set(found) == {"a", "b", "c", "d"}
    assert found["a"]["is_positive"]
    assert not found["b"]["is_positive"]
    assert found["c"]["prediction"] == found["d"]["prediction"]
    vectors = pa.table({"home": [h for _, h in asked], "income_1d": [10.0] * 4})
    # Another test may have trained another champion.
    champion = load_champion(modelling.tracking_store(project, "loans"), "loans")
    expected = champion.predict(vectors).tolist()
    assert [found[who]["prediction"] for who, _ in asked] == expected
    assert {row["model_version"] for row in found.values()} == {champion.version}


def test_a_training_set_that_is_not_its_receipts_is_refused(
    store: FeatureStore, board: Leaderboard, tmp_path: Path
) -> None:
    training_set = board.training_set
    (file,) = [*training_set.path.glob("*.parquet")][:1]
    kept = shutil.copy(file, tmp_path / "kept.parquet")
    rows = pq.read_table(file)
    flipped = pa.array([1 - row for row in rows["failed"].to_pylist()], rows["failed"].type)
    place = rows.column_names.index("failed")
    try:
        pq.write_table(rows.set_column(place, "failed", flipped), file)
        for train in (modelling.train_model, modelling.train_candidates):
            with pytest.raises(StateError, match=r"not what its receipt says: 600 rows") as told:
                train(store.project, "loans", training_set)
            assert "build it again" in str(told.value)
        file.unlink()
        with pytest.raises(StateError, match=f"training set {training_set.name} cannot be read"):
            modelling.train_model(store.project, "loans", training_set)
    finally:
        shutil.copy(kept, file)
    assert modelling.train_model(store.project, "loans", training_set).tracked.version == 2


def test_no_training_set_is_built_where_nothing_could_be_logged(
    bench: Bench, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    elsewhere = f'[mlflow]\ntracking = "sqlite:///{tmp_path}/file/mlflow.db"\n'
    (tmp_path / "local.toml").write_text(elsewhere)
    monkeypatch.setenv("TWINLAKE_CONF", str(tmp_path))
    spine = pq.read_table(bench.folder / "spine.parquet").slice(0, 300)
    with twinlake.open(bench.root, state=bench.folder / "state", spark=spark) as opened:
        before = sorted(opened.project.places.receipts.glob("*"))
        for train in (opened.train, opened.leaderboard):
            with pytest.raises(EnvironmentFailure, match="is no folder"):
                train("loans", spine)
        assert sorted(opened.project.places.receipts.glob("*")) == before
