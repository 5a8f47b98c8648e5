"""MLflow as a service of the local stack: where its data is, command, readiness."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from bootstrap.services.processes import LOOPBACK, marker
from twinlake.assurance.tracking_probe import problem

PROGRAM = Path(__file__).with_name("mlflow_process.py")
_ANSWER_S = 5


class MlflowServer:
    """The service ``mlflow``; see ``stack.Service`` for what each part promises."""

    name = "mlflow"
    ports: Mapping[str, tuple[int, ...]] = {"port": (5000, 5001, 15000)}

    def fetch(self, environ: Mapping[str, str]) -> None:
        """Nothing: it is one of the packages that bootstrap/setup installs."""

    def configure(
        self,
        folder: Path,
        ports: Mapping[str, int],
        environ: Mapping[str, str],  # noqa: ARG002 - the server makes its database by itself
    ) -> None:
        """Write down where it listens, for ``command``; data that is there stays."""
        for place in (folder / "logs", self.data(folder) / "artifacts"):
            place.mkdir(parents=True, exist_ok=True)
        (folder / "port").write_text(f"{ports['port']}\n", "ascii")

    def command(self, folder: Path, environ: Mapping[str, str]) -> list[str]:  # noqa: ARG002
        """The command that runs the server in the foreground."""
        data = self.data(folder)
        return [
            sys.executable,
            # Python takes any word after -X, so the marker can stand there.
            "-X",
            marker(folder),
            # Alone: no folder of this process or its caller is looked at for modules.
            "-I",
            str(PROGRAM),
            (folder / "port").read_text("ascii").strip(),
            f"sqlite:///{quote(str(data / 'mlflow.sqlite'))}",
            (data / "artifacts").as_uri(),
        ]

    def is_ready(self, ports: Mapping[str, int]) -> bool:
        """Whether the server answers from its database."""
        return problem(address(ports), _ANSWER_S) is None

    def endpoints(self, ports: Mapping[str, int]) -> dict[str, str | int]:
        """The settings of twinlake that lead to this server."""
        return {"mlflow.tracking": address(ports)}

    def data(self, folder: Path) -> Path:
        """Where the database and the files of models are."""
        return folder / "data"

    def log(self, folder: Path) -> Path:
        """Where the server tells what it does: what it prints."""
        return folder / "logs" / "output.log"


def address(ports: Mapping[str, int]) -> str:
    """Where the server is, as clients are told."""
    return f"http://{LOOPBACK}:{ports['port']}"
