"""The quarantined rows of an events table: list them, and read them once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import raw_columns
from twinlake.lake import events, rows, streams, tables
from twinlake.lake.records import Records

REPLAY_OF = "_replay_of"
_SHOWN_BYTES = 200


def waiting(spark: SparkSession, path: Path, records: Records) -> DataFrame:
    """Read the quarantined rows that no later row replays, as ``streams.parsed`` gives rows.

    A record of a topic is parsed anew from its bytes, a row of a table or a folder from the text
    that was kept of it; one of a file is taken as it was read.
    """
    frame = _not_replayed(tables.read(spark, path))
    kept = frame.where(F.col("_raw").isNotNull()).select(
        F.col("_raw").alias(streams.VALUE),
        rows.ORIGIN,
        streams.PARTITION,
        rows.OFFSET,
        REPLAY_OF,
    )
    of_topic = F.col(streams.PARTITION).isNotNull()
    parsed = records.parsed(kept.where(of_topic), [REPLAY_OF])
    parsed = parsed.unionByName(records.parsed_as_json(kept.where(~of_topic), [REPLAY_OF]))
    typed = frame.where(F.col("_raw").isNull()).select(
        *(F.col(tables.quoted(name)) for name in raw_columns(records.source)),
        F.lit(None).cast("array<string>").alias(rows.UNREADABLE),
        F.lit(None).cast("binary").alias(streams.VALUE),
        rows.ORIGIN,
        streams.PARTITION,
        rows.OFFSET,
        REPLAY_OF,
    )
    return parsed.unionByName(typed)


def _not_replayed(frame: DataFrame) -> DataFrame:
    """Leave quarantined rows that wait; ``_replay_of`` names each as a replay would."""
    done = frame.where(F.col(REPLAY_OF).isNotNull()).select(REPLAY_OF).distinct()
    sequence = F.concat_ws("/", F.col("_version"), F.col("_row"))
    waiting_rows = frame.where(F.col("_verdict") == events.QUARANTINED)
    return waiting_rows.withColumn(REPLAY_OF, sequence).join(done, REPLAY_OF, "left_anti")


def listed(spark: SparkSession, path: Path, limit: int) -> tuple[list[dict[str, Any]], int]:
    """Give quarantined rows that wait, newest first, and how many there are."""
    frame = _not_replayed(tables.read(spark, path))
    shown = (
        frame.orderBy(F.col("_version").desc(), "_row")
        .limit(limit)
        .select(
            F.col(REPLAY_OF).alias("row"),
            F.col("_reasons").alias("reasons"),
            F.col("_origin").alias("origin"),
            F.col("_partition").alias("partition"),
            F.col("_offset").alias("offset"),
            F.decode(F.substring("_raw", 1, _SHOWN_BYTES), "UTF-8").alias("record"),
        )
    )
    return [row.asDict() for row in shown.collect()], frame.count()
