"""A training set never changes: rebuilt from its receipt alone, whatever became of the lake."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bad_input import Place, Result, call
from tests.spark import meters
from tests.spark.benches import Bench, Cells
from twinlake.cli.context import Context
from twinlake.definitions.times import MAX_US
from twinlake.errors import InputError, StateError
from twinlake.flows import catalogue, maintaining, rebuilding, training_sets
from twinlake.flows.landing import land_files
from twinlake.flows.maintaining import Work
from twinlake.flows.rebuilding import DIFFERS, GONE, SAME, Rebuilt
from twinlake.flows.training_sets import TrainingSet
from twinlake.lake import events, maintenance, tables
from twinlake.models.receipts import Receipt
from twinlake.version import code_version

DEFINITIONS = """
from twinlake import Request, on_demand

meter = Entity("meter", join_keys={"meter": "string"})
daily = Source(
    "daily", schema="id bigint, meter string, at timestamp, made timestamp, kwh double",
    event_timestamp="at", known="made", event_id="id", batch=Files("in"),
    with_columns={"wh": Derived("double", "kwh * 1000")},
)
usage = FeatureView(
    "usage", entity=meter, source=daily, hop="1d", ttl="20d",
    features=[
        Column("kwh"),
        Aggregate("sum", "wh", windows={"wh_3d": "3d"}),
        Aggregate("count", windows={"days_5d": "5d"}),
    ],
)
FEE = 2.0

def with_fee(price):
    return FEE * price

@on_demand(inputs=[usage.select("kwh"), Request(price="double")], outputs={"cost": "double"})
def cost(f):
    return {"cost": with_fee(f["price"]) * f["kwh"]}

forecast = FeatureService("forecast", features=[usage, cost])
"""
WIDER = DEFINITIONS.replace("kwh double", "kwh double, tariff string").replace(
    'Files("in")', 'Files("in", may_lack=["tariff"])'
)
CHANGED = WIDER.replace('"wh_3d": "3d"', '"wh_3d": "4d"')
SCHEMA = meters.SCHEMA.remove(3).append(pa.field("made", pa.timestamp("us", "UTC")))
INSTANT = pa.timestamp("us", "UTC")
SPINE_SCHEMA = pa.schema(
    [
        ("meter", pa.string()),
        ("event_timestamp", INSTANT),
        ("price", pa.float64()),
        ("y", pa.int64()),
    ]
)
KEYS = 6


def readings(days: range, seed: int, first_id: int, late_days: float = 0.0) -> list[Cells]:
    """One reading a meter and day, known so many days after it happened."""
    draw = random.Random(seed)
    rows = []
    for number in days:
        for key in range(KEYS):
            at = number + draw.random()
            rows.append(
                {
                    "id": first_id + 1_000 * number + key,
                    "meter": f"m{key}",
                    "at": meters.day(at),
                    "made": meters.day(at + late_days),
                    "kwh": draw.choice([None, draw.uniform(0, 30), 0.1]),
                }
            )
    return rows


def spine_rows() -> list[Cells]:
    draw = random.Random(8)
    rows = [
        {
            "meter": f"m{draw.randrange(KEYS + 1)}",  # the last one was never seen
            "event_timestamp": meters.day(draw.uniform(-1, 9)),
            "price": draw.choice([None, 0.25, 3.5]),
            "y": draw.choice([None, 1, 2]),
        }
        for _ in range(60)
    ]
    return [*rows, *rows[:5], rows[0]]  # twice, and one three times


SPINE = spine_rows()


@dataclass(frozen=True)
class Made:
    """A project with a training set of a file and one of a Delta table."""

    bench: Bench
    spine: Path
    table: Path
    of_file: TrainingSet
    of_table: TrainingSet

    def rebuild(self, built: TrainingSet | None = None, out: Path | None = None) -> Rebuilt:
        return rebuilding.rebuild(self.bench.project, (built or self.of_file).name, out)

    def receipt_file(self, built: TrainingSet) -> Path:
        return self.bench.project.places.receipts / f"{built.name}.json"


def write(path: Path, rows: list[Cells]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=SPINE_SCHEMA), path)
    return path


@pytest.fixture(scope="module")
def made(module_bench: Callable[[], Bench]) -> Made:
    bench = module_bench().define(DEFINITIONS).apply()
    bench.put("first", readings(range(6), 1, 0), SCHEMA)
    land(bench)
    spine = write(bench.folder / "spine.parquet", SPINE)
    built = training_sets.build(bench.project, "forecast", spine)
    table = bench.folder / "spine table"
    other = write(bench.folder / "other.parquet", SPINE[:30])
    frame = bench.spark.read.parquet(str(other))
    frame.write.format("delta").save(str(table))
    of_table = training_sets.build(bench.project, "forecast", table)
    # Whoever reads the newest version reads other rows.
    frame.where("y = 1").write.format("delta").mode("overwrite").save(str(table))
    return Made(bench, spine, table, built, of_table)


def land(bench: Bench) -> None:
    """Land what is new; training sets ask for no more."""
    land_files(bench.project, bench.project.applied().definitions.sources["daily"], MAX_US)


@contextmanager
def put_back(made: Made, path: Path) -> Iterator[None]:
    """Let a file or table be damaged, and put it back."""
    aside = path.with_name(f"{path.name}.aside")
    (shutil.copytree if path.is_dir() else shutil.copy2)(path, aside)
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        aside.rename(path)
        forget(made)


def forget(made: Made) -> None:
    """Let the session forget what it holds of Delta's logs, as another one would not know."""
    java: Any = made.bench.spark._jvm
    java.org.apache.spark.sql.delta.DeltaLog.clearCache()


