"""Delta tables: create, append exactly once, read as of a version.

Every table keeps in-commit timestamps: without them a commit's time is the modification time of a
file, which a copy or a touch moves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from delta.exceptions import MetadataChangedException
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.types import Field
from twinlake.errors import StateError
from twinlake.lake.failures import LIST_DAMAGE, innermost, is_of_the_machine
from twinlake.lake.log_checkpoints import NEVER_BY_DELTA, write_if_due

PROPERTIES = {"delta.enableInCommitTimestamps": "true", **NEVER_BY_DELTA}
# Whoever changes a table's columns does it once, and not again before others have a turn.
_TRIES = 5
# The version of the Delta protocol for readers that says nothing but that columns may be mapped.
_WITH_MAPPING = 2
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table.

    Attributes:
        version: Its number.
        time_us: Its in-commit timestamp; strictly increasing from commit to commit.
        metadata: What the writer said of it.
        rows: How many rows it added, where Delta says so.
    """

    version: int
    time_us: int
    metadata: Mapping[str, Any]
    rows: int


def quoted(name: str) -> str:
    """Quote a column name for Spark SQL."""
    return "`" + name.replace("`", "``") + "`"


def at(path: Path) -> str:
    """Name the table at a path in Spark SQL."""
    return f"delta.{quoted(str(path))}"


def exists(path: Path) -> bool:
    """Tell whether there is a Delta table at a path."""
    return (path / "_delta_log").is_dir()


def create(
    spark: SparkSession,
    path: Path,
    columns: Sequence[Field],
    comment: str,
    *,
    skipped_by: Sequence[str],
    partitioned_by: str = "",
) -> None:
    """Create an empty table unless it is there.

    Args:
        spark: The session.
        path: Where.
        columns: Names and types.
        comment: What it holds.
        skipped_by: Columns by which readers leave files out: Delta keeps statistics of these and
            of no others, which would cost a tenth of every write.
        partitioned_by: A column of few values, each of which gets files of its own.

    Raises:
        StateError: It is there with other columns.
    """
    if exists(path):
        _require_columns(spark, path, columns)
        return
    listed = ", ".join(f"{quoted(column.name)} {column.type}" for column in columns)
    described = PROPERTIES | {"delta.dataSkippingStatsColumns": ",".join(skipped_by)}
    properties = ", ".join(f"'{name}' = '{value}'" for name, value in described.items())
    text = comment.replace("'", "")
    partitions = f"PARTITIONED BY ({quoted(partitioned_by)}) " if partitioned_by else ""
    spark.sql(
        f"CREATE TABLE {at(path)} ({listed}) USING delta "
        f"{partitions}COMMENT '{text}' TBLPROPERTIES ({properties})"
    )


def _require_columns(spark: SparkSession, path: Path, columns: Sequence[Field]) -> None:
    found = dict(read(spark, path).dtypes)
    wanted = {column.name: column.type for column in columns}
    names = found.keys() | wanted.keys()
    _refuse_differing(path, [name for name in names if found.get(name) != wanted.get(name)])


def _refuse_differing(path: Path, names: Sequence[str]) -> None:
    if names:
        raise StateError(
            f"the table at {path} has other columns than defined: {', '.join(sorted(names))}",
            hint="move the table away, or give the changed source or view another name",
        )


def add_columns(spark: SparkSession, path: Path, columns: Sequence[Field]) -> None:
    """Add those of some columns that a table has not; files that are there stay as they are.

    Raises:
        StateError: It has one of them with another type.
    """
    found = dict(read(spark, path).dtypes)
    added = [column for column in columns if column.name not in found]
    # What an attempt left that was not gone on with is no obstacle, unless it is in the way.
    _refuse_differing(path, [c.name for c in columns if found.get(c.name, c.type) != c.type])
    if added:
        listed = ", ".join(f"{quoted(column.name)} {column.type}" for column in added)
        spark.sql(f"ALTER TABLE {at(path)} ADD COLUMNS ({listed})")


