"""Make the transactions of this example: cards of a bank that does not exist, some of them stolen.

    python -m examples.card_fraud.generator OUT [--cards N] [--transactions N] [--seed N] ...

Nobody publishes such data, so it is made up, by the rules of the system that the example follows:

* each transaction has a card and a second, both at random; two may share them;
* 5 % of the amounts are 0.01 to 2.01, 7.5 % 1 to 12.01, 52.5 % 10 to 101.01, 25 % 100 to 1001.01,
  10 % 1000 to 10001.01;
* 0.25 % are fraud, in chains of 3 to 10 on one card, 30 to 120 seconds apart. A chain begins with
  an ordinary transaction; the amounts of the others favour the small: as many of each range, from
  the lowest up, as its share of them rounded up, until there is one for each.

Card numbers are made up too: 40000000, the number of the card, and the digit that the Luhn check
asks for. The same arguments give the same rows.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinlake.cli.main import report
from twinlake.errors import InputError

AMOUNT: Final = pa.decimal128(12, 2)
SCHEMA: Final = pa.schema(
    [
        ("tid", pa.string()),
        ("cc_num", pa.int64()),
        ("merchant", pa.string()),
        ("amount", AMOUNT),
        ("zip_code", pa.string()),
        ("trans_ts", pa.timestamp("us", tz="UTC")),
        ("fraud_label", pa.int32()),
    ]
)

# Of a thousand transactions, how many are in a range; and its ends, in cents.
SHARES: Final = (50, 75, 525, 250, 100)
LOWEST: Final = np.array([1, 100, 1_000, 10_000, 100_000])
HIGHEST: Final = np.array([201, 1_201, 10_101, 100_101, 1_000_101])

FRAUD_PER_10_000: Final = 25
SHORTEST_CHAIN, LONGEST_CHAIN = 3, 10
SHORTEST_GAP_S, LONGEST_GAP_S = 30, 120

MERCHANTS: Final = 2_000
MOST_CARDS: Final = 10_000_000  # what seven digits count
MOST_SEED: Final = (1 << 24) - 1
_MOST_TRANSACTIONS: Final = 100_000_000  # all in one table
_CARD_PREFIX: Final = 40_000_000
_DAY_S: Final = 86_400

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is made.

    Attributes:
        cards: How many cards there are; with few transactions not every one has some.
        transactions: How many there are, fraud included.
        start: The first day, UTC.
        end: The day after the last.
        seed: Another seed, other transactions; their ids differ too.
    """

    cards: int = 10_000
    transactions: int = 5_400_000
    start: dt.date = dt.date(2022, 1, 1)
    end: dt.date = dt.date(2022, 6, 1)
    seed: int = 123

    def __post_init__(self) -> None:
        for name, least, most in (
            ("cards", 1, MOST_CARDS),
            ("transactions", 1, _MOST_TRANSACTIONS),
            ("seed", 0, MOST_SEED),
        ):
            found = getattr(self, name)
            if not least <= found <= most:
                raise InputError(f"{name} is {found}, expected {least} to {most}")
        if self.start >= self.end:
            raise InputError(
                f"the first day, {self.start}, is not before the end, {self.end}",
                hint="the end is the day after the last one",
            )

    @property
    def start_s(self) -> int:
        """The first second, counted from 1970."""
        return (self.start - dt.date(1970, 1, 1)).days * _DAY_S

    @property
    def seconds(self) -> int:
        """How many seconds there are."""
        return (self.end - self.start).days * _DAY_S


@dataclass(frozen=True, slots=True)
class Chains:
    """The transactions of the chains, without their first ones; in blocks, chain by chain.

    Attributes:
        lengths: How many transactions each chain has, shape (chains,), the first one counted.
        after_s: How long after the first of its chain each of the others is, shape (others,).
        ranges: Which range of amounts each of them has, shape (others,).
    """

    lengths: Numbers
    after_s: Numbers
    ranges: Numbers


def card_numbers(cards: int) -> Numbers:
    """The numbers of the first so many cards; a card has the same number in all data."""
    body = _CARD_PREFIX * 10_000_000 + np.arange(cards, dtype=np.int64)  # all digits but the check
    digits = body[:, None] // 10 ** np.arange(15, dtype=np.int64) % 10  # from the right
    doubled = digits[:, ::2] * 2
    total = (doubled - 9 * (doubled > 9)).sum(axis=1) + digits[:, 1::2].sum(axis=1)
    numbers: Numbers = body * 10 + (-total) % 10
    return numbers