def only(rebuilt: Rebuilt, verdict: str, what: str) -> str:
    """There is one finding; give what it tells."""
    (found,) = rebuilt.findings
    assert (rebuilt.verdict, found.verdict, found.what) == (verdict, verdict, what), found
    return found.told


def vacuum_all(made: Made, path: Path) -> int:
    made.bench.spark.conf.set(maintenance.RETENTION_CHECK, "false")
    try:
        return maintenance.vacuum(made.bench.spark, path, 0)
    finally:
        made.bench.spark.conf.unset(maintenance.RETENTION_CHECK)


def later_rows(made: Made) -> None:
    """Months later: new days, readings of old days that became known since, and known ones again.

    Some of them happened and were known before rows of the spine: only the sequence keeps them out.
    """
    bench = made.bench
    bench.put("later", readings(range(6, 9), 2, 10_000), SCHEMA)
    bench.put("late", readings(range(2, 5), 3, 20_000, late_days=30), SCHEMA)
    bench.put("backfilled", readings(range(1, 6), 4, 30_000), SCHEMA)
    bench.put("again", readings(range(6), 1, 0)[:9], SCHEMA)
    land(bench)
    verdicts = {row["_verdict"] for row in bench.events("daily", "_verdict")}
    assert verdicts == {"accepted", "duplicate"}


def compacted(made: Made) -> None:
    """The events table is rewritten, and what no newest version needs is removed."""
    project, path = made.bench.project, made.bench.project.places.events("daily")
    before = set(path.rglob("*.parquet"))
    made.bench.spark.conf.set(maintenance.RETENTION_CHECK, "false")
    try:
        maintaining.maintain(project, (), Work(optimize=True, vacuum_days=0))
    finally:
        made.bench.spark.conf.unset(maintenance.RETENTION_CHECK)
    # What the receipts' versions were made of is gone.
    assert not before & set(path.glob("_verdict=accepted/*.parquet"))


def log_forgotten(made: Made) -> None:
    """The events table's old commits were deleted, as Delta does after a checkpoint."""
    path = made.bench.project.places.events("daily")
    tables.delta_log(made.bench.spark, path).checkpoint()
    newest = tables.newest_version(made.bench.spark, path)
    for file in (path / "_delta_log").glob("*.json"):
        if int(file.stem) < newest:
            file.unlink()
            file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    forget(made)
    pin = made.of_file.receipt.tables[0]
    with pytest.raises(StateError):
        tables.read(made.bench.spark, path, pin.version).count()


