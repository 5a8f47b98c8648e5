"""On-demand features end to end: training set, online read and plain Python say the same."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bad_input import Place, Result, call
from tests.spark.benches import Bench, Cells, collected
from twinlake.cli.context import Context
from twinlake.definitions.services import Model
from twinlake.definitions.times import DAY_US, to_datetime
from twinlake.errors import InputError
from twinlake.flows import applying, catalogue, checking, leak_checking, modelling, training_sets
from twinlake.flows.reading import read_service
from twinlake.lake import tables

START_US = 1_400_000_000_000_000
CARDS, DAYS = 12, 20
HOUR_US = DAY_US // 24
SCHEMA = pa.schema(
    [
        ("tid", pa.int64()),
        ("card", pa.int64()),
        ("amount", pa.decimal128(12, 2)),
        ("at", pa.timestamp("us", "UTC")),
    ]
)
DEFINITIONS = """
import numpy as np
from twinlake import Request, on_demand

card = Entity("card", join_keys={"card": "bigint"})
payments = Source(
    "payments", schema="tid bigint, card bigint, amount decimal(12,2), at timestamp",
    event_timestamp="at", event_id="tid", batch=Files("in"),
)
recent = FeatureView(
    "recent", entity=card, source=payments, hop="1h", ttl="6d",
    features=[Column("amount", name="last_amount"),
              Aggregate("count", windows={"n_1d": "1d"}),
              Aggregate("mean", "amount", windows={"mean_1d": "1d"})],
)
past = FeatureView(
    "past", entity=card, source=payments, hop="1h", ttl="9d",
    features=[Aggregate("count", windows={"n_8d": "8d"}),
              Aggregate("mean", "amount", windows={"mean_8d": "8d"})],
)
SCALE = 100.0

def share(part, whole):
    return SCALE * part / whole

@on_demand(
    inputs=[recent, past, Request(amount="double")],
    outputs={"amount_ratio": "double", "mean_ratio": "double", "count_ratio": "double"},
)
def ratios(f):
    return {
        "amount_ratio": f["amount"] / f["mean_8d"],
        "mean_ratio": np.log(f["mean_1d"] / f["mean_8d"]),
        "count_ratio": share(f["n_1d"], f["n_8d"]),
    }

@on_demand(
    inputs=[recent.select("last_amount"), Request(amount="double", shop="string")],
    outputs={"is_more": "boolean", "told": "string"}, nulls="pass",
)
def words(f):
    told = [None if s is np.ma.masked else f"at {s}" for s in f["shop"]]
    return {"is_more": f["amount"] > f["last_amount"], "told": np.array(told, object)}

