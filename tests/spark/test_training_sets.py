"""Training sets: what the oracle says of every spine row, reproducible for ever."""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from tests.spark import oracle, readings
from tests.spark.benches import Bench, Cells, collected, delta_version
from twinlake.definitions.times import DAY_US, MAX_US, to_datetime, to_us
from twinlake.errors import InputError
from twinlake.flows import training_sets
from twinlake.flows.landing import land_files
from twinlake.flows.training_sets import TrainingSet
from twinlake.lake import newest_rows, point_in_time, spines, tables
from twinlake.models.receipts import Receipt

ROWS = readings.random_rows(random.Random(21), keys=30, per_key=12, late=0.1)
# A meter whose only reading became known five days after it.
SLOW = {"k": "slow", "g": 0}
SLOW_US = readings.START_US + 3 * DAY_US
ROWS.append(
    ROWS[0]
    | SLOW
    | {"id": -1, "at": to_datetime(SLOW_US), "made": to_datetime(SLOW_US + 5 * DAY_US)}
)
OTHERS = """
others = Source(
    "others", schema="oid bigint, k string, g int, day date, price decimal(9,3)",
    with_columns={"day_end": Derived("timestamp", "date_add(day, 1)")},
    event_timestamp="day_end", event_id="oid", batch=Files("others"),
)
prices = FeatureView(
    "prices", entity=meter, source=others, hop="1d", ttl="5d",
    features=[Column("price"), Aggregate("mean", "price", windows={"price_2d": "2d"})],
)
two_views = FeatureService("two_views", features=[
    tiled.select("sum_d_7d", "count_s_1d", "stddev_m_7d", "first_s_1d"), plain,
])
two_sources = FeatureService("two_sources", features=[prices, tiled.select("max_i_1d")])
columns = FeatureService("columns", features=[plain])
columns_of_two = FeatureService(
    "columns_of_two", features=[prices.select("price"), plain.select("ts", "s", "m")]
)
"""
OTHER_SCHEMA = pa.schema(
    [
        ("oid", pa.int64()),
        ("k", pa.string()),
        ("g", pa.int32()),
        ("day", pa.date32()),
        ("price", pa.decimal128(9, 3)),
    ]
)
PRICES = oracle.View(
    [oracle.Feature("price", "price"), oracle.Feature("price_2d", "price", "mean", 2 * DAY_US)],
    hop_us=DAY_US,
    ttl_us=5 * DAY_US,
)


def other_rows(draw: random.Random) -> list[Cells]:
    first = dt.date(2014, 1, 1)
    return [
        {
            "oid": 100 * key + number,
            "k": f"k{key // 2}",
            "g": key % 2,
            "day": first + dt.timedelta(days=number),
            "price": draw.choice([None, Decimal(draw.randrange(10**8)).scaleb(-3)]),
        }
        for key in range(25)
        for number in draw.sample(range(readings.DAYS), 12)
    ]


def spine_rows(draw: random.Random) -> list[Cells]:
    """Any moment, moments of events and just beside, long before and after, twice and unknown."""
    moments = [to_us(row["at"]) for row in ROWS] + [to_us(row["made"]) for row in ROWS]
    rows = []
    for number in range(400):
        us = draw.choice(
            [
                draw.choice(moments) + draw.choice([-1, 0, 0, 1]),
                readings.START_US + draw.randrange(-2, readings.DAYS + 15) * DAY_US,
            ]
        )
        key = draw.randrange(34)
        rows.append(
            {
                "k": f"k{key // 2}",
                "g": key % 2,
                "event_timestamp": to_datetime(us),
                "label": draw.choice([None, 0.5, -1.25, float(number)]),
                "note": draw.choice(["a", "b c", "ä"]),
            }
        )
    for days in (-1, 0, 4, 5, 6):
        at = to_datetime(SLOW_US + days * DAY_US)
        rows.append(rows[0] | SLOW | {"event_timestamp": at})
    return [*rows, *draw.sample(rows, 50)]