def wider(made: Made) -> None:
    """The source gets a further column, and rows that have it."""
    made.bench.define(WIDER).apply()
    schema = SCHEMA.append(pa.field("tariff", pa.string()))
    rows = readings(range(9, 11), 5, 40_000)
    made.bench.put("wide", [row | {"tariff": "low"} for row in rows], schema)
    land(made.bench)


def redefined(made: Made) -> None:
    """The view means something else now."""
    made.bench.define(CHANGED).apply()
    service = made.bench.project.service("forecast")
    found = catalogue.find_definition(made.bench.project, made.of_file.receipt)
    assert found is not None
    assert found[0] != service


def test_it_comes_out_the_same_after_all_that_happens_to_a_lake(made: Made, tmp_path: Path) -> None:
    for happens in (later_rows, compacted, wider, log_forgotten, redefined):
        happens(made)
        found = made.rebuild()
        assert (found.verdict, list(found.findings)) == (SAME, []), happens.__name__
        assert found.content == made.of_file.receipt.content, happens.__name__
    assert found.statuses == dict(made.of_file.receipt.statuses)
    assert found.rows == len(SPINE)
    # The Delta spine was overwritten since: it is read as it was.
    out = tmp_path / "out" / "rebuilt.parquet"
    assert made.rebuild(made.of_table, out).verdict == SAME
    stored = pq.ParquetDataset(sorted(made.of_table.path.glob("*.parquet"))).read()
    assert sorted(map(str, pq.read_table(out).to_pylist())) == sorted(map(str, stored.to_pylist()))
    with pytest.raises(InputError, match="is there already"):
        made.rebuild(made.of_table, out)
    # The same spine today is another training set: the sequence is what told them apart.
    today = training_sets.build(made.bench.project, "forecast", made.spine)
    assert today.receipt.content != made.of_file.receipt.content


def test_rows_that_stand_twice_in_a_spine_stay_two(made: Made) -> None:
    stored = Counter(tables.read(made.bench.spark, made.of_file.path).collect())
    assert stored.total() == len(SPINE) == made.of_file.receipt.rows
    assert sorted(times for times in stored.values() if times > 1) == [2, 2, 2, 2, 3]


def test_the_receipt_travels_with_the_table(made: Made) -> None:
    for built in (made.of_file, made.of_table):
        receipt = built.receipt
        told = tables.properties(made.bench.spark, built.path)
        assert told["twinlake.receipt_digest"] == receipt.digest()
        assert receipt.code_version == code_version()
        assert receipt.state is not None
        assert Path(receipt.spine.path).is_absolute()
        assert receipt.spine_columns() == tuple(SPINE_SCHEMA.names)
        assert receipt.marks() == ("usage__status", "usage__event_timestamp")
    assert (made.of_file.receipt.spine.table_id, made.of_file.receipt.spine.version) == (None, None)
    spine = made.of_table.receipt.spine
    assert (spine.table_id, spine.version) == (tables.table_id(made.bench.spark, made.table), 0)


def test_a_spine_that_is_gone_or_another_is_named(made: Made) -> None:
    with put_back(made, made.spine):
        write(made.spine, [*SPINE[1:], SPINE[1]])
        told = only(made.rebuild(), DIFFERS, "spine")
        assert str(made.spine) in told
        assert made.of_file.receipt.spine.fingerprint in told
        made.spine.write_bytes(b"PAR1 no more")
        assert "not a Parquet file" in only(made.rebuild(), DIFFERS, "spine")
        made.spine.unlink()
        assert "no spine at" in only(made.rebuild(), GONE, "spine")
        made.spine.mkdir()
        shutil.copytree(made.table / "_delta_log", made.spine / "_delta_log")
        assert "is a Delta table" in only(made.rebuild(), DIFFERS, "spine")
    with put_back(made, made.spine):
        # The footer is whole, the pages are not.
        content = made.spine.read_bytes()
        made.spine.write_bytes(content[:4] + bytes(400) + content[404:])
        assert only(made.rebuild(), DIFFERS, "spine").startswith("cannot read the spine")


