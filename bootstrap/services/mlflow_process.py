"""What runs as the service ``mlflow``: the app of ``mlflow server``, in one process.

The command ``mlflow server`` starts the app in further processes, which outlive it when it is
killed. Called by ``mlflow_server.py``: PORT, the URI of the database, the URI of the artifacts.
"""

from __future__ import annotations

import os
import sys
import traceback

HOST = "127.0.0.1"
_GRACE_S = 5


def run(port: int, database: str, artifacts: str) -> None:
    """Serve until told to end."""
    # Telemetry decides when MLflow is imported. Jobs would be further processes.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    from mlflow.server import constants, handlers

    root = "mlflow-artifacts:/"
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = database
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = database
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = root
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = artifacts
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    handlers.initialize_backend_stores(database, database, root)

    import uvicorn

    uvicorn.run(
        "mlflow.server.fastapi_app:app",
        host=HOST,
        port=port,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


if __name__ == "__main__":
    try:
        run(int(sys.argv[1]), sys.argv[2], sys.argv[3])
    except Exception as error:
        # One line that says it, after all that led to it.
        traceback.print_exc()
        sys.exit(f"ERROR: {' '.join(str(error).split())}")