fraud = FeatureService("fraud", features=[
    ratios.select("count_ratio", "amount_ratio"), recent.select("n_1d"), words,
    ratios.select("mean_ratio"),
])
"""
FEATURES = ["count_ratio", "amount_ratio", "n_1d", "is_more", "told", "mean_ratio"]


def payments(draw: random.Random) -> list[Cells]:
    return [
        {
            "tid": 1000 * card + number,
            "card": card,
            "amount": draw.choice([None, draw.randrange(0, 10_000), 0]),
            "at": START_US + draw.randrange(DAYS * 24) * HOUR_US + draw.randrange(HOUR_US),
        }
        for card in range(CARDS)
        for number in range(draw.choice([5, 40, 40]))
    ]


PAYMENTS = payments(random.Random(3))


def spine_rows(draw: random.Random) -> list[Cells]:
    return [
        {
            "card": draw.randrange(CARDS + 2),
            "event_timestamp": START_US
            + draw.randrange(-1, DAYS + 12) * DAY_US
            + draw.randrange(9),
            "amount": draw.choice([None, -0.0, draw.uniform(0, 100)]),
            "shop": draw.choice([None, "ä", "b c"]),
            "label": number,
        }
        for number in range(500)
    ]


def oracle(row: Cells) -> list[Any]:
    """The features of a spine row, in plain Python."""
    t = row["event_timestamp"]
    seen = [p for p in PAYMENTS if p["card"] == row["card"] and p["at"] <= t]
    newest = max(seen, key=lambda p: p["at"], default=None)

    def window(days: int, ttl: int) -> tuple[int | None, float | None]:
        if newest is None or t - newest["at"] > ttl * DAY_US:
            return None, None
        tail = (t - days * DAY_US) // HOUR_US * HOUR_US
        held = [p["amount"] for p in seen if p["at"] > tail]
        units = [amount for amount in held if amount is not None]
        return len(held), (sum(units) / 100) / len(units) if units else None

    (n_1d, mean_1d), (n_8d, mean_8d) = window(1, 6), window(8, 9)
    last = newest["amount"] if newest and n_1d is not None else None
    amount = row["amount"]
    more = None if amount is None or last is None else amount > last / 100
    told = None if row["shop"] is None else f"at {row['shop']}"
    if n_1d is None or n_8d is None or None in (mean_1d, mean_8d, last, amount):
        return [None, None, n_1d, more, told, None]
    share = 100.0 * n_1d / n_8d if n_8d else None
    ratio = amount / mean_8d + 0.0 if mean_8d else None
    log = math.log(mean_1d / mean_8d) if mean_8d and mean_1d else None
    return [share, ratio, n_1d, more, told, log]


@pytest.fixture(scope="module")
def bench(module_bench: Callable[[], Bench]) -> Bench:
    made = module_bench().define(DEFINITIONS)
    columns = {name: [payment[name] for payment in PAYMENTS] for name in ("tid", "card")}
    amounts = pa.array([payment["amount"] for payment in PAYMENTS], pa.int64())
    moments = pa.array([payment["at"] for payment in PAYMENTS], pa.timestamp("us", "UTC"))
    table = pa.table(columns | {"amount": amounts, "at": moments})
    cents = table.column("amount").cast(pa.decimal128(19, 0)).combine_chunks()
    scaled = pa.Array.from_buffers(pa.decimal128(19, 2), len(cents), cents.buffers())
    table = table.set_column(2, "amount", scaled.cast(pa.decimal128(12, 2)))
    pq.write_table(table.cast(SCHEMA), made.inputs / "all.parquet")
    made.apply().materialize()
    return made


def write_spine(bench: Bench, rows: list[Cells], **types: pa.DataType) -> Path:
    fields = {
        "card": pa.int64(), "event_timestamp": pa.timestamp("us", "UTC"), "amount": pa.float64(),
        "shop": pa.string(), "label": pa.int64(),
    } | types  # fmt: skip
    path = bench.folder / f"spine-{len(list(bench.folder.glob('spine-*')))}.parquet"
    told = [row | {"event_timestamp": to_datetime(row["event_timestamp"])} for row in rows]
    used = [(name, kind) for name, kind in fields.items() if name in rows[0]]
    pq.write_table(pa.Table.from_pylist(told, schema=pa.schema(used)), path)
    return path


def built(bench: Bench, rows: list[Cells]) -> tuple[Any, list[Cells]]:
    made = training_sets.build(bench.project, "fraud", write_spine(bench, rows))
    found = collected(tables.read(bench.spark, made.path, made.version))
    return made, sorted(found, key=lambda row: row["label"])


def same(found: Any, expected: Any) -> bool:
    """Equal; the logarithm of Python and that of numpy may differ in their last bit."""
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-15)
    return type(found) is type(expected) and bool(found == expected)


def test_a_training_set_says_what_plain_python_says(bench: Bench) -> None:
    rows = spine_rows(random.Random(5))
    made, found = built(bench, rows)
    assert list(made.receipt.columns) == [
        "card", "event_timestamp", "amount", "shop", "label", *FEATURES,
        "recent__status", "recent__event_timestamp",
    ]  # fmt: skip
    wrong = [
        (row, name)
        for row, expected in zip(found, map(oracle, rows), strict=True)
        for name, value in zip(FEATURES, expected, strict=True)
        if not same(row[name], value)
    ]
    assert wrong == []
    kinds = dict(tables.read(bench.spark, made.path).dtypes)
    assert [kinds[name] for name in FEATURES] == [
        "double", "double", "bigint", "boolean", "string", "double",
    ]  # fmt: skip
    assert list(made.receipt.statuses) == FEATURES
    for name in FEATURES:
        present = sum(row[name] is not None for row in found)
        assert made.receipt.statuses[name]["present"] == present > 20
    assert set(made.receipt.statuses["count_ratio"]) == {"present", "null"}
    again, _ = built(bench, rows)
    assert (again.name, again.built) == (made.name, False)


def test_serving_gives_the_bits_of_a_training_set(bench: Bench) -> None:
    as_of_us = START_US + DAYS * DAY_US
    rows = [
        {
            "card": card,
            "event_timestamp": as_of_us,
            "amount": [None, 1.5, 1e-300][card % 3],
            "shop": [None, "ä"][card % 2],
            "label": card,
        }
        for card in range(CARDS + 2)
    ]
    _, trained = built(bench, rows)
    asked = [{"card": r["card"], "amount": r["amount"], "shop": r["shop"]} for r in rows]
    at = to_datetime(as_of_us).isoformat()
    served = read_service(bench.project, "fraud", asked, at)
    for answer, row in zip(served, trained, strict=True):
        assert list(answer.features) == FEATURES
        for name, one in answer.features.items():
            assert (type(one.value), repr(one.value)) == (type(row[name]), repr(row[name]))
            assert one.status in {"present", "null", "missing", "expired"}
        assert dict(answer.request) == {"amount": row["amount"], "shop": row["shop"]}
    assert len({repr(answer.features["mean_ratio"].value) for answer in served}) > 2
    (alone,) = read_service(bench.project, "fraud", asked[1:2], at)
    assert alone.features == served[1].features


def test_parity_leak_check_and_catalogue_know_them(bench: Bench) -> None:
    views = [view for view, _ in bench.project.service("fraud").needed()]
    verdict = checking.check_parity(bench.project, views, None)
    assert (verdict.keys, verdict.mismatches) == (CARDS, 0)
    assert set(verdict.as_of) == {"recent", "past"}
    found = leak_checking.check_leaks(bench.project, "fraud", keys=2)
    assert found.examined.leaks == []
    listed = catalogue.listing(bench.project)
    assert [item["name"] for item in listed["on_demand"]] == ["ratios", "words"]
    assert listed["services"][0]["features"] == FEATURES
    shown = catalogue.details(bench.project, "ratios")
    assert "SCALE" in shown["on_demand/ratios"]["function"]["code"]


Command = Callable[..., Result]


@pytest.fixture
def command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command line, with the lane's session."""
    monkeypatch.setattr(Context, "open", lambda _: bench.open())
    place = Place(bench.root, bench.folder / "state")

    def run(*arguments: str) -> Result:
        return call(place, arguments, monkeypatch, capsys)

    return run


