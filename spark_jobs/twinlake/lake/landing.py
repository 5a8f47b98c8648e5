"""Land a batch: every row with a verdict, in one commit to the events table.

Identity: same id and same bytes is a duplicate; same id and other bytes is quarantined. Of several
rows in a batch that claim a new id, the one with the smallest hash and then the first place wins,
whatever the order in which they were read. A quarantined row claims no id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from delta.exceptions import ConcurrentTransactionException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.crash_points import reached
from twinlake.definitions.resolution import all_columns, raw_columns
from twinlake.definitions.sources import KNOWN_AT_ARRIVAL, KNOWN_AT_EVENT, Source
from twinlake.definitions.times import MAX_US, parse_duration_us
from twinlake.lake import arrays, events, gate, rows, tables
from twinlake.lake.forgotten import Forgotten
from twinlake.lake.streams import VALUE as RECORD

# The condition on a judged row under which it passes the gate.
PASSES = "_reasons IS NULL"
# Times that nothing can come before: meters and cards are younger, and Spark and Cassandra both
# hold it.
_EARLIEST_US = -2_208_988_800_000_000  # 1900-01-01
# Whether a row breaks no rule. Asked alone, it is a fraction of the work of naming what is broken.
CLEAN = "_is_clean"
# Whether its key was forgotten: nothing of it is kept but its place.
FORGOTTEN = "_is_forgotten"


@dataclass(frozen=True)
class Portion:
    """Files to read, and which of their event times.

    Attributes:
        paths: The files.
        after_us: Rows up to this event timestamp were landed before; None when none were.
    """

    paths: Sequence[str]
    after_us: int | None


@dataclass(frozen=True)
class Batch:
    """What to land, and as what.

    Attributes:
        name: Identifies the batch in its rows and in the commit.
        version: The ingest version that its rows carry.
        portions: What to read.
        file_format: ``parquet`` or ``csv``.
        through_us: Rows up to this event timestamp take part, it included.
        landed_us: When the landing began; what "ahead of time" is measured by.
        key_columns: Join keys of the views on the source; a row without them is of no use.
        forgotten: The forgotten keys that its rows may belong to.
    """

    name: str
    version: int
    portions: Sequence[Portion]
    file_format: str
    through_us: int
    landed_us: int
    key_columns: Sequence[str]
    forgotten: Forgotten | None = None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Rows of a batch by verdict, and the newest accepted event."""

    accepted: int
    duplicate: int
    quarantined: int
    newest_event_us: int | None
    erased: int = 0

    @property
    def read(self) -> int:
        """Rows read: the sum of all verdicts."""
        return self.accepted + self.duplicate + self.quarantined + self.erased


def land(spark: SparkSession, path: Path, source: Source, batch: Batch) -> None:
    """Append a batch to the events table, in one commit; landing it twice changes nothing."""
    judged = judge(spark, source, batch)
    frame = _settle_identities(spark, path, source, judged)
    system = {
        "_version": F.lit(batch.version).cast("bigint"),
        "_row": F.monotonically_increasing_id(),
        "_batch": F.lit(batch.name),
        "_partition": F.lit(None).cast("int"),
        "_replay_of": F.lit(None).cast("string"),
    }
    reached("landing.judged")
    names = [column.name for column in events.columns(source)]
    frame = frame.withColumns(system)
    if batch.forgotten is not None:
        frame = frame.withColumns(events.without_forgotten(names, F.col(FORGOTTEN)))
    tables.append(
        frame.select(*map(tables.quoted, names)),
        path,
        writer=writer(source),
        number=batch.version,
        metadata={"batch": batch.name, "ingest_version": batch.version},
    )


def fence(spark: SparkSession, path: Path, source: Source, version: int) -> None:
    """Spend the number of a batch that was not committed, so that nobody can commit it later.

    Whoever still tries is refused by Delta, which lets one commit only carry a writer's number. If
    it was committed after all, nothing happens here, or Delta refuses this one.
    """
    empty = tables.read(spark, path).limit(0)
    with suppress(ConcurrentTransactionException):  # it was committed; the caller looks
        tables.append(
            empty, path, writer=writer(source), number=version, metadata={"fence": version}
        )


def writer(source: Source) -> str:
    """Name the one who lands a source, by whose numbers Delta knows a repeated append."""
    return f"twinlake/lander/{source.name}"


def judge(spark: SparkSession, source: Source, batch: Batch) -> DataFrame:
    """Read a batch with derived columns, and the reasons for which rows do not pass the gate."""
    incoming = _incoming(spark, source, batch)
    return judge_rows(incoming, source, batch.key_columns, batch.landed_us, batch.forgotten)


