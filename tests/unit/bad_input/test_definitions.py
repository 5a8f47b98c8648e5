"""Definitions that do not hold: told by plan and by apply, all at once, before Spark starts."""

from __future__ import annotations

from dataclasses import replace

from tests.bad_input import FEATURES, Case, Make, Place, table
from tests.unit.bad_input.conftest import Refuse, Run

PLAN = ["plan"]
FEATURES_OF_VIEW = FEATURES[FEATURES.index("features=[") : FEATURES.index("ranking")] + "ranking"
OTHER = "FeatureView('{}', entity=shopper, source=orders, features=[Column('note')])"
SAFE = "use a lower-case letter, then letters, digits and underscores, at most 48"


def written(text: str | bytes) -> Make:
    """A features.py of another text."""

    def write(place: Place) -> None:
        place.features.write_bytes(text.encode() if isinstance(text, str) else text)

    return write


def feature(new: str) -> tuple[str, str]:
    return ('Column("note")', new)


def many(count: int) -> str:
    listed = ", ".join(f"Column('amount', 'a{n}')" for n in range(count))
    return f"features=[{listed}],\n)\nranking"


def view_name(name: str) -> Case:
    edit = ('    "totals",', f"    {name!r},")
    return Case(f"view {name[:20]!r}", PLAN, [f"{name!r} is no safe name", SAFE], edit=edit)


def file_case(name: str, text: str | bytes, *told: str) -> Case:
    return Case(name, PLAN, told, make=written(text))


COLUMNS = [
    Case("unknown column", PLAN, ["view totals, feature x", "source orders has no column 'amuont'",
         "columns: order_id, shopper_id"], edit=feature('Column("amuont", "x")')),
    Case("unknown join key", PLAN, ["view totals, join key buyer", "source orders has no such"],
         edit=('{"shopper_id": "bigint"}', '{"buyer": "bigint"}')),
    Case("unknown event timestamp", PLAN, ["source orders, event_timestamp", "no column 'at'"],
         edit=('event_timestamp="ordered_at"', 'event_timestamp="at"')),
    Case("event timestamp of wrong type", PLAN, ["column 'note' is a string", "derive a timestamp"],
         edit=('event_timestamp="ordered_at"', 'event_timestamp="note"')),
    Case("unknown event id", PLAN, ["source orders, event_id", "no column 'id'"],
         edit=('event_id="order_id"', 'event_id="id"')),
    Case("unknown type", PLAN, ["source orders, schema", "'text' is not a type twinlake knows"],
         edit=("note string", "note text")),
    Case("decimal too wide", PLAN, ["decimal(38,2) does not fit", "at most decimal(18,s)"],
         edit=("decimal(6,2)", "decimal(38,2)")),
    Case("sum of a text", PLAN, ["view totals, feature x", "sum of a string", "derive one"],
         edit=feature('Aggregate("sum", "note", windows={"x": "7d"})')),
    Case("key of another type", PLAN, ["is a string in entity shopper but a bigint in the source",
         "declare the same type in both"], edit=('{"shopper_id": "bigint"}',
         '{"shopper_id": "string"}')),
    Case("key with a binary point", PLAN, ["a double cannot be a key"],
         edit=('{"shopper_id": "bigint"}', '{"amount": "double"}')),
    Case("number where text is due", PLAN, ["view totals, ttl", "is 30", "give it as str"],
         edit=('ttl="30d"', "ttl=30")),
    Case("unknown function", PLAN, ["there is no function 'median'", "use count, sum"],
         edit=feature('Aggregate("median", "amount", windows={"x": "7d"})')),
    Case("two features of one name", PLAN, ["view totals, feature last_amount", "is there 2 times",
         "rename all but one"], edit=feature('Column("note", "last_amount")')),
    Case("one name in two views", PLAN, ["service ranking, feature note", "is there 2 times"],
         edit=("features=[totals]", f"features=[totals, {OTHER.format('more')}]")),
    Case("feature named as a key", PLAN, ["feature shopper_id", "is the name of a join key"],
         edit=feature('Column("note", "shopper_id")')),
    Case("feature of a view that it has not", PLAN, ["service ranking, view totals",
         "has no feature 'total'", "features: last_amount"],
         edit=("features=[totals]", 'features=[totals.select("total")]')),
    Case("a view defined twice", PLAN, ["FeatureView totals", "is defined twice"],
         edit=("features=[totals]", f"features=[totals, {OTHER.format('totals')}]")),
    Case("more than 225 columns", PLAN, ["view totals",
         "has 220 features; a row of 225 columns holds 219", "split the view"],
         edit=(FEATURES_OF_VIEW, many(220))),
]  # fmt: skip
RATIO = "on_demand(inputs=[totals{}], outputs={{{}}}, name='ratio')({})"
ON_DEMAND = [
    Case(name, PLAN, ["on-demand view ratio", *told], edit=("features=[totals]",
         f"features=[totals, __import__('twinlake').{RATIO.format(more, outputs, function)}]"))
    for name, more, outputs, function, told in [
        ("a lambda on demand", "", "'r': 'double'", "lambda f: f", ["a lambda has no text"]),
        ("no function on demand", "", "'r': 'double'", "7", ["a int is no function", "with def"]),
        ("unknown input", ".select('total')", "'r': 'double'", "len",
         ["view totals", "has no feature 'total'", "features: last_amount"]),
        ("output named as a feature", "", "'note': 'string'", "len", ["is the name of an input"]),
        ("output type", "", "'r': 'binary'", "len", ["a function cannot give a binary"]),
        ("no outputs", "", "", "len", ["has no outputs"]),
    ]
]  # fmt: skip
TIMES = [
    Case("hop that does not divide", PLAN, ["view totals, window 7d", "no whole number of hops",
         "multiple of 2d"], edit=('hop="1d"', 'hop="2d"')),
    Case("ttl shorter than a window", PLAN, ["view totals, ttl 6d",
         "shorter than the longest window, 7d", "use 7d or more"], edit=('ttl="30d"', 'ttl="6d"')),
    Case("window that is none", PLAN, ["'a week' is not a duration", "write it as 10m, 1h or 7d"],
         edit=('"pieces_7d": "7d"', '"pieces_7d": "a week"')),
    Case("empty window", PLAN, ["'0d' is empty"],
         edit=('"pieces_7d": "7d"', '"pieces_7d": "0d"')),
    Case("negative window", PLAN, ["'-7d' is not a duration"],
         edit=('"pieces_7d": "7d"', '"pieces_7d": "-7d"')),
    Case("window of millennia", PLAN, ["is longer than"],
         edit=('"pieces_7d": "7d"', '"pieces_7d": "99999999999d"')),
    Case("window without bound", PLAN, ["neither hop nor max_events_per_key"],
         edit=('    hop="1d",\n', "")),
]  # fmt: skip
NAMES = [
    view_name("Totals"),
    view_name("totals; DROP TABLE x"),
    view_name('totals" (x int); --'),
    view_name("totals`"),
    view_name("t\u043etals"),  # a Cyrillic letter
    view_name("totals\n"),
    view_name("1totals"),
    view_name("t" * 49),
    view_name("../totals"),
    view_name(""),
    Case("feature that injects", PLAN, ["is no safe name", SAFE],
         edit=feature("Column(\"note\", \"x' OR 1=1 --\")")),
    Case("join key that injects", PLAN, ["is no safe name"],
         edit=('{"shopper_id": "bigint"}', '{"shopper_id) OR 1=1": "bigint"}')),
    Case("column that injects", PLAN, ["is no safe name", "letters, digits and underscores"],
         edit=("note string", "note`; string")),
    Case("source that leaves its folder", PLAN, ["'../orders' is no safe name"],
         edit=('    "orders",', '    "../orders",')),
    Case("reserved prefix", PLAN, ["has a prefix that online stores keep", "tl_"],
         edit=feature('Column("note", "tl_note")')),
    Case("reserved name", PLAN, ["is the name of a join key or reserved"],
         edit=feature('Column("note", "event_timestamp")')),
]  # fmt: skip
PROJECTS = [
    Case("no features.py", PLAN, ["is not a project: it has no features.py", "-C"],
         make=lambda place: place.features.unlink()),
    file_case("syntax error", "x = 1\ny = (\n", "features.py, line 2: SyntaxError", "mend that"),
    file_case("not UTF-8", b'x = "caf\xe9"\n', "features.py", "SyntaxError"),
    file_case("null byte", b"x = 1\0", "features.py", "null bytes"),
    file_case("error", "\nraise ValueError('boom')", "features.py, line 2: ValueError: boom"),
    file_case("missing module", "import nowhere", "line 1: ModuleNotFoundError", "nowhere"),
    file_case("sys.exit", "import sys\nsys.exit(0)", "features.py, line 2", "exit",
              "definitions only"),
    file_case("endless recursion", "def f():\n    f()\nf()", "RecursionError"),
    file_case("wrong argument", "from twinlake import *\n\nEntity('e', keys={})", "line 3: Type"),
]  # fmt: skip