def append(
    frame: DataFrame, path: Path, *, writer: str, number: int, metadata: Mapping[str, Any]
) -> None:
    """Append rows in one commit, once for each ``(writer, number)``.

    A second append with a number that is not greater than the writer's last does nothing: Delta
    skips it by its transaction identifier.
    """
    writing = (
        frame.write.format("delta")
        .mode("append")
        .option("txnAppId", writer)
        .option("txnVersion", number)
        .option("userMetadata", json.dumps(dict(metadata), sort_keys=True))
    )
    beside_new_columns(lambda: writing.save(str(path)))
    spark = frame.sparkSession
    newest = _newest(spark, path)
    write_if_due(spark, path, newest, int(newest.version()))


def beside_new_columns(append: Callable[[], _Made]) -> _Made:
    """Append once more where a table got further columns before the rows were committed.

    Nothing is there of an append that Delta refused, and its rows have no values for new columns.
    """
    for _ in range(_TRIES - 1):
        with suppress(MetadataChangedException):
            return append()
    return append()


def read(spark: SparkSession, path: Path, version: int | None = None) -> DataFrame:
    """Read a table, the newest version or a pinned one.

    Raises:
        StateError: There is no such table or version, or its log is damaged.
    """
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    try:
        return reader.load(str(path))
    except (AnalysisException, Py4JJavaError) as error:
        if is_of_the_machine(error):
            raise
        at = "" if version is None else f" at version {version}"
        raise StateError(
            f"cannot read the table {path}{at}: {innermost(error)}",
            hint=f"was it moved, vacuumed or damaged? {LIST_DAMAGE}",
        ) from error


def since(frame: DataFrame, column: str, us: int) -> DataFrame:
    """Leave the rows whose timestamp in a column is not before a moment."""
    # Compared as timestamps, so that Delta leaves out files by their statistics.
    return frame.where(F.col(quoted(column)) >= F.timestamp_micros(F.lit(us)))


def lost_files(frame: DataFrame) -> list[Path]:
    """Name the files that a table's log says hold some rows and that are not there any more.

    Of a table on a file system that is no folder here, none is named.
    """
    places = [urlsplit(name) for name in frame.inputFiles()]
    files = [Path(unquote(place.path)) for place in places if place.scheme in {"", "file"}]
    return sorted(file for file in files if not file.exists())


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Name what cannot be read to its end; what the machine did stays what it is.

    Raises:
        StateError: It cannot.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        if is_of_the_machine(error):
            raise
        raise StateError(f"cannot read {what}: {innermost(error)}") from error


def set_property(spark: SparkSession, path: Path, name: str, value: str) -> None:
    """Set a property of a table, in a commit of its own, unless it says so already."""
    if properties(spark, path).get(name) != value:
        spark.sql(f"ALTER TABLE {at(path)} SET TBLPROPERTIES ('{name}' = '{value}')")


def properties(spark: SparkSession, path: Path) -> dict[str, str]:
    """Give a table's properties."""
    with _reading_log(path):
        about = json.loads(_newest(spark, path).metadata().json())["metaData"]
    return dict(about["configuration"])


def features_for_readers(spark: SparkSession, path: Path) -> set[str]:
    """Name what a table asks of its readers, as the Delta protocol does."""
    with _reading_log(path):
        protocol = json.loads(_newest(spark, path).protocol().json())["protocol"]
    # Before features had names, one of them came with the number of the protocol.
    by_number = {"columnMapping"} if protocol["minReaderVersion"] == _WITH_MAPPING else set()
    return by_number | set(protocol.get("readerFeatures") or ())


def require_version(spark: SparkSession, path: Path, version: int) -> Commit:
    """Give the newest version of a table, which must not be older than one that was seen.

    Raises:
        StateError: It is: its newest commits were lost, or an older copy was put in its place.
    """
    newest = last_commit(spark, path)
    if newest.version < version:
        raise StateError(
            f"the table {path} ends at version {newest.version}, but version {version} was "
            "written: its newest commits are lost",
            hint=f"{LIST_DAMAGE}; or restore _delta_log from a backup",
        )
    return newest


def delta_log(spark: SparkSession, path: Path) -> Any:  # noqa: ANN401 (an object of Java)
    """Give Delta's own view of a table's log, which it has in Java only."""
    java: Any = spark._jvm  # noqa: SLF001
    session = spark._jsparkSession  # noqa: SLF001
    return java.org.apache.spark.sql.delta.DeltaLog.forTable(session, str(path))


