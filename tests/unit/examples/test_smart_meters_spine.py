"""The spine of the smart meters against a naive reading of its definition."""

from __future__ import annotations

import datetime as dt
import gzip
import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twinlake.errors import InputError

ROOT = Path(__file__).parents[3]
FIRST = dt.date(2012, 2, 26)  # the days around a 29th of February

Row = tuple[str, dt.date, int, float | None]


def load(path: Path) -> ModuleType:
    """An example is a script, not a package: load it from where it lies."""
    spec = importlib.util.spec_from_file_location("smart_meters_spine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


spine = load(ROOT / "spark_jobs/examples/smart_meters/spine.py")


def daily_table(rows: list[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    types = [pa.string(), pa.date32(), pa.int32(), pa.float64()]
    arrays = [pa.array(list(c), t) for c, t in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(arrays, names=list(spine.COLUMNS))


def naive(rows: list[Row]) -> list[dict[str, Any]]:
    usable: dict[tuple[str, dt.date], float] = {}
    for home, day, count, energy in rows:
        if count >= 40 and energy is not None and not math.isnan(energy):
            usable.setdefault((home, day), energy)
    found = []
    for home, day in sorted(usable):
        tomorrow = day + dt.timedelta(days=1)
        if (home, tomorrow) in usable:
            found.append(
                {
                    "household_id": home,
                    "event_timestamp": dt.datetime.combine(tomorrow, dt.time(), dt.UTC),
                    "weekday": tomorrow.weekday(),
                    "energy_sum_next_day": usable[home, tomorrow],
                }
            )
    return found


daily_rows = st.lists(
    st.tuples(
        st.sampled_from(["MAC9", "MAC10", "mac", ""]),
        st.integers(0, 12).map(lambda n: FIRST + dt.timedelta(days=n)),
        st.sampled_from([0, 1, 39, 40, 41, 48]),
        st.one_of(st.none(), st.just(math.nan), st.floats(0, 400)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(daily_rows)
@example([("a", FIRST, 48, 1.0), ("b", FIRST + dt.timedelta(days=1), 48, 2.0)])
@example([("a", FIRST, 48, 1.0), ("a", FIRST + dt.timedelta(days=2), 48, 2.0)])
def test_any_rows_give_the_naive_spine(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    folder = tmp_path_factory.mktemp("spine")
    pq.write_table(daily_table(rows), folder / "daily.parquet")

    count = spine.write_spine(folder / "daily.parquet", folder / "spine.parquet")

    written = pq.read_table(folder / "spine.parquet")
    assert written.to_pylist() == naive(rows)
    assert count == len(written)


def test_the_shipped_sample_gives_the_naive_spine(tmp_path: Path) -> None:
    sample = ROOT / "bootstrap/data/smart_meters/daily_energy.parquet"
    homes = ["MAC000002", "MAC000393", "MAC005549"]
    table = pq.read_table(
        sample, columns=list(spine.COLUMNS), filters=[("household_id", "in", homes)]
    )
    rows = [tuple(row.values()) for row in table.to_pylist()]

    count = spine.write_spine(sample, tmp_path / "spine.parquet")

    of_homes = pq.read_table(tmp_path / "spine.parquet", filters=[("household_id", "in", homes)])
    assert of_homes.to_pylist() == naive(rows)
    assert count == 186_673


def test_types_are_what_spark_reads(tmp_path: Path) -> None:
    pq.write_table(daily_table([]), tmp_path / "daily.parquet")
    spine.write_spine(tmp_path / "daily.parquet", tmp_path / "new" / "spine.parquet")
    schema = pq.read_schema(tmp_path / "new" / "spine.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "household_id": "string",
        "event_timestamp": "timestamp[us, tz=UTC]",
        "weekday": "int32",
        "energy_sum_next_day": "double",
    }


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*nowhere"):
        spine.write_spine(tmp_path / "nowhere.parquet", tmp_path / "out.parquet")
    pq.write_table(daily_table([]).drop_columns(["day"]), tmp_path / "daily.parquet")
    with pytest.raises(InputError, match="no column day"):
        spine.write_spine(tmp_path / "daily.parquet", tmp_path / "out.parquet")


def test_the_original_layout_gives_the_same_spine(tmp_path: Path) -> None:
    sample = ROOT / "bootstrap/data/smart_meters/daily_energy.parquet"
    homes = ["MAC000002", "MAC000393", "MAC005549"]
    table = pq.read_table(sample, filters=[("household_id", "in", homes)])
    pq.write_table(table, tmp_path / "daily.parquet")
    count = spine.write_spine(tmp_path / "daily.parquet", tmp_path / "expected.parquet")
    head = ",".join(table.column_names).replace("household_id", "LCLid")
    rows = [",".join("" if c is None else str(c) for c in r.values()) for r in table.to_pylist()]
    plain, packed = tmp_path / "block_0.csv", tmp_path / "block_1.csv.gz"
    plain.write_text("\n".join([head, *rows[0::2]]), "utf-8-sig")
    packed.write_bytes(gzip.compress("\n".join([head, *rows[1::2]]).encode()))
    assert spine.write_spine([plain, packed], tmp_path / "spine.parquet") == count > 1000
    assert pq.read_table(tmp_path / "spine.parquet").equals(
        pq.read_table(tmp_path / "expected.parquet")
    )
    plain.write_text(head.replace("day", "date") + "\n")
    with pytest.raises(InputError, match="no column day"):
        spine.write_spine(plain, tmp_path / "spine.parquet")
