"""A plan as text that a person reads before saying yes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from twinlake.planning.steps import (
    AddColumns,
    Affected,
    CreateEventsTable,
    CreateViewTables,
    DropTables,
    Pending,
    Plan,
    Recompute,
    Register,
    Step,
    Unregister,
)

# Wide enough for most names, so that plans look alike.
_LEAST_WIDTH = 39


def explain(plan: Plan) -> str:
    """Write a plan as aligned lines: what apply does, then what is left to materialize."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    against = (
        f"registry version {plan.registry_version}" if plan.registry_version else "nothing yet"
    )
    if plan.steps:
        yield f"Against {against}, apply will:"
        yield from (f"  {line}" for line in _aligned([_told(step) for step in plan.steps]))
    else:
        yield f"Nothing to apply; definitions are those of {against}."
    if plan.pending:
        yield "Not computed yet (materialize does it):"
        yield from (f"  {_describe_pending(item)}" for item in plan.pending)
    if plan.affected:
        yield "Built with the old meaning, and kept as it is (build and train anew to follow):"
        yield from (f"  {_describe_affected(item)}" for item in plan.affected)


def describe(step: Step) -> str:
    """Write one step as a line: a sign, what it is about, and what happens."""
    return _aligned([_told(step)])[0]


def _told(step: Step) -> tuple[str, str]:
    """Say of a step what it is about, and what happens."""
    match step:
        case Register(kind, name, True):
            return f"+ {kind:<8} {name}", "register"
        case Register(kind, name, False, True):
            return f"~ {kind:<8} {name}", "change, with another meaning"
        case Register(kind, name):
            return f"~ {kind:<8} {name}", "change its text; no value changes"
        case Unregister(kind, name):
            stays = "" if kind == "on-demand" else "; its tables stay until the next apply"
            return f"- {kind:<8} {name}", f"unregister{stays}"
        case CreateEventsTable(source):
            return f"+ table    {source}", "create the events table"
        case AddColumns(source, columns):
            added = ", ".join(f"{column.name} {column.type}" for column in columns)
            return f"+ columns  {source}", f"{added}: null in the rows that are there"
        case CreateViewTables(_, table):
            return f"+ tables   {table}", "create, offline and online"
        case Recompute(_, table, interval, rows):
            return f"* tables   {table}", f"fill from events over {interval}, {rows:,} rows"
        case DropTables(table):
            return f"- tables   {table}", "drop; no definition uses them"
        case _:
            assert_never(step)


def _aligned(told: Sequence[tuple[str, str]]) -> list[str]:
    width = max([_LEAST_WIDTH, *(len(head) for head, _ in told)])
    return [f"{head.ljust(width)} {text}" for head, text in told]


def _describe_pending(item: Pending) -> str:
    parts = []
    if item.landed_rows:
        parts.append(f"{item.landed_rows:,} landed rows to fold")
    if item.new_files:
        rows = "rows unknown" if item.new_rows is None else f"{item.new_rows:,} rows"
        files = "1 new file" if item.new_files == 1 else f"{item.new_files:,} new files"
        parts.append(f"{files}, {rows}")
    return f"{item.view:<37} {item.interval}: {'; '.join(parts)}"


def _describe_affected(item: Affected) -> str:
    told = [f"training set {name}" for name in item.training_sets]
    told += [f"model {model} version {version}" for model, version in item.versions]
    return f"{item.service:<37} {', '.join(told)}"
