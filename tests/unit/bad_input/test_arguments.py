"""Names, keys, times and settings that do not fit: told before Spark starts."""

from __future__ import annotations

import pytest

from tests.bad_input import FEATURES, Case, Place, table
from tests.unit.bad_input.conftest import Refuse, Run
from tests.unit.cli.conftest import pretend_applied
from tests.unit.cli.test_verbs import LANDING, published
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.loading import load
from twinlake.registry.state import Landings

GET = ["get", "ranking"]
KEY = "shopper_id=1"
MORE = """
more = FeatureView("more", entity=shopper, source=orders, features=[Column("note", "more_note")])
ranking ="""
NO_TIME = "write it as 2014-02-28 or 2014-02-28T12:30:00Z"

NAMES = [
    Case("unknown service", ["get", "churn", KEY], ["no service named 'churn'", "known: ranking"]),
    Case("service almost right", ["get", "rankin", KEY], ["no service named 'rankin'",
         "did you mean 'ranking'?"]),
    Case("unknown view", ["materialize", "total"], ["no view named 'total'",
         "did you mean 'totals'?"]),
    Case("unknown view beside a known one", ["materialize", "totals", "x"], ["no view named 'x'"]),
    Case("view that is not applied yet", ["materialize", "more"], ["no view named 'more'",
         "features.py defines it", "twinlake apply"],
         edit=("ranking =", MORE)),
    Case("unknown entity", ["show", "shoper"], ["no definition or training set named 'shoper'",
         "did you mean 'shopper'?"]),
    Case("unknown model", ["train", "churn"], ["no model named 'churn'", "known: none"]),
    Case("unknown training set", ["training-set", "show", "x"], ["no training set named 'x'"]),
    Case("unknown training set to rebuild", ["training-set", "rebuild", "x"],
         ["no training set named 'x'"]),
    Case("unknown training set to compare", ["training-set", "diff", "x", "y"],
         ["no training set named 'x'"]),
    Case("service for a training set", ["training-set", "build", "rank", "--spine", "x"],
         ["no service named 'rank'"]),
    Case("service for parity", ["parity", "rank"], ["no service named 'rank'"]),
    Case("unknown source, plan", ["--source", "order={data}", "plan"],
         ["no source named 'order'", "did you mean 'orders'?"]),
    Case("unknown source, materialize", ["--source", "order={data}", "materialize"],
         ["no source named 'order'", "did you mean 'orders'?"]),
    Case("source without path", ["--source", "orders", "plan"], ["'orders' is not NAME=PATH"]),
    Case("unknown verb", ["materialise"], ["No such command 'materialise'"]),
    Case("unknown environment", ["--env", "prod", "plan"], ["no environment named 'prod'",
         "known: "]),
]  # fmt: skip
KEYS = [
    Case("unknown key", [*GET, "buyer=1"], ["by the key buyer", "give shopper_id=VALUE"]),
    Case("missing key", [*GET, "x=1"], ["by the key x without shopper_id", "give shop"]),
    Case("no key=value", [*GET, "17"], ["'17' is not KEY=VALUE", "twinlake get --help"]),
    Case("no key", GET, ["Missing argument 'KEY=VALUE...'"]),
    Case("key given twice", [*GET, KEY, "shopper_id=2"], ["shopper_id is given twice"]),
    Case("text for a number", [*GET, "shopper_id=abc"], ["shopper_id='abc' is no bigint"]),
    Case("fraction for a number", [*GET, "shopper_id=1.5"], ["shopper_id='1.5' is no bigint"]),
    Case("number beyond 64 bits", [*GET, f"shopper_id={2**63}"],
         [f"shopper_id={2**63} is outside bigint"]),
    Case("SQL for a number", [*GET, "shopper_id=1 OR 1=1"], ["'1 OR 1=1' is no bigint"]),
    Case("empty key", [*GET, "shopper_id="], ["shopper_id='' is no bigint"]),
]  # fmt: skip
TIMES = [
    Case("as of what is no time", [*GET, KEY, "--as-of", "noon"], ["'noon' is not a time",
         NO_TIME]),
    Case("as of a number", [*GET, KEY, "--as-of", "1400000000"], ["'1400000000' is not a time"]),
    Case("as of before everything", [*GET, KEY, "--as-of", "0000-01-01"], ["is not a time"]),
    Case("start that is no time", ["materialize", "--start", "2014-02-30"], ["'2014-02-30' is not",
         NO_TIME]),
    Case("end that is no time", ["materialize-incremental", "--end", "soon"], ["'soon' is not a"]),
    Case("start after end", ["materialize", "--start", "2014-03-01", "--end", "2014-02-01"],
         ["is empty", "give an --end that is later"]),
]  # fmt: skip


@table(*NAMES, *KEYS, *TIMES)
def test_arguments_are_refused(case: Case, applied: Place, refuse: Refuse) -> None:
    serving(applied)
    refuse(case)


def serving(place: Place) -> None:
    """Pretend that the view was published, so that only the argument is wrong."""
    Landings(place.state, "orders").finish(LANDING)
    published(place.state, view_fingerprint(load(place.project).views["totals"]), 1, "totals")


def test_a_key_that_injects_is_only_a_key(applied: Place, run: Run) -> None:
    text = FEATURES.replace("shopper_id bigint", "shopper_id string").replace(
        '{"shopper_id": "bigint"}', '{"shopper_id": "string"}'
    )
    applied.features.write_text(text)
    pretend_applied(applied.state, load(applied.project))
    serving(applied)
    found = run("--json", *GET, "shopper_id='); DROP TABLE totals; --")
    assert found.code == 0
    assert {f["status"] for f in found.document["features"].values()} == {"missing"}
    assert run("--json", *GET, "shopper_id=x").code == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[spark\nmaster = 1", ["cannot be read as TOML", "line 1"]),
        (b"\xff\xfe", ["cannot be read as TOML"]),
        (b"[spark]\nmasters = 'local'", ["unknown key 'spark.masters'", "known: "]),
        (b"[spark]\nmaster = 1", ["spark.master is 1, expected a string"]),
        (b"[spark]\nshuffle_partitions = '4'", ["is '4', expected a whole number"]),
        (b"[spark]\nshuffle_partitions = 0", ["shuffle_partitions is 0", "expected at least 1"]),
        (b"[spark]\ndriver_memory = '4 GB'", ["driver_memory is '4 GB'", "such as 4g"]),
        (b"[online]\nkind = 'redis'", ["kind is 'redis'", "sqlite"]),
    ],
    ids=["no TOML", "no text", "unknown key", "number", "text", "zero", "memory", "store"],
)
def test_a_spoilt_conf_file_is_named(
    place: Place, refuse: Refuse, content: bytes, told: list[str]
) -> None:
    folder = place.project / "conf"
    folder.mkdir()
    (folder / "local.toml").write_bytes(content)
    environ = {"TWINLAKE_CONF": str(folder)}
    refuse(Case("conf", ["plan"], [str(folder / "local.toml"), *told], environ=environ))


def test_a_spoilt_variable_is_named(refuse: Refuse) -> None:
    environ = {"TWINLAKE_SHUFFLE_PARTITIONS": "many"}
    refuse(Case("variable", ["plan"], ["TWINLAKE_SHUFFLE_PARTITIONS is 'many'"], environ=environ))