def test_the_command_line_takes_request_fields(bench: Bench, command: Command) -> None:
    found = command("get", "fraud", "card=1", "amount=1.5", "shop=ä", "--json")
    assert found.code == 0, found.err
    (answer,) = read_service(bench.project, "fraud", [{"card": 1, "amount": 1.5, "shop": "ä"}])
    assert found.document["request"] == {"amount": 1.5, "shop": "ä"}
    served = {name: one["value"] for name, one in found.document["features"].items()}
    assert served == {name: one.value for name, one in answer.features.items()}
    refused = command("get", "fraud", "card=1", "shop=ä")
    assert (refused.code, "without amount" in refused.err) == (2, True)
    assert "give card=VALUE amount=VALUE shop=VALUE" in refused.err


def test_a_model_takes_what_is_computed_on_demand(bench: Bench) -> None:
    model = Model("frauds", bench.project.service("fraud"), "label", spine_features=["amount"])
    assert modelling.recipe_of(model).features == (*FEATURES, "amount")


BAD_SPINES: dict[str, tuple[dict[str, Any], dict[str, pa.DataType], str]] = {
    "infinite": ({"amount": math.inf}, {}, "1 rows of 1 whose amount cannot be read as double"),
    "no number": ({"amount": math.nan}, {}, "whose amount cannot be read as double"),
    "text": ({"amount": "much"}, {"amount": pa.string()}, "whose amount cannot be read as double"),
    "truth": ({"amount": True}, {"amount": pa.bool_()}, "column amount is a boolean, expected"),
    "feature": ({"mean_8d": 1.0}, {"mean_8d": pa.float64()}, "that the service makes itself"),
}
ROW: Cells = {"card": 1, "event_timestamp": START_US, "amount": 1.0, "shop": "a", "label": 0}


@pytest.mark.parametrize("name", BAD_SPINES)
def test_a_spine_must_bring_the_request_fields(bench: Bench, name: str) -> None:
    cells, types, told = BAD_SPINES[name]
    spine = write_spine(bench, [ROW | cells], **types)
    with pytest.raises(InputError, match=told):
        training_sets.build(bench.project, "fraud", spine)


