"""The made-up transactions: as many, as mixed and as stolen as they are said to be."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from examples.card_fraud import generator
from examples.card_fraud.generator import Extent, draw_chains, generate
from twinlake.errors import InputError

MONTHS = Extent(500, 60_000, dt.date(2022, 1, 1), dt.date(2022, 3, 1), seed=7)


@pytest.fixture(scope="module")
def months() -> pa.Table:
    return generate(MONTHS)


def test_the_counts_are_as_asked(months: pa.Table) -> None:
    assert len(months) == 60_000
    assert pc.sum(months["fraud_label"]).as_py() == 150
    assert pc.count_distinct(months["cc_num"]).as_py() == 500
    assert pc.count_distinct(months["tid"]).as_py() == 60_000
    assert months.schema.equals(generator.SCHEMA)
    assert sum(column.null_count for column in months.columns) == 0
    months.validate(full=True)


def test_they_are_in_the_order_of_time_and_within_the_days(months: pa.Table) -> None:
    moments = months["trans_ts"].to_numpy()
    assert (np.diff(moments) >= np.timedelta64(0)).all()
    assert moments[0] >= np.datetime64("2022-01-01")
    assert moments[-1] < np.datetime64("2022-03-01")
    # Spread over the days: each has its share, give or take.
    counts = np.unique(moments.astype("datetime64[D]"), return_counts=True)[1]
    assert len(counts) == 59
    assert counts.min() > 800
    assert counts.max() < 1_250


def test_the_same_arguments_give_the_same_rows_and_another_seed_others(months: pa.Table) -> None:
    assert generate(MONTHS).equals(months)
    other = generate(Extent(500, 60_000, MONTHS.start, MONTHS.end, seed=8))
    assert not set(other["tid"].to_pylist()) & set(months["tid"].to_pylist())
    assert not other["trans_ts"].equals(months["trans_ts"])
    assert set(other["cc_num"].to_pylist()) == set(months["cc_num"].to_pylist())


def test_amounts_have_their_mix(months: pa.Table) -> None:
    # Between the ranges' overlaps, so that each amount can come from one range only.
    amounts = months["amount"].cast(pa.float64()).to_numpy()
    shares = {
        "up to 1": np.mean(amounts < 1),
        "2.01 to 10": np.mean((amounts > 2.01) & (amounts < 10)),
        "12.01 to 100": np.mean((amounts > 12.01) & (amounts < 100)),
        "101.01 to 1000": np.mean((amounts > 101.01) & (amounts < 1000)),
        "more than 1001.01": np.mean(amounts > 1001.01),
    }
    expected = {
        "up to 1": 0.05 * 99 / 200,
        "2.01 to 10": 0.075 * 799 / 1101,
        "12.01 to 100": 0.525 * 8799 / 9101,
        "101.01 to 1000": 0.25 * 89899 / 90001,
        "more than 1001.01": 0.10 * 9000 / 9001,
    }
    assert shares == pytest.approx(expected, abs=0.004)
    assert amounts.min() >= 0.01
    assert amounts.max() <= 10001.01


def test_frauds_are_chains_on_one_card(months: pa.Table) -> None:
    frauds: dict[int, list[float]] = {}
    for row in months.filter(pc.equal(months["fraud_label"], 1)).to_pylist():
        frauds.setdefault(row["cc_num"], []).append(row["trans_ts"].timestamp())
    lengths = []
    for moments in frauds.values():
        length = 1
        for before, after in pairwise(moments):
            if after - before <= 120:
                assert after - before >= 30
                length += 1
            else:
                lengths.append(length)
                length = 1
        lengths.append(length)
    assert sum(lengths) == 150
    assert min(lengths) >= 3
    assert max(lengths) <= 10
    assert len(set(lengths)) > 4


def test_chains_end_before_the_data_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "FRAUD_PER_10_000", 5_000)  # so many that some begin late
    table = generate(Extent(200, 20_000, dt.date(2022, 1, 1), dt.date(2022, 1, 2)))
    assert pc.sum(table["fraud_label"]).as_py() == 10_000
    assert table["trans_ts"][-1].as_py() < dt.datetime(2022, 1, 2, tzinfo=dt.UTC)


def test_fraud_stands_out_from_its_card(months: pa.Table) -> None:
    with duckdb.connect() as engine:
        engine.register("transactions", months)
        means = engine.execute(
            "SELECT fraud_label, avg(n) FROM (SELECT fraud_label, count(*) OVER (PARTITION BY "
            "cc_num ORDER BY trans_ts RANGE INTERVAL 10 MINUTES PRECEDING) AS n FROM transactions)"
            " GROUP BY fraud_label ORDER BY fraud_label"
        ).fetchall()
    assert means == [(0, pytest.approx(1.02, abs=0.02)), (1, pytest.approx(4.1, abs=0.5))]


@given(st.integers(0, 400), st.integers(0, 1000))
def test_any_number_of_frauds_is_cut_into_chains(frauds: int, seed: int) -> None:
    chains = draw_chains(np.random.default_rng(seed), frauds)
    assert chains.lengths.sum() == (frauds if frauds >= 3 else 0)
    assert all(3 <= length <= 10 for length in chains.lengths)
    ends = np.cumsum(chains.lengths - 1)
    assert len(chains.after_s) == len(chains.ranges) == (ends[-1] if len(ends) else 0)
    for begin, end in zip(ends - (chains.lengths - 1), ends, strict=True):
        gaps = np.diff(np.concatenate([[0], chains.after_s[begin:end]]))
        assert ((gaps >= 30) & (gaps <= 120)).all()
        # From the lowest range up, the share of each rounded up: small amounts come first.
        count = end - begin
        expected = [0, 1, *[2] * -(-count * 525 // 1000), *[3] * -(-count * 25 // 100), 4][:count]
        assert Counter(chains.ranges[begin:end]) == Counter(expected)


def test_every_length_of_chain_is_as_likely() -> None:
    lengths = draw_chains(np.random.default_rng(1), 20_000).lengths
    shares = np.bincount(lengths, minlength=11)[3:] / len(lengths)
    assert shares == pytest.approx(np.full(8, 1 / 8), abs=0.03)


def test_card_numbers_look_like_numbers_of_cards() -> None:
    numbers = generator.card_numbers(12_000)
    assert len(set(numbers.tolist())) == 12_000
    for number in numbers[::97]:
        digits = [int(digit) for digit in str(number)]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[0::2]]
        assert len(digits) == 16
        assert digits[0] == 4
        assert (sum(doubled) + sum(digits[1::2])) % 10 == 0
    assert (generator.card_numbers(3) == numbers[:3]).all()


def test_names_are_no_names_of_anybody(months: pa.Table) -> None:
    assert pc.all(pc.match_substring_regex(months["merchant"], r"^merchant \d{4}$")).as_py()
    assert pc.all(pc.match_substring_regex(months["zip_code"], r"^\d{5}$")).as_py()
    assert pc.any(pc.starts_with(months["zip_code"], "0")).as_py()  # text, so a zero is kept
    assert pc.all(pc.match_substring_regex(months["tid"], r"^[0-9a-f]{16}$")).as_py()


def test_amounts_are_laid_down_as_arrow_reads_them() -> None:
    cents = np.array([0, 1, 99, 100, 1_000_101, -1, -250])
    told = [str(amount) for amount in generator.decimals(cents, generator.AMOUNT).to_pylist()]
    assert told == ["0.00", "0.01", "0.99", "1.00", "10001.01", "-0.01", "-2.50"]


def test_the_command_writes_a_file_a_month(months: pa.Table, tmp_path: Path) -> None:
    arguments = ["--cards=500", "--transactions=60000", "--end=2022-03-01", "--seed=7"]
    done = CliRunner().invoke(generator.run, [str(tmp_path / "out"), *arguments])
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [
        "transactions-2022-01.parquet",
        "transactions-2022-02.parquet",
    ]
    parts = [pq.read_table(file) for file in files]
    assert pa.concat_tables(parts).equals(months)
    assert parts[1]["trans_ts"][0].as_py() >= dt.datetime(2022, 2, 1, tzinfo=dt.UTC)
    assert "60,000 transactions, 150 of them fraud, in 2 files" in done.output


def test_other_data_in_the_folder_is_not_mixed_with(months: pa.Table, tmp_path: Path) -> None:
    generator.write(months, tmp_path)
    generator.write(months, tmp_path)  # the same names are replaced
    with pytest.raises(InputError, match=r"transactions-2022-01\.parquet"):
        generator.write(months, tmp_path, by_month=False)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cards": 0}, "cards is 0"),
        ({"cards": 10_000_001}, "10000000"),
        ({"transactions": 0}, "transactions is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"end": dt.date(2022, 1, 1)}, "not before the end"),
    ],
)
def test_what_cannot_be_made_is_named(wrong: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Extent(**wrong)


def test_few_rows_have_no_fraud() -> None:
    table = generate(Extent(cards=3, transactions=1_199, end=dt.date(2022, 1, 2)))
    assert (len(table), pc.sum(table["fraud_label"]).as_py()) == (1_199, 0)
    assert len(generate(Extent(cards=1, transactions=1))) == 1
