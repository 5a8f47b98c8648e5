"""The loan example on all of its rows, from files to a decision, with its own figures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from examples.loan_approval import decision, demo
from tests.spark.benches import NOW_US
from twinlake.errors import InputError
from twinlake.flows import lineage
from twinlake.flows.project import Project
from twinlake.settings import load_settings

EXAMPLE = Path(demo.__file__).parent
LOANS = 28_638
REPORTED = 1_986  # applicants whose reports say everything
COMPLETE = ("credit_card_due", "mortgage_due", "missed_payments_1y")
PARTLY = (
    "student_loan_due", "vehicle_loan_due", "hard_pulls", "missed_payments_2y",
    "missed_payments_6m", "bankruptcies", "total_debt_due",
)  # fmt: skip
Figures = dict[str, Any]


@pytest.fixture(scope="module")
def project(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    state = tmp_path_factory.mktemp("loans")
    settings = load_settings(EXAMPLE, state=state, environ=os.environ)
    opened = Project(
        settings, environ=os.environ, now_us=lambda: NOW_US, tell=lambda _: None, spark=spark
    )
    yield opened
    opened._spark = None
    opened.close()


@pytest.fixture(scope="module")
def figures(project: Project) -> Figures:
    return json.loads(json.dumps(demo.run(project), default=str))  # type: ignore[no-any-return]


def test_every_loan_is_there_with_what_was_known_of_it(figures: Figures) -> None:
    assert figures["rows"] == LOANS
    told = figures["statuses"]
    for name in (*demo.AREA, *COMPLETE):
        assert told[name]["present"] == LOANS
    for name in PARTLY:
        counts = told[name]
        assert counts["present"] + counts["null"] == LOANS
        assert REPORTED <= counts["present"] <= REPORTED + 5  # five of them asked twice
    assert figures["landed"]["credit_reports"]["quarantined"] == 0


def test_statuses_are_the_same_offline_and_online(figures: Figures) -> None:
    long, short = (figures["statuses_at_clock"][n] for n in (demo.SERVICE, demo.SHORT_LIVED))
    assert long["equal"]
    assert short["equal"]
    assert long["online"]["credit_card_due"] == {"present": LOANS}
    assert all(counts == {"expired": LOANS} for counts in short["online"].values())


def test_the_area_and_the_applicant_of_the_original(figures: Figures) -> None:
    area = figures["zipcode"]
    assert list(area.values()) == ["FORT WORTH", "TX", "PRIMARY", 6058, 10534, 142325465]
    assert figures["decision"] == "Loan rejected!"
    vector = figures["vector"]
    assert vector["city"] == {"value": "FORT WORTH", "status": "present", "age": "1697d"}
    assert vector["student_loan_due"]["status"] == "null"
    assert vector["person_age"] == {"value": 133, "status": "request", "age": None}


def test_the_best_candidate_is_good_and_the_others_are_there(figures: Figures) -> None:
    board = figures["leaderboard"]["leaderboard"]
    assert board[0]["roc_auc"] >= 0.93
    assert {"xgboost", "logistic_regression", "decision_tree"} <= {r["candidate"] for r in board}
    assert [row["roc_auc"] for row in board] == sorted((r["roc_auc"] for r in board), reverse=True)


def test_the_training_set_is_rebuilt_and_both_stores_agree(figures: Figures) -> None:
    assert figures["rebuild"] == "same"
    assert figures["parity"]["mismatching"] == 0
    assert figures["parity"]["compared"] == figures["parity"]["served"] > 0


def test_lineage_leads_from_a_feature_to_the_model_and_back(
    figures: Figures, project: Project
) -> None:
    [told] = lineage.lineage(project, "credit_history.mortgage_due").values()
    breaks = told["breaks"]
    assert told["from"] == ["credit_reports.mortgage_due"]
    assert breaks["on_demand"] == ["total_debt_calc"]
    assert breaks["services"] == ["loan_features"]
    assert figures["training_set"] in breaks["training_sets"]
    assert breaks["versions"] == ["loan_approval version 1"]
    model = lineage.lineage(project, "loan_approval")["model"]
    [version] = model["versions"]
    assert version["training_set"] == figures["training_set"]
    assert version["definition"] == "as applied"
    origins = {one["feature"]: one["from"] for one in model["features"]}
    assert origins["city"] == ["zipcodes.city"]
    assert "request.loan_amnt" in origins["total_debt_due"]
    with pytest.raises(InputError, match="there is no model, service"):
        lineage.lineage(project, "nothing")


def test_an_application_lacking_a_field_is_refused(figures: Figures, project: Project) -> None:
    assert figures["rows"]
    for field in ("loan_amnt", "dob_ssn", "person_income"):
        lacking = {name: cell for name, cell in decision.APPLICANT.items() if name != field}
        with pytest.raises(InputError, match=field):
            decision.decide(project, lacking)
    with pytest.raises(InputError, match="loan_amnt"):
        decision.decide(project, {**decision.APPLICANT, "loan_amnt": "much"})
