"""The page of quality, by what a monitor wrote."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.unit.ui.conftest import Opened
from twinlake.definitions.loading import load
from twinlake.registry import notes
from twinlake.registry.places import Places
from twinlake.registry.state import Registry
from twinlake.settings import Settings, load_settings

FEATURES = '''
"""A garden."""
from twinlake import *

walks = Source(
    "walks", schema="id string, legs double, kind string, at timestamp", event_timestamp="at",
    event_id="id", stream=Kafka("walks"),
)
@on_demand(inputs=[Request(legs="double")], outputs={"pairs": "double"})
def pairs_of(f):
    return {"pairs": f["legs"] / 2}
legs = FeatureService("legs", features=[pairs_of])
walker = Model(
    "walker", service=legs, source=walks, label="kind", classes=("ant", "bee", "<b>cat"),
    quality=Quality(alerts=[Alert("bad", "accuracy", below=0.5)]),
)
'''
START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
NOTE: dict[str, Any] = {
    "pass": 3, "windows": 3, "final": 1_150, "raised": ["bad"], "events": {"raised": 1},
    "sums": {"predictions": 1_234, "counted": 1_200, "late": 4, "waiting": 0, "unlabelled": 0,
             "unscored": 30, "labels": {}},
    "totals": [{"label": "ant", "predicted": "ant", "correct": True, "records": 700},
               {"label": "<b>cat", "predicted": "bee", "correct": False, "records": 500}],
}  # fmt: skip


@pytest.fixture
def garden(tmp_path: Path) -> Settings:
    """A garden with a model that is watched; applied, and nothing more."""
    (tmp_path / "features.py").write_text(FEATURES)
    settings = load_settings(tmp_path, environ={})
    registry = Registry(settings.state)
    registry.write(registry.current(), load(tmp_path), 1)
    return settings


def figure(number: int, metric: str, value: float, of: str = "") -> dict[str, Any]:
    start = START + dt.timedelta(minutes=number)
    return {
        "window_start": start, "window_end": start + dt.timedelta(minutes=1), "model_version": 2,
        "metric": metric, "of": of, "value": value, "records": 400, "_pass": number + 1,
    }  # fmt: skip


def test_without_a_model_that_is_watched_it_says_how_to_have_one(
    opened: Opened, tmp_path: Path
) -> None:
    (tmp_path / "features.py").write_text(FEATURES.replace("quality=", "description='' and "))
    settings = load_settings(tmp_path, environ={})
    registry = Registry(settings.state)
    registry.write(registry.current(), load(tmp_path), 1)
    text = opened(settings).get("/quality").text
    assert "No model of this project says what to watch." in text


def test_a_model_that_nobody_watched_yet_says_what_is_next(
    opened: Opened, garden: Settings
) -> None:
    text = opened(garden).get("/quality").text
    assert "at rest" in text
    assert "accuracy below 0.5" in text
    assert "<code>twinlake monitor walker</code>" in text
    with Places(garden.state).exclusively("monitor", "walker"):
        assert 'class="badge busy">watched<' in opened(garden).get("/quality").text


def test_counts_and_figures_are_shown(opened: Opened, garden: Settings) -> None:
    places = Places(garden.state)
    notes.write(places.quality_note("walker"), json.dumps(NOTE))
    text = opened(garden).get("/quality").text
    assert "<figure>" not in text, "a table that is not there yet is no failure"
    rows = [figure(n, "accuracy", value) for n, value in enumerate([0.9, 0.2, 0.4])]
    rows += [figure(2, "error", 0.125, "<b>cat"), figure(2, "labelled", 400)]
    moment = pa.timestamp("us", "UTC")
    kinds = {"window_start": moment, "window_end": moment, "model_version": pa.int32()}
    kinds |= {"metric": pa.string(), "of": pa.string(), "value": pa.float64()}
    types = pa.schema([*kinds.items(), ("records", pa.int64()), ("_pass", pa.int64())])
    path = places.quality("walker", "figures")
    write_deltalake(str(path), pa.Table.from_pylist(rows, schema=types))
    response = opened(garden).get("/quality")
    text = response.text
    assert response.status_code == 200
    assert 'class="badge bad">alert<' in text
    for told in (
        "1,234",
        "1,150",
        "50",
        "30",
        "700",
        "accuracy",
        "error of &lt;b&gt;cat",
        "0.1250",
    ):
        assert told in text, told
    assert "<b>cat" not in text
    assert text.count('class="beyond"') == 2
    assert text.count('class="bound"') == 1
    assert text.count("<figure>") == 2, "what is only counted has no picture"
    assert "2024-03-01 00:01:00 UTC, version 2: 0.2000 of 400 records" in text
