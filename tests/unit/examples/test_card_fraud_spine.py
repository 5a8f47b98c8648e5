"""The spine of the fraud model, and which transaction of its chain a fraud is."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.card_fraud.chains import positions
from examples.card_fraud.generator import FRAUD_PER_10_000, Extent, draw_chains, generate, write
from examples.card_fraud.spine import write_spine
from twinlake.errors import InputError

SECOND_US = 1_000_000
EXTENT = Extent(200, 40_000, dt.date(2022, 1, 1), dt.date(2022, 3, 1), seed=5)


@pytest.fixture(scope="module")
def transactions() -> pa.Table:
    return generate(EXTENT)


def test_the_spine_is_every_transaction_as_of_itself(
    transactions: pa.Table, tmp_path: Path
) -> None:
    files = write(transactions, tmp_path / "data")
    assert len(files) > 1
    assert write_spine(files, tmp_path / "new" / "spine.parquet") == len(transactions)
    spine = pq.read_table(tmp_path / "new" / "spine.parquet")
    assert spine.schema.equals(
        pa.schema(
            [
                ("cc_num", pa.int64()),
                ("event_timestamp", pa.timestamp("us", tz="UTC")),
                ("amount", pa.decimal128(12, 2)),
                ("fraud_label", pa.int32()),
            ]
        )
    )
    rows = [
        (row["cc_num"], row["trans_ts"], row["amount"], row["fraud_label"])
        for row in transactions.to_pylist()
    ]
    assert list(zip(*(column.to_pylist() for column in spine.columns), strict=True)) == rows


def test_what_is_no_labelled_transaction_is_refused(transactions: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "spine.parquet"
    unlabelled = tmp_path / "sent.parquet"
    pq.write_table(transactions.drop_columns(["fraud_label"]), unlabelled)
    with pytest.raises(InputError, match="has no column fraud_label"):
        write_spine([unlabelled], out)
    with pytest.raises(InputError, match=r"no file .*nowhere\.parquet"):
        write_spine([tmp_path / "nowhere.parquet"], out)
    (tmp_path / "text.parquet").write_text("tid,cc_num\n")
    with pytest.raises(InputError, match="is no Parquet file"):
        write_spine([tmp_path / "text.parquet"], out)
    with pytest.raises(InputError, match="there are no transactions"):
        write_spine([], out)
    assert not out.exists()


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1_000), st.booleans()), max_size=30).map(
        lambda rows: list(
            {(card, second): (card, second, fraud) for card, second, fraud in rows}.values()
        )
    )
)
def test_positions_are_counted_along_runs_of_fraud(rows: list[tuple[int, int, bool]]) -> None:
    cards, seconds, labels = (np.array([row[part] for row in rows], np.int64) for part in range(3))
    expected = {}
    for card in set(cards.tolist()):
        before, place = None, 0
        for _, second, fraud in sorted(row for row in rows if row[0] == card):
            if fraud:
                place = place + 1 if before is not None and second - before <= 120 else 1
                expected[card, second] = place
                before = second
    found = positions(cards, seconds * SECOND_US, labels).tolist()
    assert found == [expected.get((card, second), 0) for card, second, _ in rows]


def test_the_chains_of_the_generator_are_found_again(transactions: pa.Table) -> None:
    frauds = EXTENT.transactions * FRAUD_PER_10_000 // 10_000
    # What the generator draws first.
    lengths = draw_chains(np.random.default_rng(EXTENT.seed), frauds).lengths
    times_us = transactions["trans_ts"].cast(pa.int64()).to_numpy()
    found = positions(
        transactions["cc_num"].to_numpy(), times_us, transactions["fraud_label"].to_numpy()
    )
    longer = {place: int((lengths >= place).sum()) for place in range(1, 11)}
    assert Counter(found[found > 0].tolist()) == Counter(longer)
    assert found[transactions["fraud_label"].to_numpy() == 0].max() == 0