SPINE = spine_rows(random.Random(4))
SPINE_SCHEMA = pa.schema(
    [
        ("k", pa.string()),
        ("g", pa.int32()),
        ("event_timestamp", pa.timestamp("us", "UTC")),
        ("label", pa.float64()),
        ("note", pa.string()),
    ]
)


@dataclass(frozen=True)
class Trained:
    bench: Bench
    spine: Path
    built: dict[str, TrainingSet]
    events: dict[str, dict[tuple[str, int], list[oracle.Event]]]


@pytest.fixture(scope="module")
def trained(module_bench: Callable[[], Bench]) -> Trained:
    bench = module_bench().define(readings.definitions("tiled", "plain") + OTHERS)
    bench.put("all", ROWS, readings.SCHEMA)
    others = other_rows(random.Random(6))
    bench.put("../others/all", others, OTHER_SCHEMA)
    bench.apply()
    land(bench)
    spine = bench.folder / "spine.parquet"
    pq.write_table(pa.Table.from_pylist(SPINE, schema=SPINE_SCHEMA), spine)
    built = {name: training_sets.build(bench.project, name, spine) for name in SERVICES}
    own, _ = readings.known_events(bench, ROWS)
    prices: dict[tuple[str, int], list[oracle.Event]] = {}
    for row in others:
        end = dt.datetime.combine(row["day"] + dt.timedelta(days=1), dt.time(), dt.UTC)
        event = oracle.Event(
            (row["k"], row["g"]), to_us(end), to_us(end), (0, 0), {"price": row["price"]}
        )
        prices.setdefault((row["k"], row["g"]), []).append(event)
    return Trained(bench, spine, built, {"readings": own, "others": prices})


def land(bench: Bench) -> None:
    for source in bench.project.applied().definitions.sources.values():
        land_files(bench.project, source, MAX_US)


def only(view: oracle.View, *names: str) -> oracle.View:
    features = {feature.name: feature for feature in view.features}
    return oracle.View([features[name] for name in names], view.hop_us, view.ttl_us)


SERVICES: dict[str, list[tuple[str, str, oracle.View]]] = {
    "two_views": [
        (
            "tiled",
            "readings",
            only(readings.VIEWS["tiled"], "sum_d_7d", "count_s_1d", "stddev_m_7d", "first_s_1d"),
        ),
        ("plain", "readings", readings.VIEWS["plain"]),
    ],
    "two_sources": [
        ("prices", "others", PRICES),
        ("tiled", "readings", only(readings.VIEWS["tiled"], "max_i_1d")),
    ],
    "columns": [("plain", "readings", readings.VIEWS["plain"])],
    "columns_of_two": [
        ("prices", "others", only(PRICES, "price")),
        ("plain", "readings", only(readings.VIEWS["plain"], "ts", "s", "m")),
    ],
}


def expected_rows(trained: Trained, service: str) -> Iterator[tuple[Cells, dict[str, str]]]:
    """Per spine row its cells, and the status of each feature."""
    for row in SPINE:
        t = to_us(row["event_timestamp"])
        cells: Cells = {**row, "event_timestamp": t}
        statuses: dict[str, str] = {}
        for name, source, view in SERVICES[service]:
            held = trained.events[source].get((row["k"], row["g"]), [])
            answers = oracle.answer(held, t, t, view)
            for feature, (status, value) in zip(view.features, answers, strict=True):
                cells[feature.name], statuses[feature.name] = value, status
            seen = oracle.visible(held, t, t)
            cells[f"{name}__status"] = oracle.status(held, t, t, view)
            cells[f"{name}__event_timestamp"] = seen[-1].event_us if seen else None
        yield cells, statuses


def in_bits(rows: list[Cells]) -> Counter[Any]:
    return Counter(
        tuple((name, oracle.bits(cell)) for name, cell in sorted(row.items())) for row in rows
    )


