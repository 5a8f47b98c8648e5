"""What must hold of a state folder after a fault: laws 6 and 7, read from its files.

Nothing of the product reads here: Delta's log as JSON, Parquet through Arrow, the online store
through SQLite's own module, documents as JSON.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults import small_lake

Cells = dict[str, Any]
Online = dict[str, dict[str, Cells]]
# In the header of a state blob: the id of the events table and the version, which may differ
# between two states of the same events. See kernel/state.py.
_ID = slice(24, 40)
_VERSION = slice(40, 48)
# Rows' places, which depend on how many commits a recovery took; and their files.
_PLACES = ("_version", "_row", "_batch")


class State:
    """A state folder, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def documents(self, *names: str) -> list[Cells]:
        folder = self.folder.joinpath(*names)
        return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]

    def landings(self) -> list[Cells]:
        return self.documents("landings", "daily")

    def table(self, view: str | None = None) -> Path:
        """The events table, or the table of a view."""
        if view is None:
            return self.folder / "lake" / "events" / "daily"
        (found,) = (self.folder / "lake" / "views").glob(f"{view}__*")
        return found

    def events(self) -> list[Cells]:
        return rows_of(self.table())

    def feature_rows(self, view: str) -> list[Cells]:
        """All of them, superseded ones too."""
        return rows_of(self.table(view))

    def online(self) -> Online:
        """Rows by view and meter, every column of each."""
        file = self.folder / "online.sqlite"
        if not file.exists():
            return {}
        found: Online = {}
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as opened:
            opened.row_factory = sqlite3.Row
            names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in names:
                rows = opened.execute(f'SELECT * FROM "{name}"').fetchall()
                found[name.partition("__")[0]] = {row["meter"]: dict(row) for row in rows}
        return found

    def versions(self) -> dict[str, int]:
        """The newest version of every table."""
        logs = sorted((self.folder / "lake").rglob("_delta_log"))
        return {
            str(log.parent.relative_to(self.folder)): max(int(f.stem) for f in log.glob("*.json"))
            for log in logs
        }


def log_of(table: Path) -> dict[int, list[Cells]]:
    """The commits of a table."""
    return {
        int(file.stem): [json.loads(line) for line in file.read_text().splitlines()]
        for file in sorted((table / "_delta_log").glob("*.json"))
    }


def active_files(table: Path) -> list[Path]:
    active: dict[str, None] = {}
    for actions in log_of(table).values():
        for action in actions:
            if "add" in action:
                active[action["add"]["path"]] = None
            if "remove" in action:
                active.pop(action["remove"]["path"], None)
    return [table / unquote(name) for name in active]


def rows_of(table: Path) -> list[Cells]:
    """The rows of a table's newest version; times in microseconds."""
    rows: list[Cells] = []
    for file in active_files(table):
        read = pq.read_table(file, partitioning=None)
        for number, field in enumerate(read.schema):
            if pa.types.is_timestamp(field.type):
                column = read.column(number).cast(pa.timestamp("us")).cast(pa.int64())
                read = read.set_column(number, field.name, column)
        # A partition's value stands in the path, and not in the file.
        parted = dict(part.split("=", 1) for part in file.parent.parts if "=" in part)
        rows += [row | parted for row in read.to_pylist()]
    return rows


def masked(row: Cells) -> Cells:
    """An online row without what depends on the commits it was made from."""
    state = bytearray(row["tl_state"])
    state[_ID] = bytes(16)
    state[_VERSION] = bytes(8)
    # exact_from is the newest event or, where that lies ahead, the commit; events here are old.
    return {k: v for k, v in row.items() if k not in ("tl_write_us", "tl_state")} | {
        "state": bytes(state)
    }


def version_in(row: Cells) -> int:
    return int.from_bytes(row["tl_state"][_VERSION], "little")


def event_content(state: State) -> Counter[str]:
    """The events as a bag, without their places."""
    return Counter(
        json.dumps({k: v for k, v in row.items() if k not in _PLACES}, sort_keys=True, default=str)
        for row in state.events()
    )


