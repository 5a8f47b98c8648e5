"""The pages of a lender's project: what they show, empty, broken and whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.unit.serving.shop import AS_OF_US
from tests.unit.ui.conftest import Opened, send
from twinlake.registry import notes
from twinlake.registry.places import Places
from twinlake.settings import Settings

PAGES = ("/decide", "/catalogue", "/training-sets", "/parity", "/quarantine", "/streams")
APPLICANT = {"zipcode": "76104", "person": "ann", "amount": "900", "kind": "rent"}


@pytest.mark.parametrize("page", PAGES)
def test_where_nothing_is_applied_a_page_says_what_is_next(
    opened: Opened, nothing_applied: Settings, page: str
) -> None:
    answer = opened(nothing_applied).get(page)
    assert answer.status_code == 503
    assert "nothing is applied" in answer.text
    assert f'<a href="{page}"' in answer.text
    assert "twinlake apply" in answer.text


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("/training-sets", "twinlake training-set build"),
        ("/parity", "Parity was not asked here yet"),
        ("/quarantine", "No row waits"),
        ("/streams", "No source of this project arrives as a stream"),
    ],
)
def test_an_empty_page_says_so(opened: Opened, lender: Settings, page: str, told: str) -> None:
    answer = opened(lender).get(page)
    assert (answer.status_code, told in answer.text) == (200, True)


def test_the_catalogue_finds_features_by_their_words(opened: Opened, lender: Settings) -> None:
    client = opened(lender)
    found = client.get("/catalogue", params={"q": "reports count"}).text
    assert '<a href="/catalogue" aria-current="page">' in found
    assert "/catalogue/features/credit.reports_7d" in found
    assert "area_features" not in found
    assert "0 found" in client.get("/catalogue", params={"q": "no such thing"}).text


@pytest.mark.parametrize(
    "path",
    [
        "sources/areas",
        "entities/person",
        "views/credit",
        "on_demand/debt",
        "features/credit.due",
        "features/debt.debt",
        "services/loan_features",
        "models/loans",
    ],
)
def test_everything_has_a_page_with_its_lineage(
    opened: Opened, lender: Settings, path: str
) -> None:
    answer = opened(lender).get(f"/catalogue/{path}")
    assert answer.status_code == 200
    assert 'class="graph"' in answer.text


def test_an_unknown_name_is_told_with_the_nearest(opened: Opened, lender: Settings) -> None:
    answer = opened(lender).get("/catalogue/views/credits")
    assert answer.status_code == 404
    assert "did you mean" in answer.text


def test_a_half_empty_form_names_each_field_and_keeps_what_was_typed(
    opened: Opened, lender: Settings
) -> None:
    status, text = send(opened(lender), "/decide/loans", {"zipcode": "x1", "person": " ann "})
    assert status == 400
    problems = dict(re.findall(r'id="p-(\w+)">(.*?)</p>', text))
    assert problems["zipcode"] == "zipcode is no whole number"
    assert problems["amount"].startswith("amount is missing")
    assert problems["kind"].startswith("kind is missing")
    assert set(problems) == {"zipcode", "amount", "kind"}
    assert 'value="x1"' in text
    assert 'value=" ann "' in text


def test_a_decision_has_a_vector_and_reasons(opened: Opened, judging_lender: Settings) -> None:
    client = opened(judging_lender)
    status, text = send(client, "/decide/loans", APPLICANT)
    assert status == 200
    assert 'class="said">fails<' in text
    assert "FORT WORTH" in text
    order = re.findall(r"<tr><th>(\w+)<small>", text)
    assert order[0] in {"amount", "debt"}
    assert 'class="for"' in text
    _, text = send(client, "/decide/loans", APPLICANT | {"amount": "10"})
    assert 'class="said">no fails<' in text
    assert 'class="against"' in text
    _, text = send(client, "/decide/loans", APPLICANT | {"person": "nobody"})
    assert 'class="badge warn">missing<' in text


def test_a_store_that_is_gone_decides_nothing(opened: Opened, judging_lender: Settings) -> None:
    store = judging_lender.online_path
    aside = store.rename(store.with_suffix(".aside"))
    try:
        status, text = send(opened(judging_lender), "/decide/loans", APPLICANT)
    finally:
        aside.rename(store)
    assert status == 200
    assert "Not decided" in text
    assert "error" in text


def test_a_model_that_was_never_trained_says_so(opened: Opened, lender: Settings) -> None:
    status, text = send(opened(lender), "/decide/loans", APPLICANT)
    assert status == 503
    assert "twinlake train loans" in text


def test_a_job_is_shown_refused_twice_and_ends(opened: Opened, lender: Settings) -> None:
    program = (
        "import sys, json\n"
        "print('[  0.1 s] comparing', file=sys.stderr, flush=True)\n"
        "import os, signal, threading\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: stop.set())\n"
        "print('pid', os.getpid(), file=sys.stderr, flush=True)\n"
        "stop.wait(60)\n"
        "print(json.dumps({'error': 'a <b> broke', 'hint': 'mend it'}))\n"
        "sys.exit(3)\n"
    )
    client = opened(lender, program)
    assert send(client, "/parity", {"keys": "7"})[0] == 303
    lines = _lines_until(client, "pid")
    assert "[  0.1 s] comparing" in lines
    shown = client.get("/parity").text
    assert 'data-status="running"' in shown
    assert "twinlake parity --keys 7" in shown
    status, text = send(client, "/parity")
    assert (status, "runs already" in text) == (409, True)
    [pid] = [line.split()[1] for line in lines if line.startswith("pid")]
    subprocess.run(["kill", "-USR1", pid], check=True)
    _lines_until(client, "", status="failed")
    shown = client.get("/parity").text
    assert "a &lt;b&gt; broke" in shown
    assert "mend it" in shown


@pytest.mark.parametrize("keys", ["0", "many", "-1", "10000000", "1; rm"])
def test_a_number_of_keys_that_is_none_starts_nothing(
    opened: Opened, lender: Settings, keys: str
) -> None:
    client = opened(lender)
    status, text = send(client, "/parity", {"keys": keys})
    assert (status, "is no number of keys" in text) == (400, True)
    assert "data-job" not in client.get("/parity").text


def test_a_verdict_of_parity_is_shown(opened: Opened, lender: Settings) -> None:
    tally = {"rows": 3, "cells": 9, "nulls": 1, "mismatches": 2}
    difference = {"view": "credit", "check": "served", "key": "<ann>", "feature": "due",
                  "at_us": 1, "expected": 120, "found": 7}  # fmt: skip
    told = {"at_us": AS_OF_US - 60_000_000, "keys": 3, "compared": 9, "mismatching": 2,
            "checks": {"served": tally}, "differences": [difference]}  # fmt: skip
    notes.write(Places(lender.state).parity_note(None), json.dumps(told))
    text = opened(lender).get("/parity").text
    assert ">differs<" in text
    assert "2 of 9 served cells differ" in text
    assert "&lt;ann&gt;" in text


def test_a_damaged_note_is_told_without_a_trace(opened: Opened, lender: Settings) -> None:
    notes.write(Places(lender.state).parity_note(None), "{")
    answer = opened(lender).get("/parity")
    assert answer.status_code == 503
    assert "is damaged" in answer.text


def test_pages_load_neither_spark_nor_mlflow() -> None:
    heavy = "{'pyspark', 'pandas', 'mlflow', 'xgboost', 'deltalake', 'matplotlib'}"
    program = f"import sys, twinlake.ui.process; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def _lines_until(client: object, begins: str, status: str = "running") -> list[str]:
    """Ask how the job goes until it is as expected; a job that stays otherwise fails the test."""
    for _ in range(3_000):
        told = client.get("/job", params={"name": "parity"}).json()  # type: ignore[attr-defined]
        lines = [str(line) for line in told["lines"]]
        if told["status"] == status and any(line.startswith(begins) for line in lines):
            return lines
    raise AssertionError(told)