@pytest.mark.parametrize("service", SERVICES)
def test_every_row_and_every_status_is_what_the_oracle_says(trained: Trained, service: str) -> None:
    built = trained.built[service]
    stored = collected(tables.read(trained.bench.spark, built.path, built.version))
    expected = list(expected_rows(trained, service))
    assert in_bits(stored) == in_bits([cells for cells, _ in expected])
    counts: dict[str, Counter[str]] = {}
    for _, statuses in expected:
        for feature, status in statuses.items():
            counts.setdefault(feature, Counter())[status] += 1
    found = {
        name: Counter({status: n for status, n in told.items() if n})
        for name, told in built.receipt.statuses.items()
    }
    assert found == counts
    assert {sum(told.values()) for told in built.receipt.statuses.values()} == {len(SPINE)}
    seen = set().union(*counts.values())
    assert seen == {"present", "null", "missing", "expired", "not_yet_known"}


def test_the_receipt_is_written_down_and_read_back(trained: Trained) -> None:
    for built in trained.built.values():
        receipt = built.receipt
        assert Receipt.from_json(receipt.to_json()) == receipt
        assert training_sets.find_receipt(trained.bench.project, built.name) == receipt
        assert receipt.rows == receipt.spine.rows == len(SPINE)
    assert [pin.name for pin in trained.built["two_sources"].receipt.tables] == [
        "others",
        "readings",
    ]


def test_the_same_inputs_are_not_built_again_and_a_killed_build_is_finished(
    trained: Trained,
) -> None:
    project, built = trained.bench.project, trained.built["two_sources"]
    version = delta_version(built.path)
    again = training_sets.build(project, "two_sources", trained.spine)
    assert (again.built, again.name, again.receipt) == (False, built.name, built.receipt)
    # Killed after the rows were committed and before the receipt was written.
    file = project.places.receipts / f"{built.name}.json"
    text = file.read_text()
    file.unlink()
    third = training_sets.build(project, "two_sources", trained.spine)
    assert third.built
    assert third.receipt.content == built.receipt.content
    assert delta_version(built.path) == version
    file.write_text(text)


@pytest.mark.parametrize("form", ["csv", "delta", "nanoseconds"])
def test_a_spine_of_any_form_is_the_same_spine(
    trained: Trained, form: str, tmp_path: Path, spark: SparkSession
) -> None:
    path = tmp_path / f"spine.{form}"
    if form == "delta":
        spark.read.parquet(str(trained.spine)).repartition(3).write.format("delta").save(str(path))
    elif form == "nanoseconds":
        table = pa.Table.from_pylist(SPINE[::-1], schema=SPINE_SCHEMA)
        position = table.schema.get_field_index("event_timestamp")
        cast = table["event_timestamp"].cast(pa.timestamp("ns", "UTC"))
        pq.write_table(table.set_column(position, "event_timestamp", cast), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, SPINE_SCHEMA.names)
            writer.writeheader()
            for row in SPINE:
                writer.writerow({**row, "event_timestamp": row["event_timestamp"].isoformat()})
    same = training_sets.build(trained.bench.project, "two_sources", path)
    assert same.receipt.spine.fingerprint == trained.built["two_sources"].receipt.spine.fingerprint
    assert not same.built


