"""What the OpenAPI document says of each address."""

from __future__ import annotations

from typing import Any

API = (
    "Features as they are now, each with why it is what it is and how old it is, and forecasts "
    "from them. Every value has one status: present, null, missing, expired, overflow or error."
)

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_ENTITIES = {
    "type": "array",
    "items": {"type": "object", "additionalProperties": True},
    "description": "Per entity its join keys and fields by name.",
}
_AS_OF = {
    "type": ["string", "null"],
    "description": "A time, wall (the present) or data (the newest accepted event); the project's "
    "own clock without it.",
}
_REQUEST = {
    "type": "object",
    "description": "Fields that all entities share.",
}
_VECTOR: dict[str, Any] = {
    "values": {"type": "object", "description": "By feature; null unless its status is present."},
    "statuses": {
        "type": "object",
        "description": "By feature.",
        "additionalProperties": {
            "type": "string",
            "enum": ["present", "null", "missing", "expired", "overflow", "error"],
        },
    },
    "times": {
        "type": "object",
        "description": "By view, of the key's newest event: age_s is from it to the moment asked.",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "event_timestamp": _MAYBE_TEXT,
                "known_timestamp": _MAYBE_TEXT,
                "age_s": {"type": ["number", "null"]},
            },
        },
    },
    "messages": {
        "type": "object",
        "description": "What went wrong, by feature; only where a status is error.",
        "additionalProperties": _TEXT,
    },
}
_PROBLEM = {
    "description": "What was found, and what to do next.",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "title": _TEXT,
                    "status": {"type": "integer"},
                    "detail": _TEXT,
                    "hint": _MAYBE_TEXT,
                },
            }
        }
    },
}
_TOKEN: list[dict[str, list[str]]] = [{"token": []}]
SCHEMES = {"token": {"type": "http", "scheme": "bearer"}}
_MODEL = {"name": "model", "in": "path", "required": True, "schema": _TEXT}


def _object(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _json(schema: dict[str, Any], example: Any = None) -> dict[str, Any]:  # noqa: ANN401 (any JSON)
    told: dict[str, Any] = {"schema": schema}
    if example is not None:
        told["example"] = example
    return {"application/json": told}


def _described(
    summary: str,
    body: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    *,
    refused: tuple[str, ...] = (),
) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "responses": {
            "200": {"description": "The answer.", **({"content": answer} if answer else {})},
            **dict.fromkeys(refused, _PROBLEM),
        }
    }
    if body is not None:
        extra["requestBody"] = {"required": True, "content": body}
    if "401" in refused:
        extra["security"] = _TOKEN
    return {"summary": summary, "extra": extra}


FEATURES = _described(
    "Read a service's features for some entities",
    _json(
        _object(
            {"service": _TEXT, "entities": _ENTITIES, "as_of": _AS_OF, "request": _REQUEST},
            ("service", "entities"),
        ),
        {"service": "loan_features_90d", "entities": [{"zipcode": 76104, "dob_ssn": "1963_4278"}]},
    ),
    _json(
        _object(
            {
                "service": _TEXT,
                "as_of": {"type": "object", "description": "Per view, as of when it was read."},
                "views": {"type": "object", "description": "The view of each feature."},
                "answers": {
                    "type": "array",
                    "items": _object({"key": {"type": "object"}, **_VECTOR}),
                },
            }
        )
    ),
    refused=("400", "401", "403", "404", "408", "413", "503"),
)
PREDICT = _described(
    "Let a model's champion judge some entities",
    _json(
        _object(
            {
                "entities": {
                    **_ENTITIES,
                    "description": "Per entity its join keys, its request fields, and the columns "
                    "that the model takes beside features; null for what is not known.",
                },
                "as_of": _AS_OF,
                "request": _REQUEST,
                "features": {"type": "boolean", "description": "Also give each vector."},
            },
            ("entities",),
        )
    ),
    _json(
        _object(
            {
                "model": _TEXT,
                "model_version": {"type": "integer"},
                "threshold": {"type": ["number", "null"]},
                "predictions": {
                    "type": "array",
                    "items": _object(
                        {
                            "key": {"type": "object"},
                            "prediction": {"type": ["number", "null"]},
                            "status": {"type": "string", "enum": ["present", "error"]},
                            "is_positive": {"type": ["boolean", "null"]},
                            "predicted": {"type": "string"},
                            **_VECTOR,
                        }
                    ),
                },
            }
        )
    ),
    refused=("400", "401", "403", "404", "408", "413", "503"),
)
PREDICT["extra"]["parameters"] = [_MODEL]
HEALTHZ = _described("Tell that the process runs")
READYZ = _described("Tell whether it can answer, and what is missing where not", refused=("503",))
METRICS = _described("Give the counters to Prometheus")
INVOCATIONS = _described(
    "Judge what SageMaker sends",
    {
        **_json(_object({"instances": _ENTITIES}, ("instances",))),
        "text/csv": {"schema": {"type": "string"}},
    },
    {
        **_json(_object({"predictions": {"type": "array", "items": _NUMBER}})),
        "text/csv": {"schema": {"type": "string"}},
    },
    refused=("400", "406", "413", "415", "503"),
)
PING = _described("Tell SageMaker whether the container can answer")
