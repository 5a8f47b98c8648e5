"""What the simulator sends, when, and how it lands in a folder."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from examples.card_fraud import generator, messages, simulator
from examples.card_fraud.generator import Extent, generate
from examples.card_fraud.to_folder import send_to_folder
from twinlake.errors import InputError

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FEW = Extent(cards=20, transactions=2_500, end=dt.date(2022, 1, 3))


@pytest.fixture(scope="module")
def few() -> pa.Table:
    return messages.conform(generate(FEW))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generator.write(generate(FEW), folder)
    return folder


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=messages.SENT)


def read_back(texts: list[str]) -> list[dict]:
    """Messages as a reader with exact decimals has them."""
    return [json.loads(text, parse_float=Decimal) for text in texts]


def expected(row: dict) -> dict:
    passed = None if row["trans_ts"] is None else row["trans_ts"] - EPOCH
    seconds: int | Decimal | None = None
    if passed is not None:
        microseconds = passed // dt.timedelta(microseconds=1)
        whole, part = divmod(microseconds, 1_000_000)
        seconds = Decimal(microseconds).scaleb(-6) if part else whole
    return {**row, "trans_ts": seconds}


texts = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(['"', "\\", "\n", "\x7f", "é", ""])
)
rows = st.fixed_dictionaries(
    {
        "tid": texts,
        "cc_num": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        "merchant": texts,
        "amount": st.one_of(
            st.none(), st.decimals(Decimal(-9999999999), Decimal(9999999999), places=2)
        ),
        "zip_code": texts,
        "trans_ts": st.one_of(
            st.none(),
            st.integers(-(10**15), 10**16).map(lambda us: EPOCH + dt.timedelta(microseconds=us)),
            st.integers(0, 2_000_000_000).map(lambda s: EPOCH + dt.timedelta(seconds=s)),
        ),
    }
)


@given(st.lists(rows, max_size=5))
def test_any_row_is_read_back_equal(some: list[dict]) -> None:
    told = read_back(messages.values(table(some)).to_pylist())
    assert told == [expected(row) for row in some]


def test_a_message_is_the_originals_and_an_id() -> None:
    moment = EPOCH + dt.timedelta(seconds=1_640_995_200)
    row = {
        "tid": "00ff", "cc_num": 4000000000000002, "merchant": "merchant 0042",
        "amount": Decimal("12.30"), "zip_code": "01234",
        "trans_ts": moment,
    }  # fmt: skip
    later = row | {"trans_ts": moment + dt.timedelta(microseconds=250_001)}
    first, second = messages.values(table([row, later])).to_pylist()
    assert first == (
        '{"cc_num": 4000000000000002, "merchant": "merchant 0042", "amount": 12.30, '
        '"zip_code": "01234", "trans_ts": 1640995200, "tid": "00ff"}'
    )
    assert '"trans_ts": 1640995200.250001,' in second
    assert messages.keys(table([row])).to_pylist() == ["4000000000000002"]
    assert messages.times_ms(table([row, later])) == [1_640_995_200_000, 1_640_995_200_250]


def test_a_cut_table_sends_what_is_in_the_cut(few: pa.Table) -> None:
    cut = few.slice(100, 50)
    told = read_back(messages.values(cut).to_pylist())
    assert told == [expected(row) for row in few.to_pylist()[100:150]]


def test_what_does_not_fit_is_named(few: pa.Table) -> None:
    with pytest.raises(InputError, match="no column amount, tid"):
        messages.conform(few.drop_columns(["tid", "amount"]))
    wrong = few.set_column(0, "tid", pa.array([1.5] * len(few)))
    with pytest.raises(InputError, match="do not fit"):
        messages.conform(wrong.set_column(1, "cc_num", pa.array(["x"] * len(few))))


def test_the_command_sends_all_of_a_folder_into_another(
    data: Path, few: pa.Table, tmp_path: Path
) -> None:
    done = CliRunner().invoke(simulator.run, [str(data), "--folder", str(tmp_path / "new" / "in")])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["sent"] == 2_500
    files = sorted((tmp_path / "new" / "in").iterdir())
    assert [file.name for file in files] == ["transactions-00000000.json"]
    told = read_back(files[0].read_text("utf-8").splitlines())
    assert told == [expected(row) for row in few.to_pylist()]


def test_a_limit_ends_it_across_files(data: Path, few: pa.Table, tmp_path: Path) -> None:
    for number, part in enumerate((few.slice(0, 1_000), few.slice(1_000))):
        pq.write_table(part, tmp_path / f"part-{number}.parquet")
    pieces = list(simulator.read(tmp_path, 1_200))
    assert [len(piece) for piece in pieces] == [1_000, 200]
    assert pa.concat_tables(pieces).equals(few.slice(0, 1_200))
    assert sum(len(piece) for piece in simulator.read(data)) == 2_500


def test_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no transactions in"):
        list(simulator.read(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no transactions in"):
        list(simulator.read(tmp_path))
    (tmp_path / "broken.parquet").write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list(simulator.read(tmp_path))


def test_an_environment_without_kafka_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWINLAKE_STREAM_BOOTSTRAP", raising=False)
    with pytest.raises(InputError, match="local has no Kafka"):
        simulator._bootstrap("local")
    monkeypatch.setenv("TWINLAKE_STREAM_BOOTSTRAP", "a:1, b:2")
    assert simulator._bootstrap("local") == "a:1,b:2"


def test_a_file_continues_the_names_and_replaces_none(few: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "transactions-00000007.json").write_text("kept\n")
    (tmp_path / "another.json").touch()
    assert send_to_folder([few.slice(0, 2), few.slice(2, 3)], tmp_path) == 5
    found = {file.name: file.read_text("utf-8").count("\n") for file in tmp_path.iterdir()}
    assert found == {
        "another.json": 0,
        "transactions-00000007.json": 1,
        "transactions-00000008.json": 2,
        "transactions-00000009.json": 3,
    }


def test_two_that_send_at_once_lose_nothing(few: pa.Table, tmp_path: Path) -> None:
    """The second begins when the first has looked which number is next."""

    def pieces() -> Iterator[pa.Table]:
        yield few.slice(0, 10)
        if len(list(tmp_path.glob("*.json"))) == 1:
            send_to_folder([few.slice(10, 10)], tmp_path)
        yield few.slice(20, 10)

    send_to_folder(pieces(), tmp_path)
    files = sorted(tmp_path.glob("*.json"))
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    assert len(list(tmp_path.iterdir())) == 3
    assert read_back(lines) == [expected(row) for row in few.slice(0, 30).to_pylist()]


def test_a_reader_never_sees_half_a_file(few: pa.Table, tmp_path: Path) -> None:
    """Read again and again while files are written: every file seen has all its lines."""
    seen: set[str] = set()
    halves = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for file in [name for name in os.listdir(tmp_path) if not name.startswith(".")]:  # noqa: PTH208
                if (tmp_path / file).read_text("utf-8").count("\n") != 500:
                    halves.append(file)
                seen.add(file)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        send_to_folder([few.slice(0, 500)] * 60, tmp_path)
    finally:
        done.set()
        watching.join()
    assert halves == []
    assert len(seen) > 1
    assert len(list(tmp_path.iterdir())) == 60


class Clock:
    """Time that passes only by waiting, and by what the receiver takes."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