def test_a_spine_without_a_request_field_is_refused(bench: Bench) -> None:
    spine = write_spine(bench, [{k: v for k, v in ROW.items() if k != "shop"}])
    with pytest.raises(InputError, match="has no column 'shop'"):
        training_sets.build(bench.project, "fraud", spine)
    text = write_spine(bench, [ROW | {"amount": "1.25"}], amount=pa.string())
    assert training_sets.build(bench.project, "fraud", text).receipt.rows == 1


BAD_QUESTIONS: dict[str, tuple[Cells, str]] = {
    "no field": ({"card": 1, "shop": "a"}, "without amount"),
    "no key": ({"amount": 1, "shop": "a"}, "without card"),
    "one too many": ({"card": 1, "amount": 1, "shop": "a", "x": 1}, "by the key x"),
    "text": ({"card": 1, "amount": "much", "shop": "a"}, "amount='much' is no double"),
    "no number": ({"card": 1, "amount": "nan", "shop": "a"}, "amount=nan is no double"),
    "number": ({"card": 1, "amount": 1, "shop": 7}, "shop=7 is no string"),
}


@pytest.mark.parametrize("name", BAD_QUESTIONS)
def test_a_question_must_bring_the_request_fields(bench: Bench, name: str) -> None:
    row, told = BAD_QUESTIONS[name]
    with pytest.raises(InputError, match=told):
        read_service(bench.project, "fraud", [row])


def test_a_changed_function_is_planned_and_refused_until_applied(bench: Bench) -> None:
    spine = write_spine(bench, [ROW | {"event_timestamp": START_US + DAYS * DAY_US}])
    question = [{"card": 1, "amount": 1.0, "shop": "a"}]
    name = training_sets.build(bench.project, "fraud", spine).name
    try:
        bench.define(DEFINITIONS.replace("SCALE = 100.0", "SCALE = 1.0  # a share"))
        steps = {step.name: step for step in applying.plan(bench.project).steps}  # type: ignore[union-attr]
        assert {n: s.changes_meaning for n, s in steps.items()} == {"ratios": True}  # type: ignore[union-attr]
        for refused in (
            lambda: read_service(bench.project, "fraud", question),
            lambda: training_sets.build(bench.project, "fraud", spine),
        ):
            with pytest.raises(InputError, match="ratios differs from what was applied") as caught:
                refused()
            assert "run `twinlake apply`" in str(caught.value.hint)
        bench.apply()
        assert training_sets.build(bench.project, "fraud", spine).name != name
        bench.define(DEFINITIONS.replace("def ratios(f):", "def ratios(f):  # words\n    'More.'"))
        bench.apply()
        assert training_sets.build(bench.project, "fraud", spine).name == name
    finally:
        bench.define(DEFINITIONS).apply()


def test_a_failing_function_is_told_and_spoils_nothing_else(bench: Bench, command: Command) -> None:
    broken = DEFINITIONS.replace(
        "    told = [None", "    assert not (f['amount'] == 13).any(), 'thirteen'\n    told = [None"
    )
    try:
        bench.define(broken).apply()
        late = ROW | {"event_timestamp": START_US + DAYS * DAY_US}
        spine = write_spine(bench, [late, late | {"amount": 13.0, "card": 4}])
        with pytest.raises(
            Exception,
            match=r"twinlake\.errors\.InputError: on-demand view words, "
            r"function words: AssertionError: thirteen \(at card=4, ",
        ) as caught:
            training_sets.build(bench.project, "fraud", spine)
        assert "Hint: mend the function" in str(caught.value)
        told = command("training-set", "build", "fraud", "--spine", str(spine))
        assert told.code == 2
        assert "function words: AssertionError: thirteen (at card=4" in told.err
        one = command("get", "fraud", "card=4", "amount=13", "shop=a")
        assert (one.code, one.out.count("AssertionError: thirteen")) == (0, 1)
        rows = [{"card": 1, "amount": a, "shop": "a"} for a in (1.0, 13.0)]
        first, second = read_service(bench.project, "fraud", rows)
        assert first.features["told"].value == "at a"
        assert {n: s.status for n, s in second.features.items() if s.status == "error"} == {
            "is_more": "error", "told": "error",
        }  # fmt: skip
        assert "view words" in json.dumps(second.features["told"].message)
    finally:
        bench.define(DEFINITIONS).apply()
