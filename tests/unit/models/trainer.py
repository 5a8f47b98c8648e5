"""A process that trains one model, and registers it when a pipe says so."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.models.applicants import applicant_recipe, applicants
from tests.unit.models.conftest import RECEIPT, START, TRAINING_SET
from twinlake.models.mlflow_session import TrackingStore, require_tracking
from twinlake.models.tracking import Origin, log_training
from twinlake.models.train import train


def main(uri: str, artifacts: str, begin: str, depth: str) -> None:
    """Train, wait for the others to have trained, and register at the same time as they do."""
    params = {"objective": "binary:logistic", "max_depth": int(depth)}
    recipe = applicant_recipe(params=params)
    result = train(applicants(), recipe, seed=1, threads=1)
    import mlflow  # noqa: F401 (takes seconds, of which the others should not have to wait)

    print("ready", flush=True)  # noqa: T201 (the one who waits reads it)
    Path(begin).read_bytes()  # a pipe: ends when it is written to
    store = TrackingStore(uri, artifacts, "loans")
    require_tracking(store)
    tracked = log_training(
        store,
        recipe,
        result,
        Origin(RECEIPT, TRAINING_SET),
        started_at=START,
        finished_at=START,
        alias="champion",
    )
    print(tracked.version, tracked.sha256, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