@pytest.mark.parametrize(
    ("rate", "tick_s"), [(1_000, 0.01), (0.5, 0.01), (100, 1.0), (7_777, 0.01)]
)
def test_a_rate_holds_over_time(few: pa.Table, rate: float, tick_s: float) -> None:
    clock = Clock()
    sent = 0
    limit = 40 if rate < 1 else 2_500
    pieces = [few.slice(0, limit // 2), few.slice(limit // 2, limit - limit // 2)]
    parts = []
    for part in simulator.paced(pieces, rate, tick_s, now=clock.now, sleep=clock.sleep):
        sent += len(part)
        assert sent <= (clock.now() - 100) * rate + 1e-6  # never ahead of time
        parts.append(part)
    assert pa.concat_tables(parts).equals(few.slice(0, limit))
    assert clock.now() - 100 == pytest.approx(limit / rate, abs=2 * tick_s + 1 / rate)


def test_a_slow_receiver_is_caught_up_with(few: pa.Table) -> None:
    clock = Clock()
    parts = simulator.paced([few], 1_000, 0.01, now=clock.now, sleep=clock.sleep)
    next(parts)
    clock.sleep(1)
    assert len(next(parts)) >= 1_000
    assert len(list(simulator.paced([few], None, 1, now=clock.now, sleep=clock.sleep))) == 1


def test_live_transactions_happen_when_they_are_sent(few: pa.Table) -> None:
    moments = iter([1_000_000, 1_700_000_000_000_001, 1_700_000_000_000_002])
    first, second = simulator.live([few.slice(0, 3), few.slice(3, 3)], lambda: next(moments))
    assert first.schema.equals(messages.SENT)
    assert first["trans_ts"].cast(pa.int64()).to_pylist() == [1_700_000_000_000_001] * 3
    assert second["trans_ts"].cast(pa.int64()).to_pylist() == [1_700_000_000_000_002] * 3
    ids = [*first["tid"].to_pylist(), *second["tid"].to_pylist()]
    assert ids == [f"{tid}-f4240" for tid in few["tid"].to_pylist()[:6]]
    assert first["cc_num"].equals(few["cc_num"].slice(0, 3))
