"""Write the contracts of the examples: what their tables look like, as their definitions say.

    .venv/bin/python schemas/generate.py     prints the files that it changed

It starts no Spark. tests/unit/test_schemas.py fails while a file is not what this would write, and
tests/notebooks compares the files with the tables that a whole run makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from twinlake.definitions.checks import check
from twinlake.definitions.documents import Definitions
from twinlake.definitions.loading import load
from twinlake.definitions.resolution import request_types, service_types
from twinlake.definitions.services import FeatureService
from twinlake.definitions.types import Field
from twinlake.flows.project import online_table, view_table
from twinlake.lake import events, feature_rows, point_in_time, tables
from twinlake.lake.point_in_time import EVENT_TIMESTAMP, key_types
from twinlake.online.cassandra_ddl import cassandra_ddl
from twinlake.online.ddl import sqlite_ddl

CHECKOUT = Path(__file__).resolve().parents[1]
SCHEMAS = CHECKOUT / "schemas"
EXAMPLES = CHECKOUT / "spark_jobs" / "examples"


def contracts(project: Path) -> dict[str, str]:
    """Give the contracts of a project: file name to text."""
    definitions = load(project)
    check(definitions)
    return dict(_contracts(definitions))


def write(example: str) -> list[Path]:
    """Write the contracts of an example, remove those that are none any more; give what changed."""
    folder = SCHEMAS / example
    wanted = contracts(EXAMPLES / example)
    changed = [file for file in folder.glob("*") if file.name not in wanted]
    for file in changed:
        file.unlink()
    folder.mkdir(exist_ok=True)
    for name, text in wanted.items():
        file = folder / name
        if not file.is_file() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
            changed.append(file)
    return changed


def examples() -> list[str]:
    """Name the examples."""
    return sorted(file.parent.name for file in EXAMPLES.glob("*/features.py"))


def training_columns(service: FeatureService) -> list[Field]:
    """Give the columns that every training set of a service has, beside its spine's others."""
    keys: dict[str, str] = {}
    for view, _ in service.needed():
        keys |= key_types(view)
    marks = []
    taken = {view.name for view, _ in service.selections()}
    for view, names in service.needed():
        marks += point_in_time.marks(view, names) if view.name in taken else []
    asked = keys | {EVENT_TIMESTAMP: "timestamp"} | request_types(service.request_fields())
    features = service_types(service)
    return [*(Field(name, kind) for name, kind in (asked | features).items()), *marks]


def _contracts(definitions: Definitions) -> Iterator[tuple[str, str]]:
    for name, source in definitions.sources.items():
        yield f"events.{name}.json", _table(f"lake/events/{name}", events.columns(source))
    for name, view in definitions.views.items():
        place = f"lake/views/{view_table(view)}"
        yield f"view.{name}.json", _table(place, feature_rows.columns(view))
        yield f"online.{name}.sql", sqlite_ddl(online_table(view)) + ";\n"
        yield f"online.{name}.cql", cassandra_ddl(online_table(view)) + ";\n"
    for name, service in definitions.services.items():
        place = f"lake/training_sets/{name}__ID"
        models = [model for model in definitions.models.values() if model.service == service]
        taken = {name for model in models for name in (model.label, *model.spine_features)}
        further = {"columns_of_the_spine_that_models_take": sorted(taken)}
        yield f"training_set.{name}.json", _table(place, training_columns(service), further)


def _table(
    place: str, columns: Iterable[Field], further: Mapping[str, object] | None = None
) -> str:
    """Write a Delta table's schema as JSON, one column a line, so that a change reads as one."""
    lines = ",\n".join(
        "    " + json.dumps({"name": column.name, "type": column.type}) for column in columns
    )
    head = {"table": place, "properties": tables.PROPERTIES, **(further or {})}
    opening = json.dumps(head, indent=2).removesuffix("\n}")
    return f'{opening},\n  "columns": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    for example in examples():
        for file in write(example):
            sys.stdout.write(f"{file.relative_to(CHECKOUT)}\n")
