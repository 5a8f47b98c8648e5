"""The verbs of training sets: build, show, rebuild, diff."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import table

_OUT = click.Path(path_type=Path)


@click.group("training-set")
def training_set() -> None:
    """Build training sets; look at receipts, prove and compare them."""


@training_set.command("build")
@click.argument("service")
@click.option(
    "--spine",
    required=True,
    type=click.Path(path_type=Path),
    help="Join keys, event_timestamp, labels: Parquet, CSV or a Delta table.",
)
@click.option("--out", type=_OUT, help="Also write one Parquet file.")
@json_option
@pass_context
def build(context: Context, service: str, spine: Path, out: Path | None) -> None:
    """Join a spine to SERVICE, point in time, into a Delta table with a receipt."""
    with context.open() as project:
        project.service(service)  # a wrong name is told before anything heavy is loaded
        _refuse_unwritable(out)
        from twinlake.flows import training_sets

        built = training_sets.build(project, service, spine)
        if out is not None:
            training_sets.write_out(project, built, out)
    document = training_set_document(built) | {"out": None if out is None else str(out)}
    told = "built" if built.built else "there already, with the same inputs"
    text = (
        f"{built.name}: {built.receipt.rows:,} rows, {told}\n{built.path} at version "
        f"{built.version}\n\n{statuses_text(built.receipt.statuses)}\n\n"
        f"content {built.receipt.content}\nreceipt {built.receipt.digest()}"
    )
    context.answer(text, document)


def statuses_text(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Lay out what became of every feature."""
    heads = ["feature", "present", "null", "missing", "expired", "not_yet_known"]
    heads += ["overflow"] if any("overflow" in found for found in counts.values()) else []
    return table(
        heads, [(name, *(counts[name].get(head, 0) for head in heads[1:])) for name in counts]
    )


def _refuse_unwritable(out: Path | None) -> None:
    """Refuse a place that cannot be written to, before the training set is built."""
    import os

    from twinlake.errors import InputError

    if out is None:
        return
    above = next((folder for folder in out.absolute().parents if folder.exists()), Path("/"))
    if out.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        found = "it is a folder" if out.is_dir() else f"{above} cannot be written to"
        raise InputError(f"cannot write {out}: {found}", hint="choose another --out")


