"""Answers: equal to the last bit or not, and what is shown where they are not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from twinlake import Aggregate, Column, Entity, FeatureView, Files, Request, Source, on_demand
from twinlake.errors import InputError
from twinlake.testing.answers import Answers, text_table
from twinlake.testing.feature_test import FeatureTest

SHOP = Source(
    "orders",
    schema="id string, customer bigint, amount decimal(12,2), note string, at timestamp, "
    "known timestamp",
    event_timestamp="at",
    event_id="id",
    known="known",
    where="note <> 'test'",
    batch=Files("orders/"),
)
CUSTOMER = Entity("customer", join_keys={"customer": "bigint"})
VIEW = FeatureView(
    "shopping",
    entity=CUSTOMER,
    source=SHOP,
    ttl="30d",
    hop="1h",
    features=[
        Column("amount"),
        Aggregate("count", windows={"orders_1h": "1h", "orders_1d": "1d"}),
        Aggregate("sum", "amount", windows={"spent_1h": "1h"}),
    ],
)
ROWS = """
    id  customer  amount  note  at                known
    a   7         5.00    -     2022-01-01 07:30  2022-01-01 07:30
    b   7         0.10    -     2022-01-01 09:30  2022-01-01 09:30
    b   7         0.10    -     2022-01-01 09:30  2022-01-01 09:30
    c   7         0.20    test  2022-01-01 09:40  2022-01-01 09:40
    d   7         0.40    -     2022-01-01 09:50  2022-01-01 12:00
    e   7         0.80    -     2022-01-01 11:00  2022-01-01 11:00
    f   7         1.60    -     2022-01-01 11:10  -
    g   8         3.20    -     2022-01-01 09:30  2022-01-01 09:30
"""


@pytest.fixture(scope="module")
def answers() -> Answers:
    history = FeatureTest()(VIEW, ROWS, where=lambda row: row["note"] != "test")
    return history.at("2022-01-01 10:00", customer=7)


def test_values_are_compared_as_their_type_to_the_last_bit(answers: Answers) -> None:
    answers.equals(amount="0.10", orders_1h=1, orders_1d=2, spent_1h=0.1)
    answers.equals(amount=Decimal("0.1")).equals(amount=0.1, spent_1h="0.1", orders_1d="2")
    answers.equals(spent_1h=pytest.approx(0.1001, rel=0.01))
    for wrong in (
        {"amount": "0.11"},
        {"spent_1h": 0.1 + 2e-17},
        {"spent_1h": 0.10000000000000002},
        {"orders_1d": None},
        {"spent_1h": pytest.approx(0.2)},
    ):
        if wrong == {"spent_1h": 0.1}:
            continue  # no other double
        with pytest.raises(AssertionError):
            answers.equals(**wrong)


def test_what_no_value_of_the_type_can_equal_is_refused(answers: Answers) -> None:
    for expected, told in (
        ({"orders_1d": 1.5}, "orders_1d=1.5 is no bigint"),
        ({"amount": "1.005"}, r"amount=.* is no decimal\(12,2\)"),
        ({"order_1d": 1}, "did you mean 'orders_1d'"),
    ):
        with pytest.raises(InputError, match=told):
            answers.equals(**expected)


def test_statuses_are_compared(answers: Answers) -> None:
    assert answers.status("amount") == "present"
    answers.has_status(amount="present", orders_1d="present")
    with pytest.raises(AssertionError, match=r"amount +null +0\.10 +present +differs"):
        answers.has_status(amount="null")
    with pytest.raises(InputError, match="no status named 'expird'"):
        answers.has_status(amount="expird")
    with pytest.raises(InputError, match="no feature of shopping named 'amounts'"):
        answers.status("amounts")


def test_a_failure_shows_values_and_the_rows_that_they_come_from(answers: Answers) -> None:
    with pytest.raises(AssertionError) as caught:
        answers.equals(orders_1h=2, amount="0.10", spent_1h="0.50", orders_1d=2)
    assert (
        str(caught.value)
        == """\
shopping as of 2022-01-01T10:00:00Z, customer=7

feature    expected  found  status
orders_1h  2         1      present  differs
amount     0.10      0.10   present
spent_1h   0.50      0.1    present  differs
orders_1d  2         2      present

rows of customer=7 for orders_1h, spent_1h: window 1h, (2022-01-01T09:00:00Z, 2022-01-01T10:00:00Z]
row  at                    known                 id  amount
1    2022-01-01T07:30:00Z  2022-01-01T07:30:00Z  a   5.00    before the window
2    2022-01-01T09:30:00Z  2022-01-01T09:30:00Z  b   0.10    counts
3    2022-01-01T09:30:00Z  2022-01-01T09:30:00Z  b   0.10    duplicate: the same as row 2
4    2022-01-01T09:40:00Z  2022-01-01T09:40:00Z  c   0.20    left out by where
5    2022-01-01T09:50:00Z  2022-01-01T12:00:00Z  d   0.40    not known yet
6    2022-01-01T11:00:00Z  2022-01-01T11:00:00Z  e   0.80    later than the moment
7    2022-01-01T11:10:00Z  -                     f   1.60    quarantined: no known timestamp"""
    )


def test_the_inputs_of_what_is_computed_are_shown() -> None:
    @on_demand(inputs=[VIEW.select("spent_1h"), Request(bid="double")], outputs={"share": "double"})
    def shares(f: dict[str, Any]) -> dict[str, Any]:
        return {"share": f["bid"] / f["spent_1h"]}

    history = FeatureTest()(shares, ROWS, where=lambda row: row["note"] != "test")
    asked = history.at("2022-01-01 10:00", customer=7, bid=1).equals(share=10.0)
    with pytest.raises(AssertionError) as caught:
        asked.equals(share=2)
    table, evidence = str(caught.value).split("\n\n")[1:]
    assert table.splitlines()[1:] == [
        "share     2         10.0   present  differs",
        "spent_1h  (input)   0.1    present",
    ]
    assert evidence.startswith("rows of customer=7 for spent_1h: window 1h, ")


def test_a_key_without_rows_and_one_with_many() -> None:
    test = FeatureTest()
    with pytest.raises(AssertionError, match="the newest row\nthere are none"):
        test(VIEW, ()).at("2022-01-01", customer=7).equals(amount=1)
    rows = [
        {"customer": 7, "amount": n, "at": f"2022-01-01 10:{n:02}", "known": "2022-01-01"}
        for n in range(30)
    ]
    many = test(VIEW, rows, where=lambda _: True).at("2022-01-02", customer=7)
    with pytest.raises(AssertionError, match="; the last 20 of 30") as caught:
        many.equals(amount=1)
    assert len(str(caught.value).splitlines()) == 27
    assert str(many).splitlines()[3:] == [
        "amount     29.00  present",
        "orders_1h  0      present",
        "orders_1d  30     present",
        "spent_1h   -      null",
    ]


def test_text_stands_in_columns() -> None:
    assert text_table(["a", "long name"], [["wide cell", ""]]) == "a          long name\nwide cell"