def test_a_spine_table_that_is_not_there_as_it_was_is_named(made: Made) -> None:
    with put_back(made, made.table):
        assert vacuum_all(made, made.table) > 0
        told = only(made.rebuild(made.of_table), GONE, "spine")
        assert f"version 0 of the spine {made.table} was vacuumed" in told
    with put_back(made, made.table):
        tables.delta_log(made.bench.spark, made.table).checkpoint()
        for file in (made.table / "_delta_log").glob("*00.json"):
            file.unlink()
        forget(made)
        assert "not in its log any more" in only(made.rebuild(made.of_table), GONE, "spine")
    with put_back(made, made.table):
        shutil.rmtree(made.table)
        forget(made)
        same = made.bench.spark.read.parquet(str(made.bench.folder / "other.parquet"))
        same.write.format("delta").save(str(made.table))
        assert "dropped and made anew" in only(made.rebuild(made.of_table), GONE, "spine")
        shutil.rmtree(made.table)
        shutil.copy(made.spine, made.table)
        assert "is no Delta table" in only(made.rebuild(made.of_table), GONE, "spine")
        made.table.unlink()
        made.table.mkdir()


def test_an_events_table_that_is_not_the_one_that_was_read_is_named(made: Made) -> None:
    project = made.bench.project
    path = project.places.events("daily")
    with put_back(made, path):
        shutil.rmtree(path)
        assert "there is no events table" in only(made.rebuild(), GONE, "events daily")
        forget(made)
        events.create(made.bench.spark, path, project.applied().definitions.sources["daily"])
        told = only(made.rebuild(), GONE, "events daily")
        assert "dropped and made anew" in told
        assert made.of_file.receipt.tables[0].table_id in told
    with put_back(made, path):
        made.bench.spark.sql(f"DELETE FROM {tables.at(path)} WHERE id = 3")
        assert "were landed" in only(made.rebuild(), GONE, "events daily")
    landed = project.settings.state / "landings" / "daily"
    with put_back(made, landed):
        for file in landed.glob("*.json"):
            file.unlink()
        assert "batches of source daily are known" in only(made.rebuild(), GONE, "events daily")


def test_a_damaged_training_set_is_named_and_rebuilt_beside_it(made: Made, tmp_path: Path) -> None:
    path, what = made.of_file.path, "stored training set"
    with put_back(made, path):
        made.bench.spark.sql(f"UPDATE {tables.at(path)} SET kwh = 7 WHERE meter = 'm1'")
        out = tmp_path / "mended.parquet"
        found = made.rebuild(out=out)
        assert made.of_file.receipt.content in only(found, DIFFERS, what)
        assert found.content == made.of_file.receipt.content
        assert pq.read_metadata(out).num_rows == len(SPINE)
        damaged = tables.read(made.bench.spark, path).where("kwh = 7").count()
        assert damaged == sum(row["meter"] == "m1" for row in SPINE)
    with put_back(made, path):
        next(path.glob("*.parquet")).unlink()
        assert "files of" in only(made.rebuild(), GONE, what)

    def stored() -> tuple[str, str, str]:
        """What is found of the stored one alone, without another join."""
        (found,) = rebuilding._stored(made.bench.project, made.of_file.receipt)[1]
        return found.what, found.verdict, found.told

    with put_back(made, path):
        shutil.rmtree(path)
        forget(made)
        assert stored() == (what, GONE, f"there is no table at {path} any more")
        path.mkdir()
    with put_back(made, path):
        tables.set_property(made.bench.spark, path, "twinlake.receipt_digest", "0" * 64)
        assert stored()[:2] == ("receipt", DIFFERS)