def training_set_document(built: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down a training set, for people and programs alike."""
    return {
        "training_set": built.name,
        "built": built.built,
        "path": str(built.path),
        "version": built.version,
        "rows": built.receipt.rows,
        "features": {name: dict(counts) for name, counts in built.receipt.statuses.items()},
        "receipt": receipt_document(built.receipt),
    }


def receipt_document(receipt: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down a receipt, with the digest that names it."""
    import json

    document: dict[str, Any] = json.loads(receipt.to_json())
    return document | {"digest": receipt.digest()}


@training_set.command("show")
@click.argument("name")
@json_option
@pass_context
def show(context: Context, name: str) -> None:
    """Print the receipt of a training set: what it was made from, and what came out."""
    from twinlake.flows import catalogue

    with context.open() as project:
        receipt = catalogue.require_receipt(project, name)
        found = catalogue.find_definition(project, receipt)
        place = project.places.training_set(name)
        erased = catalogue.erasure_text(project, name)
    number = None if found is None else found[1]
    document = receipt_document(receipt) | {"definition_number": number, "path": str(place)}
    text = receipt_text(receipt, number, place)
    if erased is not None:
        text += f"\n\nnot as it was built any more: {erased}"
    context.answer(text, document | {"erased": erased})


def receipt_text(receipt: Any, number: int | None, place: Path) -> str:  # noqa: ANN401 (imported when used)
    """Lay out a receipt.

    Args:
        receipt: The receipt.
        number: Under which number its definition was applied; None: it is not known here.
        place: Where the training set lies.
    """
    from twinlake.definitions.times import format_instant, to_us

    spine = receipt.spine
    applied = "never applied here" if number is None else f"applied as number {number}"
    of_table = (
        "" if spine.version is None else f", table {spine.table_id} at version {spine.version}"
    )
    facts = [
        ("training set", receipt.training_set),
        ("table", place),
        ("rows", f"{receipt.rows:,}"),
        ("service", receipt.service),
        ("definition", f"{receipt.definition}, {applied}"),
        ("code", receipt.code_version),
        ("built", format_instant(to_us(receipt.created_at))),
        ("spine", f"{spine.path}, {spine.rows:,} rows{of_table}"),
        ("spine content", spine.fingerprint),
        ("content", receipt.content),
        ("receipt", receipt.digest()),
    ]
    width = max(len(name) for name, _ in facts)
    read = table(
        ("events of", "up to sequence", "at version", "table", "at"),
        [(pin.name, pin.sequence, pin.version, pin.table_id, pin.path) for pin in receipt.tables],
    )
    listed = "\n".join(f"{name.ljust(width)}  {fact}" for name, fact in facts)
    return f"{listed}\n\n{read}\n\n{statuses_text(receipt.statuses)}"


@training_set.command("rebuild")
@click.argument("name")
@click.option("--out", type=_OUT, help="Also write what was rebuilt to a new Parquet file.")
@json_option
@pass_context
def rebuild(context: Context, name: str, out: Path | None) -> int:
    """Build a training set once more from its receipt alone, and compare.

    Everything the receipt names is looked for: the definition as it was applied then, the functions
    of features.py, the events up to its sequences, the spine. The answer is same; or differs or
    gone, with what it is that does, and exit 1; or erased, also with exit 1, where a key was
    forgotten that it held. The original is only read.
    """
    from twinlake.flows import catalogue

    with context.open() as project:
        catalogue.require_receipt(project, name)  # told before anything heavy is loaded
        _refuse_unwritable(out)
        from twinlake.flows import rebuilding

        rebuilt = rebuilding.rebuild(project, name, out)
    written = None if out is None or rebuilt.content is None else str(out)
    context.answer(rebuilt_text(rebuilt), rebuilt_document(rebuilt) | {"out": written})
    return 0 if rebuilt.verdict == rebuilding.SAME else 1


def rebuilt_document(rebuilt: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down what a rebuild came to, for people and programs alike."""
    from dataclasses import asdict

    receipt = rebuilt.receipt
    return {
        "training_set": receipt.training_set,
        "verdict": rebuilt.verdict,
        "findings": [asdict(finding) for finding in rebuilt.findings],
        "content": rebuilt.content,
        "rows": rebuilt.rows,
        "features": {name: dict(counts) for name, counts in rebuilt.statuses.items()},
        "definition_number": rebuilt.definition_number,
        "code_version": rebuilt.code_version,
        "receipt": receipt_document(receipt),
    }


def rebuilt_text(rebuilt: Any) -> str:  # noqa: ANN401 (imported when used)
    """Lay out what a rebuild came to."""
    receipt = rebuilt.receipt
    lines = [f"{receipt.training_set}: {rebuilt.verdict}"]
    lines += [f"{one.verdict.upper()} {one.what}: {one.told}" for one in rebuilt.findings]
    for one in rebuilt.findings:
        if one.cells:
            lines += ["", table(("column", "cells that differ"), list(one.cells.items())), ""]
    if rebuilt.content is None:
        lines.append("it was not rebuilt: not everything that it was made from is there")
    else:
        lines.append(f"rebuilt: {rebuilt.rows:,} rows, content {rebuilt.content}")
        code = rebuilt.code_version
        if code != receipt.code_version:
            lines.append(f"built by code {receipt.code_version}, rebuilt by code {code}")
    return "\n".join(lines)


@training_set.command("diff")
@click.argument("a")
@click.argument("b")
@json_option
@pass_context
def diff(context: Context, a: str, b: str) -> int:
    """Compare training sets A and B: rows, features, and what they were made from.

    A row of A is the row of B that has the same spine columns; rows that are there several times
    are counted. Exit 1 where anything differs.
    """
    from twinlake.flows import catalogue

    with context.open() as project:
        for name in (a, b):
            catalogue.require_receipt(project, name)
        from twinlake.flows import comparing

        compared = comparing.compare(project, a, b)
    context.answer(compared_text(compared), compared_document(compared))
    return 0 if compared.same else 1


def compared_document(compared: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    """Write down how two training sets differ, for people and programs alike."""
    from dataclasses import asdict

    found, features = compared.found, {**compared.a.statuses, **compared.b.statuses}
    return {
        "a": compared.a.training_set,
        "b": compared.b.training_set,
        "same": compared.same,
        "same_content": compared.same_content,
        "rows": {
            "a": found.met + found.only_a,
            "b": found.met + found.only_b,
            "only_a": found.only_a,
            "only_b": found.only_b,
            "in_both": found.met,
            "equal": found.equal,
            "unequal": found.met - found.equal,
        },
        "identity": list(compared.identity),
        "features": {name: count for name, count in found.cells.items() if name in features},
        "marks": {name: count for name, count in found.cells.items() if name not in features},
        "columns_only_a": list(compared.columns_only_a),
        "columns_only_b": list(compared.columns_only_b),
        "types": {name: list(both) for name, both in compared.types.items()},
        "first_only_a": [_shown_document(one) for one in compared.only_a],
        "first_only_b": [_shown_document(one) for one in compared.only_b],
        "first_unequal": [_shown_document(one) for one in compared.unequal],
        "made_from": [asdict(origin) for origin in compared.origins],
    }


def _shown_document(one: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    return {
        "times": one.times,
        "row": {name: _cell(cell) for name, cell in one.row.items()},
        "cells": {name: [_cell(cell) for cell in both] for name, both in one.cells.items()},
    }


def _cell(cell: Any) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a cell as JSON can say it, which has no word for NaN and infinities."""
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def compared_text(compared: Any) -> str:  # noqa: ANN401 (imported when used)
    """Lay out how two training sets differ."""
    found, a, b = compared.found, compared.a.training_set, compared.b.training_set
    heads = ("rows", "in both", "equal", f"only in {a}", f"only in {b}")
    counts = ("", found.met, found.equal, found.only_a, found.only_b)
    parts = [table(heads, [counts])]
    cells = [(name, count) for name, count in found.cells.items() if count]
    if cells:
        parts.append(table(("column", "cells that differ"), cells))
    for name, columns in ((a, compared.columns_only_a), (b, compared.columns_only_b)):
        if columns:
            parts.append(f"columns only in {name}: {', '.join(columns)}")
    if compared.types:
        rows = [(name, *both) for name, both in compared.types.items()]
        parts.append(table(("type of", a, b), rows))
    parts += _examples(f"only in {a}", compared.only_a)
    parts += _examples(f"only in {b}", compared.only_b)
    if compared.unequal:
        rows = [
            (_named(one.row), name, *both)
            for one in compared.unequal
            for name, both in one.cells.items()
        ]
        parts.append(
            f"rows that differ, the first {len(compared.unequal)}:\n"
            + table(("row", "column", a, b), rows)
        )
    if compared.origins:
        rows = [(origin.what, origin.a, origin.b) for origin in compared.origins]
        parts.append(table(("made from", a, b), rows))
    parts.append(_summary(compared))
    return "\n\n".join(parts)


def _examples(title: str, shown: Sequence[Any]) -> list[str]:
    if not shown:
        return []
    rows = [(one.times, _named(one.row)) for one in shown]
    return [f"{title}, the first {len(shown)}:\n" + table(("times", "row"), rows)]


def _named(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={cell}" for name, cell in row.items())


def _summary(compared: Any) -> str:  # noqa: ANN401 (imported when used)
    if compared.same:
        return "no difference"
    if compared.same_content:
        return "the same content, made from what is listed above"
    return "they differ"


COMMANDS = (training_set,)
