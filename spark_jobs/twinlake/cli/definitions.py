"""The verbs about definitions: init, plan, apply, ls, show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from twinlake.cli.context import Context, json_option, pass_context
from twinlake.cli.layout import joined, table, tree

CHANGES_WAIT = 4
_FEW = 4
_TEMPLATE = '''"""The features of this project."""

from twinlake import Aggregate, Column, Entity, FeatureService, FeatureView, Files, Source

customer = Entity("customer", join_keys={"customer_id": "bigint"})

orders = Source(
    "orders",
    schema="order_id string, customer_id bigint, amount double, ordered_at timestamp",
    event_timestamp="ordered_at",
    event_id="order_id",
    batch=Files("data/"),
)

customer_orders = FeatureView(
    "customer_orders",
    entity=customer,
    source=orders,
    ttl="90d",
    hop="1d",
    features=[
        Column("amount", name="last_amount"),
        Aggregate("count", windows={"orders_30d": "30d"}),
        Aggregate("mean", "amount", windows={"amount_mean_30d": "30d"}),
    ],
)

orders_service = FeatureService("orders_service", features=[customer_orders])
'''
_TESTS = '''"""What the features of this project give for a few rows. Run it with pytest."""

from twinlake.testing.feature_test import FeatureTest


def test_orders_of_the_last_thirty_days(feature_test: FeatureTest) -> None:
    orders = feature_test(
        "customer_orders",
        """
        order_id  customer_id  amount  ordered_at
        a         7            10.0    2024-01-01 09:00
        b         7            20.0    2024-01-20 18:30
        """,
    )
    orders.at("2024-01-20 18:29", customer_id=7).equals(last_amount=10.0, orders_30d=1)
    both = orders.at("2024-01-20 18:30", customer_id=7)
    both.equals(last_amount=20.0, orders_30d=2, amount_mean_30d=15.0)
    # A hop of a day: windows begin at midnight, so none is shorter than 30 days.
    orders.at("2024-01-31 23:59", customer_id=7).equals(orders_30d=2)
    orders.at("2024-02-01", customer_id=7).equals(orders_30d=1, amount_mean_30d=20.0)
    later = orders.at("2024-03-01", customer_id=7)
    later.equals(orders_30d=0, amount_mean_30d=None).has_status(amount_mean_30d="null")
    orders.at("2024-06-01", customer_id=7).has_status(last_amount="expired")
    orders.at("2024-01-20", customer_id=8).has_status(orders_30d="missing")
'''


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@pass_context
def init(context: Context, folder: Path) -> None:
    """Make a new project in FOLDER."""
    from twinlake.errors import InputError

    path, tests = folder / "features.py", folder / "test_features.py"
    for file in (path, tests):
        if file.exists():
            raise InputError(f"{file} is there already", hint="choose another folder")
    if folder.is_file():
        raise InputError(f"{folder} is a file", hint="choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(_TEMPLATE, encoding="utf-8")
        tests.write_text(_TESTS, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", hint="choose another folder"
        ) from error
    text = (
        f"Made {path}. Put your definitions there, then: twinlake -C {folder} plan\n"
        f"Made {tests}. It tests them without Spark: pytest {folder}"
    )
    context.answer(text, {"project": str(folder), "file": str(path), "tests": str(tests)})


@click.command()
@click.option("--exit-code", is_flag=True, help="Exit with 4 when changes wait.")
@json_option
@pass_context
def plan(context: Context, *, exit_code: bool) -> int:
    """Show what apply would do."""
    from twinlake.flows import applying
    from twinlake.planning.explain import explain

    with context.open() as project:
        made = applying.plan(project)
    context.answer(explain(made), _plan_document(made))
    return CHANGES_WAIT if exit_code and made.changes else 0


@click.command()
@json_option
@pass_context
def apply(context: Context) -> None:
    """Carry out what plan shows."""
    from twinlake.flows import applying
    from twinlake.planning.explain import describe
    from twinlake.planning.steps import Register

    with context.open() as project:
        made = applying.apply(project)
    lines = []
    for step in made.steps:
        if isinstance(step, Register) and step.is_new:
            lines.append(f"Registered {step.kind} {step.name}")
        else:
            lines.append(describe(step))
    text = "\n".join(lines) or "Nothing to apply; everything is as defined."
    context.answer(text, _plan_document(made))


def _plan_document(made: Any) -> dict[str, Any]:  # noqa: ANN401 (imported when used)
    from dataclasses import asdict

    return {
        "registry_version": made.registry_version,
        "changes": made.changes,
        "steps": [{"step": type(step).__name__, **asdict(step)} for step in made.steps],
        "pending": [asdict(item) for item in made.pending],
        "affected": [asdict(item) for item in made.affected],
    }


@click.command()
@json_option
@pass_context
def ls(context: Context) -> None:
    """List what is applied, and what came of it."""
    from twinlake.flows import catalogue

    with context.open() as project:
        document = catalogue.listing(project)
    sections = []
    for kind, items in document.items():
        if isinstance(items, list) and items:
            heads = list(items[0])
            rows = [[_counted(item[head]) for head in heads] for item in items]
            sections.append(f"{kind}\n{table(heads, rows)}")
    context.answer("\n\n".join(sections) or "nothing is applied", document)


def _counted(value: Any) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give a long list as its length; `show` lists it."""
    is_long = isinstance(value, list) and len(value) > _FEW
    return f"{len(value)} of them" if is_long else joined(value)


@click.command()
@click.argument("name")
@json_option
@pass_context
def show(context: Context, name: str) -> None:
    """Show what carries NAME, whole."""
    from twinlake.flows import catalogue

    with context.open() as project:
        document = catalogue.details(project, name)
    context.answer("\n".join(tree(document, 0)), document)


COMMANDS = (init, plan, apply, ls, show)