def test_a_function_that_is_another_is_named(made: Made) -> None:
    text = (made.bench.root / "features.py").read_text()
    try:
        (made.bench.root / "features.py").write_text(text.replace("FEE = 2.0", "FEE = 3.0"))
        made.bench._project = None
        told = only(made.rebuild(), DIFFERS, "on-demand view cost")
        assert "its code of FEE differs" in told
        gone = text.replace("def cost(f)", "def costs(f)").replace("usage, cost]", "usage, costs]")
        (made.bench.root / "features.py").write_text(gone)
        made.bench._project = None
        assert "features.py defines no" in only(made.rebuild(), GONE, "on-demand view cost")
    finally:
        (made.bench.root / "features.py").write_text(text)
        made.bench._project = None


def test_a_receipt_that_is_not_ours_is_refused_by_name(made: Made) -> None:
    project, file = made.bench.project, made.receipt_file(made.of_file)
    text = file.read_text()
    foreign = replace(Receipt.from_json(text), training_set="forecast__foreign", state="0" * 10)
    copied = file.with_name("forecast__foreign.json")
    renamed = file.with_name("forecast__renamed.json")
    try:
        copied.write_text(foreign.to_json())
        renamed.write_text(text)
        with pytest.raises(StateError, match="forecast__foreign is of another project"):
            rebuilding.rebuild(project, "forecast__foreign")
        with pytest.raises(StateError, match=f"is the receipt of training set {made.of_file.name}"):
            training_sets.find_receipt(project, "forecast__renamed")
        names = training_sets.names(project)
        assert {made.of_file.name, made.of_table.name} <= set(names)
        assert not {"forecast__foreign", "forecast__renamed"} & set(names)
    finally:
        copied.unlink()
        renamed.unlink()
    with pytest.raises(InputError, match="no training set named 'forecast__foreign'"):
        rebuilding.rebuild(project, "forecast__foreign")


def test_a_definition_that_was_never_applied_and_other_rows_are_named(made: Made) -> None:
    with put_back(made, file := made.receipt_file(made.of_file)):
        receipt = made.of_file.receipt
        file.write_text(replace(receipt, definition="0" * 32).to_json())
        found = {finding.what: finding.verdict for finding in made.rebuild().findings}
        assert found == {"definition": GONE, "receipt": DIFFERS}
        # As if other code gave other rows: the stored ones are the ones that it says.
        pin = replace(receipt.tables[0], sequence=0)
        file.write_text(replace(receipt, tables=(pin,)).to_json())
        differing = made.rebuild()
        assert differing.verdict == DIFFERS
        assert {finding.what for finding in differing.findings} == {
            "receipt",
            "rebuilt training set",
        }
        told = next(f for f in differing.findings if f.what == "rebuilt training set")
        assert "other statuses of kwh, wh_3d, days_5d, cost" in told.told


@pytest.fixture
def command(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """The command line, with the lane's session."""
    monkeypatch.setattr(Context, "open", lambda _: made.bench.open())
    place = Place(made.bench.root, made.bench.folder / "state")
    return lambda *words: call(place, words, monkeypatch, capsys)


def test_the_command_says_it_and_its_exit_code_too(
    made: Made, command: Callable[..., Result], tmp_path: Path
) -> None:
    name, out = made.of_table.name, tmp_path / "out.parquet"
    shown = command("training-set", "show", name)
    assert shown.code == 0
    receipt = made.of_table.receipt
    for part in (receipt.digest(), receipt.content, receipt.code_version, "applied as number "):
        assert part in shown.out
    assert f"table {receipt.spine.table_id} at version 0" in shown.out
    done = command("training-set", "rebuild", name, "--out", str(out), "--json")
    assert (done.code, done.document["verdict"], done.document["findings"]) == (0, "same", [])
    assert pq.read_metadata(out).num_rows == 30
    with put_back(made, made.table):
        shutil.rmtree(made.table)
        lost = command("training-set", "rebuild", name)
        assert lost.code == 1
        assert f"{name}: gone\nGONE spine: there is no spine at {made.table}" in lost.out
        made.table.mkdir()
    unknown = command("training-set", "rebuild", "nothing", "--json")
    assert unknown.code == 2
    assert "no training set named 'nothing'" in unknown.document["error"]
    assert json.loads(made.receipt_file(made.of_table).read_text())["content"] == receipt.content