@table(*COLUMNS, *ON_DEMAND, *TIMES, *NAMES, *PROJECTS)
def test_definitions_are_refused(case: Case, refuse: Refuse) -> None:
    refuse(case)
    refuse(replace(case, command=["apply"], edit=None, make=None))  # as spoilt as it is


def test_all_problems_are_told_at_once(refuse: Refuse) -> None:
    def spoil(place: Place) -> None:
        text = FEATURES.replace('ttl="30d"', 'ttl="6d"').replace('hop="1d"', 'hop="2d"')
        place.features.write_text(text.replace('Column("note")', 'Column("nite")'))

    told = ["3 problems in the definitions:", "  1. ", "no column 'nite'", "hops of 2d", "ttl 6d"]
    refuse(Case("three problems", ["apply"], told, make=spoil))


def test_as_many_columns_as_a_row_holds_are_taken(place: Place, run: Run) -> None:
    place.edit(FEATURES_OF_VIEW, many(216))
    assert run("plan").code == 0


def test_what_features_print_does_not_get_into_the_answer(place: Place, run: Run) -> None:
    place.features.write_text(FEATURES + "print('loading')\n")
    found = run("--json", "plan")
    assert found.code == 0
    assert found.document["changes"] is True
    assert "loading" in found.err


def test_a_state_of_another_project_is_shown_before_anything_goes(applied: Place, run: Run) -> None:
    applied.features.write_text(FEATURES.replace('"totals"', '"sums"').replace("ranking", "rank"))
    steps = run("--json", "plan").document["steps"]
    gone = {(step["kind"], step["name"]) for step in steps if step["step"] == "Unregister"}
    assert gone == {("view", "totals"), ("service", "ranking")}
    assert not [step for step in steps if step["step"] == "DropTables"]