def last_in_session(spark: SparkSession, path: Path) -> int:
    """Give the version that this session committed last, which was to this table.

    Raises:
        StateError: The session has committed none.
    """
    version = spark.conf.get("spark.databricks.delta.lastCommitVersionInSession", None)
    if version is None:
        raise StateError(f"nothing was committed to {path} by this session")
    return int(version)


def read_commit(spark: SparkSession, path: Path, version: int) -> Commit:
    """Read one commit from its file in the log: asking for a table's history takes a job."""
    log, file = _commit_file(spark, path, version)
    with _reading_log(path):
        first = log.store().read(file, log.newDeltaHadoopConf()).head()
        info = json.loads(first)["commitInfo"]
        return Commit(
            version,
            # Tables of others may have the clock of their writer only.
            info.get("inCommitTimestamp", info["timestamp"]) * 1000,
            json.loads(info.get("userMetadata") or "{}"),
            int(info.get("operationMetrics", {}).get("numOutputRows", 0)),
        )


def last_commit(spark: SparkSession, path: Path) -> Commit:
    """Give the newest version of a table."""
    return read_commit(spark, path, newest_version(spark, path))


def newest_version(spark: SparkSession, path: Path) -> int:
    """Give the number of a table's newest version, whoever wrote it and what they said of it."""
    with _reading_log(path):
        return int(_newest(spark, path).version())


def commits(spark: SparkSession, path: Path, limit: int) -> list[Commit]:
    """Give the newest versions of a table, newest first."""
    return list(islice(commits_back(spark, path), limit))


def commits_back(spark: SparkSession, path: Path) -> Iterator[Commit]:
    """Go back through a table's versions, newest first, as far as the caller wants.

    Others may have committed since, OPTIMIZE and VACUUM among them, so no fixed number of versions
    is sure to hold what is looked for. It ends with the oldest one that the log still has.
    """
    for version in range(newest_version(spark, path), -1, -1):
        if not _has_commit(spark, path, version):
            return
        yield read_commit(spark, path, version)


def table_id(spark: SparkSession, path: Path) -> str:
    """Give the identifier that Delta gave a table when it was created."""
    with _reading_log(path):
        return str(_newest(spark, path).metadata().id())


def _commit_file(spark: SparkSession, path: Path, version: int) -> tuple[Any, Any]:
    """Give a table's log, and the file in it that holds a commit; it need not be there."""
    java: Any = spark._jvm  # noqa: SLF001
    log = delta_log(spark, path)
    return log, java.org.apache.spark.sql.delta.util.FileNames.unsafeDeltaFile(
        log.logPath(), version
    )


def _has_commit(spark: SparkSession, path: Path, version: int) -> bool:
    log, file = _commit_file(spark, path, version)
    with _reading_log(path):
        return bool(file.getFileSystem(log.newDeltaHadoopConf()).exists(file))


def _newest(spark: SparkSession, path: Path) -> Any:  # noqa: ANN401 (an object of Java)
    """Give the newest snapshot of a table, after another look at its log.

    Delta's SQL answers the same questions by jobs of Spark, a fifth of a second each.

    Raises:
        StateError: There is no table.
    """
    java: Any = spark._jvm  # noqa: SLF001
    session = spark._jsparkSession  # noqa: SLF001
    both = java.org.apache.spark.sql.delta.DeltaLog.forTableWithSnapshot(session, str(path))
    snapshot = both.productElement(1)
    if snapshot.version() < 0:
        raise StateError(f"there is no Delta table at {path}", hint=LIST_DAMAGE)
    return snapshot


@contextmanager
def _reading_log(path: Path) -> Iterator[None]:
    """Name the table whose log cannot be read; what the machine did stays what it is."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"cannot read the log of the table {path}: it does not hold what Delta writes",
            hint=LIST_DAMAGE,
        ) from error
    except (PySparkException, Py4JJavaError) as error:
        if is_of_the_machine(error):
            raise
        raise StateError(
            f"cannot read the log of the table {path}: {innermost(error)}", hint=LIST_DAMAGE
        ) from error
