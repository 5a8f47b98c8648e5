"""What is answered at which address."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from twinlake.definitions.services import Model
from twinlake.errors import InputError, StateError, TwinlakeError
from twinlake.serving import sagemaker
from twinlake.serving.bodies import Asked, parse_features, parse_prediction, read_body
from twinlake.serving.desk import Answered, Desk
from twinlake.serving.documents import (
    as_of_document,
    encoded,
    features_document,
    statuses,
    vector_document,
)
from twinlake.serving.predicting import Forecast, forecasts, split_rows
from twinlake.serving.problems import HEADERS, MODEL_VERSION, Refusal, problem, unforeseen
from twinlake.serving.served_log import ServedLog, Vector
from twinlake.serving.tokens import Token, TokenFile

if TYPE_CHECKING:
    from twinlake.models.registered import Champion

Endpoint = Callable[[Request], Awaitable[Response]]
JSON = "application/json"


class Routes:
    """The endpoints of one process.

    Args:
        desk: Where questions are answered.
        log: Where served vectors go.
    """

    def __init__(self, desk: Desk, log: ServedLog) -> None:
        self._desk = desk
        self._log = log
        self._options = desk.options
        self._tokens = None if desk.options.tokens is None else TokenFile(desk.options.tokens)

    def guarded(self, route: str, endpoint: Endpoint) -> Endpoint:
        """Turn what an endpoint raises into a problem document, and count what came of it."""

        async def answered(request: Request) -> Response:
            began = time.perf_counter()
            try:
                response = await endpoint(request)
            except TwinlakeError as error:
                if not isinstance(error, InputError):
                    self._desk.tell(route, error)
                response = problem(error)
            except Exception as error:
                self._desk.tell(route, error)
                response = unforeseen()
            self._desk.metrics.answered(route, response.status_code, time.perf_counter() - began)
            return response

        return answered

    async def features(self, request: Request) -> Response:
        """Read a service's features for some entities."""
        token = self._token(request)
        asked = parse_features(await read_body(request, self._options), self._options)
        name = asked.service or ""
        self._require_right(token, name, f"service {name[:100]!r}")
        ready = self._desk.service(name)
        self._desk.require_room(ready, asked.rows)

        def written(done: Answered) -> bytes:
            self._desk.metrics.served(name, statuses(done.answers))
            at_us = self._desk.now_us()
            self._log.offer(lambda n: Vector(ready, done.answers[n], at_us), len(done.answers))
            return encoded(features_document(ready, done.moments, done.answers))

        content = await self._desk.in_time(ready, asked.rows, asked.as_of, written)
        return Response(content, 200, HEADERS, JSON)

    async def predict(self, request: Request) -> Response:
        """Let a model's champion judge some entities."""
        token = self._token(request)
        name = str(request.path_params["model"])
        model = self._desk.offer.models.get(name)
        self._require_right(
            token, "" if model is None else model.service.name, f"model {name[:100]!r}"
        )
        model, champion = self._judge(name)
        asked = parse_prediction(await read_body(request, self._options), self._options)
        content = await self.judged(
            model,
            champion,
            asked,
            lambda done, made: self._predicted(model, champion, asked, done, made),
        )
        return Response(content, 200, HEADERS, JSON)

    async def judged(
        self,
        model: Model,
        champion: Champion,
        asked: Asked,
        written: Callable[[Answered, Sequence[Forecast]], bytes],
    ) -> bytes:
        """Read vectors, let a champion judge them, and write that down."""
        ready = self._desk.service(model.service.name)
        self._desk.require_room(ready, asked.rows)
        questions, own = split_rows(model, ready, asked.rows)

        def then(done: Answered) -> bytes:
            made = forecasts(model, champion, done.answers, own)
            self._desk.metrics.served(ready.service.name, statuses(done.answers))
            self._desk.metrics.predicted(model.name, len(made))
            at_us = self._desk.now_us()
            self._log.offer(
                lambda n: Vector(
                    ready, done.answers[n], at_us, model.name, champion.version, made[n]
                ),
                len(made),
            )
            return written(done, made)

        return await self._desk.in_time(ready, questions, asked.as_of, then)

    def _judge(self, name: str) -> tuple[Model, Champion]:
        """Give a model and the champion that this request is judged by from first to last."""
        model = self._desk.offer.models.get(name)
        if model is None:
            unknown = InputError.unknown("model", name[:100], self._desk.offer.models)
            raise Refusal(404, unknown.message, hint=unknown.hint)
        champion = self._desk.champions.get(name)
        if champion is None:
            raise StateError(f"model {name} has no champion yet", hint="train it")
        return model, champion

    def _predicted(
        self,
        model: Model,
        champion: Champion,
        asked: Asked,
        done: Answered,
        made: Sequence[Forecast],
    ) -> bytes:
        predictions = []
        for answer, forecast in zip(done.answers, made, strict=True):
            one: dict[str, Any] = {"key": answer.key, **forecast.document()}
            if asked.features:
                one |= vector_document(answer)
            predictions.append(one)
        return encoded(
            {
                "model": model.name,
                "model_version": champion.version,
                "threshold": model.threshold,
                "as_of": as_of_document(done.moments),
                "predictions": predictions,
            }
        )

    async def invocations(self, request: Request) -> Response:
        """Judge what SageMaker sends."""
        model, champion = self._judge(self._options.sagemaker or "")
        ready = self._desk.service(model.service.name)
        body = await read_body(request, self._options)
        asked = sagemaker.parse(request, body, model, ready, self._options)
        kind = sagemaker.wanted(request)
        content = await self.judged(
            model, champion, asked, lambda _, made: sagemaker.written(made, kind)
        )
        headers = {**HEADERS, MODEL_VERSION: str(champion.version)}
        return Response(content, 200, headers, kind)

    async def ping(self, _: Request) -> Response:
        """Tell SageMaker whether the container can answer."""
        return Response(b"", 503 if await self._desk.missing() else 200, HEADERS)

    async def healthz(self, _: Request) -> Response:
        """Tell that the process runs."""
        return Response(encoded({"status": "alive"}), 200, HEADERS, JSON)

    async def readyz(self, _: Request) -> Response:
        """Tell whether it can answer, and what is missing where it cannot."""
        missing = await self._desk.missing()
        told = {"status": "not ready" if missing else "ready", "missing": missing}
        return Response(encoded(told), 503 if missing else 200, HEADERS, JSON)

    async def metrics(self, _: Request) -> Response:
        """Give the counters to Prometheus."""
        return Response(
            self._desk.metrics.text(), 200, HEADERS, "text/plain; version=0.0.4; charset=utf-8"
        )

    def _token(self, request: Request) -> Token | None:
        if self._tokens is None:
            return None
        return self._tokens.check(request.headers.get("authorization"), self._desk.now_us())

    def _require_right(self, token: Token | None, service: str, what: str) -> None:
        """Refuse what a token may not read; whether it is there is then nobody's business."""
        if token is not None and not token.may_read(service):
            raise Refusal(
                403, f"this token may not read {what}", hint="ask for one that names its service"
            )