def transaction_ids(count: int, seed: int) -> pa.Array:
    """Ids of 16 hexadecimal digits; no two are equal, not of different seeds either.

    Each is a number of its own, mixed by steps that can be undone, so nothing can collide.
    """
    mixed = np.arange(count, dtype=np.uint64) + np.uint64(seed << 40)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    pairs = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), "S2")
    text = pairs[mixed.astype(">u8").view(np.uint8)]
    offsets = np.arange(count + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def draw_chains(rng: np.random.Generator, frauds: int) -> Chains:
    """Cut so many transactions into chains; fewer than the shortest chain give none."""
    lengths, left = [], frauds if frauds >= SHORTEST_CHAIN else 0
    while left:
        fitting = [
            length
            for length in range(SHORTEST_CHAIN, LONGEST_CHAIN + 1)
            if left - length == 0 or left - length >= SHORTEST_CHAIN
        ]
        lengths.append(fitting[rng.integers(len(fitting))])
        left -= lengths[-1]
    others = np.array(lengths, np.int64) - 1
    chain = np.repeat(np.arange(len(others)), others)
    gaps = rng.integers(SHORTEST_GAP_S, LONGEST_GAP_S + 1, len(chain))
    passed = np.cumsum(gaps)
    before = np.concatenate([[0], passed])[np.cumsum(others) - others]  # up to a chain's own first
    ranges = np.concatenate([[], *(_ranges(int(count)) for count in others)]).astype(np.int64)
    shuffled = np.lexsort((rng.random(len(chain)), chain))
    return Chains(others + 1, passed - before[chain], ranges[shuffled])


def _ranges(others: int) -> list[int]:
    """Which ranges the amounts behind a chain's first one have."""
    rounded_up = [-(-others * share // 1000) for share in SHARES]
    return [kind for kind, count in enumerate(rounded_up) for _ in range(count)][:others]


def _mix(rng: np.random.Generator, count: int) -> Numbers:
    """Ranges of amounts in exactly their shares, shuffled."""
    ends = np.cumsum(SHARES) * count // 1000
    ranges = np.searchsorted(ends, np.arange(count), side="right").astype(np.int64)
    rng.shuffle(ranges)
    return ranges


def generate(extent: Extent) -> pa.Table:
    """Make the transactions, ordered by time, with the columns of ``SCHEMA``."""
    rng = np.random.default_rng(extent.seed)
    count = extent.transactions
    chains = draw_chains(rng, count * FRAUD_PER_10_000 // 10_000)
    others = chains.lengths - 1
    ordinary = count - len(chains.after_s)
    seconds = rng.integers(0, extent.seconds, ordinary)
    cards = rng.integers(0, extent.cards, ordinary)
    ranges = np.concatenate([_mix(rng, ordinary), chains.ranges])
    # A chain must end before the data does.
    longest = (LONGEST_CHAIN - 1) * LONGEST_GAP_S
    firsts = rng.choice(
        np.flatnonzero(seconds < extent.seconds - longest), len(others), replace=False
    )
    seconds = np.concatenate([seconds, np.repeat(seconds[firsts], others) + chains.after_s])
    cards = np.concatenate([cards, np.repeat(cards[firsts], others)])
    fraud = np.zeros(count, np.int32)
    fraud[firsts] = 1
    fraud[ordinary:] = 1
    width = (HIGHEST - LOWEST)[ranges]
    cents = np.rint(LOWEST[ranges] + rng.random(count) * width).astype(np.int64)
    merchants = rng.integers(0, MERCHANTS, count)
    order = np.argsort(seconds, kind="stable")
    moments = (seconds[order] + extent.start_s) * 1_000_000
    columns = [
        transaction_ids(count, extent.seed),
        pa.array(card_numbers(extent.cards)[cards[order]]),
        pc.take(pa.array([f"merchant {n:04d}" for n in range(MERCHANTS)]), merchants),
        decimals(cents[order], AMOUNT),
        pc.take(pa.array([f"{n * 7919 % 100_000:05d}" for n in range(MERCHANTS)]), merchants),
        pa.array(moments).cast(pa.timestamp("us", tz="UTC")),
        pa.array(fraud[order]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def decimals(unscaled: Numbers, kind: pa.Decimal128Type) -> pa.Array:
    """Numbers of the last decimal, such as cents, as decimals.

    Their 128 bits are laid down as Arrow has them, which costs nothing.
    """
    wide = np.stack([unscaled, unscaled >> 63], axis=1)  # low half, then the sign
    return pa.Array.from_buffers(kind, len(unscaled), [None, pa.py_buffer(wide)])


def write(table: pa.Table, folder: Path, *, by_month: bool = True) -> list[Path]:
    """Write transactions that are ordered by time as Parquet.

    Args:
        table: What ``generate`` gives.
        folder: Where the files go; files of the same names are replaced.
        by_month: One file a month, else one in all.

    Returns:
        The files, in the order of time.

    Raises:
        InputError: The folder holds Parquet files that these would not replace.
    """
    parts = {"transactions.parquet": table}
    if by_month:
        moments = table["trans_ts"].to_numpy().astype("datetime64[M]")
        months, starts = np.unique(moments, return_index=True)
        ends = [*starts[1:], len(table)]
        parts = {
            f"transactions-{month}.parquet": table.slice(start, end - start)
            for month, start, end in zip(months, starts, ends, strict=True)
        }
    foreign = sorted({file.name for file in folder.glob("*.parquet")} - set(parts))
    if foreign:
        raise InputError(
            f"{folder} holds files of other data: {', '.join(foreign[:5])}",
            hint="choose another folder, or remove them: who reads the folder reads all of it",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        aside = folder / f".{name}.{os.getpid()}"
        pq.write_table(part, aside, compression="zstd", row_group_size=1 << 19)
        aside.replace(folder / name)
    return [folder / name for name in parts]


_DEFAULT: Final = Extent()


@click.command(context_settings={"show_default": True})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--cards", default=_DEFAULT.cards)
@click.option("--transactions", default=_DEFAULT.transactions)
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), default=str(_DEFAULT.start))
@click.option("--end", type=click.DateTime(["%Y-%m-%d"]), default=str(_DEFAULT.end))
@click.option("--seed", default=_DEFAULT.seed)
@click.option("--one-file", is_flag=True, help="Instead of one file a month.")
def run(
    out: Path,
    cards: int,
    transactions: int,
    start: dt.datetime,
    end: dt.datetime,
    seed: int,
    *,
    one_file: bool,
) -> None:
    """Write made-up card transactions as Parquet files into the folder OUT."""
    extent = Extent(cards, transactions, start.date(), end.date(), seed)
    table = generate(extent)
    files = write(table, out, by_month=not one_file)
    frauds = pc.sum(table["fraud_label"]).as_py()
    print(f"{len(table):,} transactions, {frauds:,} of them fraud, in {len(files)} files in {out}")


if __name__ == "__main__":
    raise SystemExit(report(run, as_json=False))
