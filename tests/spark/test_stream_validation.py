"""Great Expectations looks at what a stream landed, now and then, and stops nothing."""

from __future__ import annotations

import random

from tests.spark.benches import Bench
from tests.spark.test_streaming import DEFINITIONS, STREAM, line, payments, send, stream
from twinlake.flows.streaming import Watch

EXPECTED = """expectations=[
    Expectation("expect_table_row_count_to_be_between", min_value=50, max_value=70),
    Expectation("expect_column_values_to_be_between", column="amount", min_value=100),
]"""


def test_what_was_landed_since_the_last_look_is_looked_at(bench: Bench) -> None:
    text = DEFINITIONS % {"stream": STREAM}
    bench.define(text.replace('where="amount < 900"', EXPECTED)).apply()
    rows = payments(random.Random(61), 100)
    few = [row for row in rows if row["amount"] >= 100]
    send(bench, "0", map(line, few[:60]))
    send(bench, "1", map(line, few[60:]))
    done = stream(bench, files=1, watch=Watch(validate_every_s=3600))
    assert done.batches == 2
    # More than 70 rows in both batches together, and all of them within bounds.
    assert (done.validations, done.expectations_failed) == (1, 1)
    others = [row | {"tid": f"u{n}"} for n, row in enumerate(payments(random.Random(62), 58))]
    send(bench, "2", map(line, others))
    done = stream(bench, watch=Watch(validate_every_s=3600))
    assert (done.validations, done.expectations_failed) == (1, 1)  # of rows, by some amounts
    assert done.quarantined > 0
    docs = bench.folder / "state" / "data_docs"
    pages = sorted(page.parent.name for page in docs.rglob("index.html"))
    assert len(pages) == 2
    assert stream(bench, watch=Watch(validate_every_s=3600)).validations == 0  # nothing is new


def test_without_being_asked_it_is_not_loaded(bench: Bench) -> None:
    text = DEFINITIONS % {"stream": STREAM}
    bench.define(text.replace('where="amount < 900"', EXPECTED)).apply()
    send(bench, "0", map(line, payments(random.Random(63), 10)))
    assert stream(bench).validations == 0
