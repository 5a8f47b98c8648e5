"""The contract of SageMaker's containers: JSON or CSV in, JSON or CSV out.

The platform decides who may ask; a container is reached through it alone, so there are no tokens
here. The addresses are there only where a server is told which model answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from twinlake.definitions.services import Model
from twinlake.errors import EnvironmentFailure
from twinlake.serving.bodies import Asked, parse_csv, parse_instances
from twinlake.serving.documents import encoded
from twinlake.serving.options import ServingOptions
from twinlake.serving.predicting import Forecast, input_names
from twinlake.serving.problems import Refusal
from twinlake.serving.reading import ReadyService

JSON, CSV = "application/json", "text/csv"


def parse(
    request: Request, body: bytes, model: Model, ready: ReadyService, options: ServingOptions
) -> Asked:
    """Read the entities that are to be judged.

    Raises:
        Refusal: The body is of another type or form.
    """
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind == CSV:
        return parse_csv(body, input_names(model, ready), options)
    if kind == JSON:
        return parse_instances(body, options)
    raise Refusal(415, f"the body is {kind[:100]!r}", hint=f"send {JSON} or {CSV}")


def wanted(request: Request) -> str:
    """Tell which type the answer has: the first of the Accept header that there is, else JSON."""
    for each in request.headers.get("accept", JSON).split(","):
        kind = each.partition(";")[0].strip().lower()
        if kind in {JSON, CSV}:
            return kind
        if kind in {"*/*", "application/*"}:
            return JSON
    raise Refusal(406, "the answer can be of none of the types asked for", hint=f"{JSON} or {CSV}")


def written(made: Sequence[Forecast], kind: str) -> bytes:
    """Write forecasts down: numbers, or names of classes.

    There is no place for a status, so one that failed fails all.

    Raises:
        EnvironmentFailure: A vector could not be read.
    """
    if any(one.value is None for one in made):
        raise EnvironmentFailure("a vector could not be read")
    said = [one.value if one.predicted is None else one.predicted for one in made]
    if kind == CSV:
        return "".join(f"{one}\n" for one in said).encode()
    return encoded({"predictions": said})
