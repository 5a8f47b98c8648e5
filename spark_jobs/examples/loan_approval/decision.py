"""Decide an application: read the applicant's vector online, and let the champion judge it.

    python -m examples.loan_approval.decision [--state DIR] [--env ENV] [--json]

Without further arguments it is the applicant of the original. Printed are the decision and, for
each of the features, its value, why it is what it is, and how old it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import pyarrow as pa

from twinlake.cli.layout import table
from twinlake.cli.main import report
from twinlake.clock import now_us
from twinlake.definitions.times import DAY_US, format_duration
from twinlake.flows import reading
from twinlake.flows.modelling import tracking_store
from twinlake.flows.project import Project
from twinlake.models.registered import load_champion
from twinlake.online.reader import Served
from twinlake.settings import load_settings

MODEL: Final = "loan_approval"
PROJECT: Final = Path(__file__).parent
# The original asks for this one: 133 years old, and employed for 123 of them.
APPLICANT: Final[Mapping[str, Any]] = {
    "zipcode": 76104,
    "dob_ssn": "19630621_4278",
    "person_age": 133,
    "person_income": 59000,
    "person_home_ownership": "RENT",
    "person_emp_length": 123.0,
    "loan_intent": "PERSONAL",
    "loan_amnt": 35000,
    "loan_int_rate": 16.02,
}


@dataclass(frozen=True)
class Decision:
    """What became of an application.

    Attributes:
        is_approved: Whether the probability is not above the model's threshold.
        probability: That the loan is not paid back.
        version: Of the model.
        as_of_us: As of when the vector was read.
        vector: Feature to what was served, and what the application says to its value.
    """

    is_approved: bool
    probability: float
    version: int
    as_of_us: int
    vector: Mapping[str, Served]

    @property
    def said(self) -> str:
        """The decision, in the words of the original."""
        return "Loan approved!" if self.is_approved else "Loan rejected!"

    def document(self) -> dict[str, Any]:
        """Write the decision down, for people and programs alike."""
        return {
            "decision": self.said,
            "probability": round(self.probability, 6),
            "model_version": self.version,
            "vector": {
                name: {"value": served.value, "status": served.status, "age": self._age(served)}
                for name, served in self.vector.items()
            },
        }

    def text(self) -> str:
        """Lay the vector out, and say what was decided."""
        rows = [
            (name, served.value, served.status, self._age(served))
            for name, served in self.vector.items()
        ]
        return (
            f"{table(('feature', 'value', 'status', 'age'), rows)}\n\n"
            f"probability of default {self.probability:.4f} by version {self.version}\n"
            f"{self.said}"
        )

    def _age(self, served: Served) -> str | None:
        if served.event_us is None:
            return None
        whole_days = (self.as_of_us - served.event_us) // DAY_US * DAY_US
        return format_duration(whole_days)


def decide(project: Project, application: Mapping[str, Any]) -> Decision:
    """Decide an application.

    Args:
        project: The applied project, with a trained champion.
        application: Join keys, request fields and the model's other columns, by name.

    Raises:
        InputError: A field is missing, or there is no champion.
    """
    model = project.model(MODEL)
    keys = {key for view, _ in model.service.needed() for key in view.entity.join_keys}
    asked = keys | set(model.service.request_fields())
    question = {name: application[name] for name in application if name in asked}
    [answer] = reading.read_service(project, model.service.name, [question])
    own = {name: application[name] for name in model.spine_features if name in application}
    cells = {name: served.value for name, served in answer.features.items()} | own
    champion = load_champion(tracking_store(project, model.name), model.name)
    [probability] = champion.predict(pa.table({name: [cell] for name, cell in cells.items()}))
    vector = dict(answer.features) | {
        name: Served(cell, "request", None) for name, cell in own.items()
    }
    at_us = max(moment.at_us for moment in answer.as_of.values())
    is_approved = bool(probability <= (model.threshold or 0.5))
    return Decision(is_approved, float(probability), champion.version, at_us, vector)


@click.command()
@click.option("--state", type=click.Path(path_type=Path), help="Where all that is made is kept.")
@click.option("--env", default="local", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def run(state: Path | None, env: str, *, as_json: bool) -> None:
    """Decide the application of the original."""
    settings = load_settings(PROJECT, env, state, environ=os.environ)
    with Project(settings, environ=os.environ, now_us=now_us, tell=lambda _: None) as project:
        decision = decide(project, APPLICANT)
    click.echo(json.dumps(decision.document()) if as_json else decision.text())


if __name__ == "__main__":
    sys.exit(report(run, as_json="--json" in sys.argv))