def check_whole(state: State) -> None:
    """Check what holds at any moment, also between a kill and the next run."""
    for landing in state.landings():
        judged = landing["accepted"] + landing["duplicate"] + landing["quarantined"]
        assert landing["read"] == judged + landing["erased"]
    if not (state.folder / "lake" / "events" / "daily").exists():
        return
    rows = state.events()
    assert len({(row["_version"], row["_row"]) for row in rows}) == len(rows)
    ids = Counter(row["id"] for row in rows if row["_verdict"] == "accepted")
    assert [i for i, times in ids.items() if times > 1] == []


def check_online(state: State, before: Online, allowed: list[Online]) -> Online:
    """Check that each online row is one of those that it may be, whole, and never goes back."""
    now = state.online()
    for view, rows in now.items():
        choices = [
            {meter: masked(row) for meter, row in one.get(view, {}).items()} for one in allowed
        ]
        for meter, row in rows.items():
            assert masked(row) in [one[meter] for one in choices if meter in one], (view, meter)
            earlier = before.get(view, {}).get(meter)
            if earlier is not None:
                assert row["tl_write_us"] >= earlier["tl_write_us"]
        assert rows.keys() >= before.get(view, {}).keys()
    return now


def check_complete(state: State, *, counts: tuple[int, int, int, int]) -> None:
    """Check a state in which both files were materialized, against plain Python and the log.

    Args:
        state: The state.
        counts: Read, accepted, duplicate and quarantined rows of all landings together.
    """
    check_whole(state)
    landings = state.landings()
    names = ("read", "accepted", "duplicate", "quarantined")
    assert tuple(sum(landing[name] for landing in landings) for name in names) == counts
    events = state.events()
    verdicts = Counter(row["_verdict"] for row in events)
    assert (len(events), *(verdicts[name] for name in names[1:])) == counts
    ids = {row["id"]: row["kwh"] for row in events if row["_verdict"] == "accepted"}
    accepted = small_lake.accepted_rows(ids, one_batch=len(landings) == 1)
    assert ids == {row["id"]: row["kwh"] for row in accepted}
    _check_order(state, landings)
    online = state.online()
    for view, shape in small_lake.VIEWS.items():
        names_of = ["meter", "event_timestamp", *(feature.name for feature in shape.features)]
        every = state.feature_rows(view)
        written = Counter((r["_event_version"], r["_event_row"], r["_view_version"]) for r in every)
        assert max(written.values()) == 1, "a feature row was written twice"
        newest: dict[tuple[int, int], Cells] = {}
        for row in sorted(every, key=lambda r: r["_view_version"]):
            newest[row["_event_version"], row["_event_row"]] = row
        found = {tuple(row[name] for name in names_of) for row in newest.values()}
        assert found == small_lake.feature_rows_of(accepted, view)
        assert {
            meter: (row["tl_event_us"], tuple(row[f.name] for f in shape.features))
            for meter, row in online[view].items()
        } == small_lake.online_rows_of(accepted, view)
    _check_nothing_left(state)


def _check_order(state: State, landings: list[Cells]) -> None:
    """Write timestamps are the commit times of the versions that rows reflect: law 7."""
    committed: dict[int, int] = {}
    for actions in log_of(state.table()).values():
        said = json.loads(actions[0]["commitInfo"].get("userMetadata") or "{}")
        if "ingest_version" in said:
            time_us = actions[0]["commitInfo"]["inCommitTimestamp"] * 1000
            assert committed.setdefault(said["ingest_version"], time_us) == time_us
    assert {one["version"]: one["landed_us"] for one in landings} == committed
    for rows in state.online().values():
        for row in rows.values():
            assert row["tl_write_us"] == committed[version_in(row)]


def _check_nothing_left(state: State) -> None:
    """Nothing lies about but what is documented.

    That is: hidden ``.part`` files beside documents, data files that no commit names (VACUUM takes
    them), the scratch folder, and lock files, which hold no lock once their process is gone.
    """
    intents = {file.name for file in (state.folder / "landings/daily/intents").glob("*.json")}
    done = {file.name for file in (state.folder / "landings/daily").glob("*.json")}
    assert intents == done
    top = {entry.name for entry in state.folder.iterdir()}
    assert top <= {
        *(
            "registry",
            "landings",
            "publications",
            "receipts",
            "locks",
            "lake",
            "scratch",
            "identity",
        ),
        *(f"online.sqlite{end}" for end in ("", "-wal", "-shm", ".lock")),
    }
    for file in state.folder.rglob("*.tmp"):
        assert "scratch" in file.parts or "_delta_log" in file.parts