def test_rows_that_are_landed_later_do_not_change_a_set_of_the_old_sequence(
    bench: Bench, tmp_path: Path
) -> None:
    service_text = 'slim = FeatureService("slim", [tiled.select("sum_d_7d"), plain.select("s")])'
    bench.define(readings.definitions("tiled", "plain") + service_text)
    bench.put("1", ROWS[:200], readings.SCHEMA)
    bench.apply()
    land(bench)
    spine_path = tmp_path / "spine.parquet"
    pq.write_table(pa.Table.from_pylist(SPINE[:120], schema=SPINE_SCHEMA), spine_path)
    built = training_sets.build(bench.project, "slim", spine_path).receipt
    bench.put("2", ROWS[200:], readings.SCHEMA)
    land(bench)

    [pin] = built.tables
    spine = spines.read_spine(bench.spark, spine_path, {"k": "string", "g": "int"})

    def content(sequence: int) -> str:
        taken = [
            point_in_time.Taken(view, names, Path(pin.path), sequence)
            for view, names in bench.project.service("slim").selections()
        ]
        asked = point_in_time.Spine(spine, 120)
        joined = point_in_time.join(bench.spark, asked, taken, 3, tmp_path)
        return training_sets.content_of(joined, built.columns)[0]

    newest = bench.project.landings("readings").all()[-1].version
    assert newest > (pin.sequence or 0)
    assert content(pin.sequence or 0) == built.content
    assert content(newest) != built.content


@pytest.mark.parametrize("service", ["columns", "columns_of_two"])
def test_a_spine_too_large_for_two_passes_gives_the_same(
    trained: Trained, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench, built = trained.bench, trained.built[service].receipt
    versions = {pin.name: pin for pin in built.tables}
    taken = [
        point_in_time.Taken(
            view,
            names,
            Path(versions[view.source.name].path),
            versions[view.source.name].sequence or 0,
        )
        for view, names in bench.project.service(service).selections()
    ]
    spine = spines.read_spine(bench.spark, trained.spine, {"k": "string", "g": "int"})
    asked = point_in_time.Spine(spine, len(SPINE))
    monkeypatch.setattr(newest_rows, "MAX_SPINE_BYTES", 0)
    joined = point_in_time.join(bench.spark, asked, taken, 3, tmp_path)
    assert training_sets.content_of(joined, built.columns)[0] == built.content
    assert not list(tmp_path.iterdir())


REFUSED: dict[str, tuple[Callable[[Cells], Cells], str]] = {
    "null key": (lambda row: row | {"k": None}, "k is null"),
    "null time": (lambda row: row | {"event_timestamp": None}, "event_timestamp is null"),
    "missing key": (lambda row: {n: c for n, c in row.items() if n != "g"}, "no column 'g'"),
    "missing time": (
        lambda row: {n: c for n, c in row.items() if n != "event_timestamp"},
        "no column 'event_timestamp'",
    ),
    "a feature's name": (lambda row: row | {"price": 1.0}, "price"),
    "a feature's name in capitals": (lambda row: row | {"PRICE": 1.0}, "PRICE"),
    "a status' name": (lambda row: row | {"tiled__status": "x"}, "tiled__status"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_spine_that_does_not_fit_is_refused_by_name(
    trained: Trained, case: str, tmp_path: Path
) -> None:
    change, told = REFUSED[case]
    path = tmp_path / "spine.parquet"
    table = pa.Table.from_pylist([change(row) for row in SPINE[:3]])
    if "null" in case:
        table = pa.Table.from_pylist([*SPINE[:2], change(SPINE[2])], schema=SPINE_SCHEMA)
    pq.write_table(table, path)
    with pytest.raises(InputError) as caught:
        training_sets.build(trained.bench.project, "two_sources", path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_keys_of_a_csv_spine_stay_text(tmp_path: Path, spark: SparkSession) -> None:
    path = tmp_path / "spine.csv"
    path.write_text("k,event_timestamp,label\n007,2014-02-01,1\n1e3,2014-02-01T00:00:01Z,2\n")
    frame = spines.read_spine(spark, path, {"k": "string"})
    assert [row.k for row in frame.orderBy("label").collect()] == ["007", "1e3"]


def test_receipts_are_json(trained: Trained) -> None:
    folder = trained.bench.project.places.receipts
    texts = [file.read_text() for file in sorted(folder.glob("*.json"))]
    assert {json.loads(text)["service"] for text in texts} == set(SERVICES)