def landed_rows(
    spark: SparkSession, path: Path, source: Source, after_version: int, version: int
) -> DataFrame:
    """Read what was landed after an ingest version, up to another one, whatever the verdicts.

    Of erased rows there is nothing to read.
    """
    landed = tables.read(spark, path).where(F.col("_version") > after_version)
    landed = landed.where(F.col("_verdict") != events.ERASED)
    return events.derive(landed.where(F.col("_version") <= version), source)


def verdicts(spark: SparkSession, path: Path, version: int) -> Verdicts | None:
    """Count what a landed batch came to; None when there is no such batch."""
    found = (
        tables.read(spark, path)
        .where(F.col("_version") == version)
        .groupBy("_verdict")
        .agg(F.count("*").alias("rows"), F.max(F.unix_micros("_event_timestamp")).alias("newest"))
        .collect()
    )
    if not found:
        return None
    count = {row["_verdict"]: row.rows for row in found}
    newest = {row["_verdict"]: row.newest for row in found}
    return Verdicts(
        count.get(events.ACCEPTED, 0),
        count.get(events.DUPLICATE, 0),
        count.get(events.QUARANTINED, 0),
        newest.get(events.ACCEPTED),
        count.get(events.ERASED, 0),
    )


def _incoming(spark: SparkSession, source: Source, batch: Batch) -> DataFrame:
    """Read the rows that the batch takes in, with derived columns and event timestamp."""
    frames = []
    for portion in batch.portions:
        frame = rows.read_files(spark, source, portion.paths, batch.file_format)
        frame = events.derive(frame, source)
        frame = frame.withColumn("_event_timestamp", F.col(tables.quoted(source.event_timestamp)))
        # A row whose time cannot be read belongs to no interval; it comes with the first portion.
        event_us = F.unix_micros("_event_timestamp")
        if portion.after_us is not None:
            frame = frame.where(event_us > portion.after_us)
        if batch.through_us < MAX_US:
            in_time = event_us <= batch.through_us
            frame = frame.where(
                in_time | event_us.isNull() if portion.after_us is None else in_time
            )
        frames.append(frame)
    return reduce(DataFrame.unionByName, frames)


def _known(source: Source) -> Column:
    # Loaded history stays "known when it happened": its arrival says nothing about it.
    if source.known in {KNOWN_AT_EVENT, KNOWN_AT_ARRIVAL}:
        return F.col("_event_timestamp")
    return F.col(tables.quoted(source.known))


def judge_rows(
    frame: DataFrame,
    source: Source,
    key_columns: Sequence[str],
    landed_us: int | None,
    forgotten: Forgotten | None = None,
) -> DataFrame:
    """Add known time, hashes, whether a row is clean and the reasons for which it is not.

    Args:
        frame: The rows, with derived columns and ``_event_timestamp``.
        source: Their source.
        key_columns: Join keys of the views on the source; a row without them is of no use.
        landed_us: What "ahead of time" is measured by; None: it is asked elsewhere.
        forgotten: The forgotten keys that they may belong to; such a row is never clean.
    """
    hash_a, hash_b = events.row_hash(list(raw_columns(source)))
    needed = dict.fromkeys([*source.event_id_columns, *key_columns])
    event_us = F.unix_micros("_event_timestamp")
    rules = [
        ("no event timestamp", F.col("_event_timestamp").isNotNull()),
        ("no known timestamp", F.col("_known_timestamp").isNotNull()),
        ("event timestamp before 1900", F.coalesce(event_us >= _EARLIEST_US, F.lit(True))),
        *((f"{name}: a key must not be null", F.col(name).isNotNull()) for name in needed),
        *gate.finite_rules(all_columns(source)),
        *gate.expectation_rules(source.row_expectations),
    ]
    if landed_us is not None:
        in_time = event_us <= latest_us(source, landed_us)
        rules.append((ahead_reason(source), F.coalesce(in_time, F.lit(True))))
    frame = frame.withColumn("_known_timestamp", _known(source))
    frame = frame.withColumns({"_hash_a": hash_a, "_hash_b": hash_b})
    unreadable = F.col(rows.UNREADABLE)
    is_forgotten = F.lit(False)
    if forgotten is not None:
        raw = F.col(rows.RAW if rows.RAW in frame.columns else RECORD)
        is_forgotten = forgotten.rows(source, unreadable, raw)
    frame = frame.withColumn(FORGOTTEN, is_forgotten)
    # A row that could not be read says why; what else its nulls break would only distract.
    frame = frame.withColumns(
        {
            CLEAN: unreadable.isNull() & ~F.col(FORGOTTEN) & gate.passes_all(rules),
            "_reasons": F.coalesce(unreadable, gate.reasons(rules)),
        }
    )
    return frame.drop(rows.UNREADABLE)


