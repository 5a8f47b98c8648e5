"""What maintain says: tables that line up, what to do about what is left, and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import EXAMPLE, Command, pretend_applied
from twinlake.cli.maintenance import maintained_document, maintained_text
from twinlake.definitions.loading import load
from twinlake.flows.maintaining import Maintained, MaintainedTable
from twinlake.flows.reconciling import Reconciled
from twinlake.lake.reconciliation import Different

NOTHING = {"missing": 0, "different": 0, "unknown": 0}
CLEAN = Reconciled("usage", "usage__1", 1_200, 7, dict(NOTHING))


def damaged() -> Reconciled:
    first = [
        Different(("m0", 3), "different", "wh_3d, tl_state"),
        Different(("m1", 3), "missing", ""),
    ]
    return Reconciled("newest", "newest__2", 9, 7, NOTHING | {"missing": 1, "different": 1}, first)


def test_where_nothing_differs_it_is_said() -> None:
    assert maintained_text(Maintained([CLEAN])).splitlines() == [
        "view   online rows  missing  different  unknown  repaired  left",
        "usage        1,200        0          0        0         0     0",
        "",
        "every online row is what its events come to",
    ]


def test_what_differs_is_shown_with_what_to_do() -> None:
    lines = maintained_text(Maintained([CLEAN, damaged()])).splitlines()
    assert lines[2] == "newest            9        1          1        0         0     2"
    assert lines[4:9] == [
        "newest: 2 keys differ; the first 2:",
        "",
        "key   row        in",
        "m0 3  different  wh_3d, tl_state",
        "m1 3  missing    -",
    ]
    assert lines[-1].startswith("To do: `twinlake maintain --repair`")


def test_what_could_not_be_repaired_is_named() -> None:
    found = damaged()
    found.marker, found.repaired, found.stuck, found.stuck_keys = 8, 1, [("m0", 3)], 1
    done = Maintained([found])
    assert not done.is_clean
    text = maintained_text(done)
    assert "not repaired: 1, first m0 3:" in text
    assert "drop the online table newest__2" in text


def test_files_and_tables_out_of_use_are_counted() -> None:
    done = Maintained(
        tables=[
            MaintainedTable("events daily", files=2, replaced=40, removed=None, spared_for="set_1"),
            MaintainedTable("view usage", files=1, replaced=3, removed=1_000),
        ],
        dropped=["old__1"],
    )
    assert maintained_text(done).splitlines() == [
        "table         files  put together  removed",
        "events daily      2            40        -",
        "view usage        1             3    1,000",
        "",
        "events daily was not vacuumed: training set set_1 reads an old version",
        "",
        "dropped: old__1",
    ]


def test_the_document_says_the_same() -> None:
    document = json.loads(json.dumps(maintained_document(Maintained([CLEAN, damaged()]))))
    assert document["ok"] is False
    assert document["views"]["usage"]["is_clean"] is True
    assert document["views"]["newest"]["differing_keys"] == 2
    assert document["views"]["newest"]["first"][1] == {
        "key": ["m1", 3], "kind": "missing", "what": ""
    }  # fmt: skip
    assert (document["tables"], document["dropped"]) == ({}, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["usige"], "there is no view named 'usige'"),
        (["--vacuum", "-1"], "-1 is not in the range x>=0"),
        (["--vacuum", "soon"], "'soon' is not a valid integer"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_started(
    run: Command, state: Path, arguments: list[str], told: str
) -> None:
    pretend_applied(state, load(EXAMPLE))
    found = run("maintain", *arguments)
    assert found.code == 2
    assert told in found.err
    assert "starting Spark" not in found.err