def latest_us(source: Source, landed_us: int) -> int:
    """Give the latest event time that a row of a landing may have."""
    return landed_us + parse_duration_us(source.max_ahead)


def ahead_reason(source: Source) -> str:
    """Say why a row is quarantined whose event time is later than that."""
    return f"event timestamp more than {source.max_ahead} ahead of its landing"


def _settle_identities(
    spark: SparkSession, path: Path, source: Source, judged: DataFrame
) -> DataFrame:
    """Give every row its verdict.

    Most identities are claimed once. A hash of each, 64 bits, finds those that may not be; only
    their rows are then looked at one by one.
    """
    identity = list(source.event_id_columns) or ["_hash_a", "_hash_b"]
    clean = F.col(CLEAN)
    hashed = F.xxhash64(*identity)
    landed = tables.read(spark, path).where(F.col("_verdict") == events.ACCEPTED)
    landed = events.derive(landed, source)  # an identity may be a derived column
    # Chosen by "when", not by "where": a filter would compute derived columns once for each rule.
    claimed = judged.select(F.when(clean, hashed).alias("claim"), F.lit(False).alias("landed"))
    claimed = claimed.unionByName(landed.select(hashed.alias("claim"), F.lit(True).alias("landed")))
    repeated = claimed.repartition("claim").mapInArrow(_repeated, "claim bigint")
    if repeated.isEmpty():
        verdict = F.when(clean, events.ACCEPTED).otherwise(events.QUARANTINED)
        return judged.withColumn("_verdict", verdict).drop(CLEAN)
    claims = judged.where(clean).withColumn("_landed", F.lit(0))
    claims = claims.unionByName(landed.withColumn("_landed", F.lit(1)), allowMissingColumns=True)
    claims = claims.withColumn("claim", hashed).join(repeated, "claim", "left_semi")
    winners = _winners(claims, identity)
    return _with_verdicts(judged, winners, identity, conflict_reason(source)).drop(CLEAN)


def conflict_reason(source: Source) -> str:
    """Say why a row is quarantined whose identity belongs to another one."""
    named = ", ".join(source.event_id_columns) or "row"
    return f"{named}: another row with other content has this identity"


def _repeated(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Find claims that are there more than once, not only among what is landed."""
    table = arrays.gather(batches)
    if table is None:
        return
    table = table.filter(pc.is_valid(table.column("claim"))).combine_chunks()
    if not table.num_rows:
        return
    claims, is_new = arrays.integers(table, "claim"), ~table.column("landed").to_numpy()
    order = np.argsort(claims)
    claims, is_new = claims[order], is_new[order]
    starts = np.flatnonzero(np.r_[True, claims[1:] != claims[:-1]])
    sizes = np.diff(np.r_[starts, len(claims)])
    chosen = (sizes > 1) & np.logical_or.reduceat(is_new, starts)
    yield pa.RecordBatch.from_arrays([pa.array(claims[starts[chosen]])], ["claim"])


def _winners(claims: DataFrame, identity: list[str]) -> DataFrame:
    """Find who gets each contested identity: the row that is landed, or the first claim."""
    place = F.struct("_hash_a", "_hash_b", "_origin", "_offset").alias("claim")
    rank = (1 - F.col("_landed")).alias("rank")
    return claims.groupBy(*identity).agg(F.min(F.struct(rank, place)).alias("_winner"))


def _with_verdicts(
    judged: DataFrame, winners: DataFrame, identity: list[str], reason: str
) -> DataFrame:
    """Judge rows by who has their identity; without a winner nobody contests it."""
    clean = F.col(CLEAN)
    winner = F.col("_winner.claim")
    place = F.struct("_hash_a", "_hash_b", "_origin", "_offset")
    is_winner = (F.col("_winner.rank") == 1) & (winner == place)
    same_bytes = (winner["_hash_a"] == F.col("_hash_a")) & (winner["_hash_b"] == F.col("_hash_b"))
    verdict = (
        F.when(~clean, events.QUARANTINED)
        .when(winner.isNull() | is_winner, events.ACCEPTED)
        .when(same_bytes, events.DUPLICATE)
        .otherwise(events.QUARANTINED)
    )
    conflict = F.array(F.lit(reason))
    reasons = F.when(clean & (verdict == events.QUARANTINED), conflict).otherwise(F.col("_reasons"))
    frame = judged.join(winners, identity, "left")
    return frame.withColumn("_verdict", verdict).withColumn("_reasons", reasons)
