"""The page of streams, by what a stream said last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.serving.shop import AS_OF_US
from tests.unit.ui.conftest import Opened
from twinlake.cli.streams import _remember
from twinlake.definitions.loading import load
from twinlake.flows.stream_lander import Progress
from twinlake.registry.places import Places
from twinlake.registry.state import Registry
from twinlake.settings import Settings, load_settings

FEATURES = '''
"""A shop."""
from twinlake import *

customer = Entity("customer", join_keys={"customer": "bigint"})
orders = Source(
    "orders", schema="customer bigint, amount double, at timestamp", event_timestamp="at",
    stream=Kafka("orders"),
)
spent = FeatureView(
    "spent", entity=customer, source=orders, ttl="30d", features=[Column("amount")],
    publish="stream",
)
'''


@pytest.fixture
def shop(tmp_path: Path) -> Settings:
    """A shop whose orders arrive as a stream; applied, and nothing more."""
    (tmp_path / "features.py").write_text(FEATURES)
    settings = load_settings(tmp_path, environ={})
    registry = Registry(settings.state)
    registry.write(registry.current(), load(tmp_path), 1)
    return settings


def test_a_stream_that_never_ran_says_what_is_next(opened: Opened, shop: Settings) -> None:
    text = opened(shop).get("/streams").text
    assert "at rest" in text
    assert "keeps spent fresh" in text
    assert "<code>twinlake stream</code>" in text


def test_what_a_stream_said_last_is_shown(opened: Opened, shop: Settings) -> None:
    places = Places(shop.state)
    progress = Progress(batches=2, read=1_300, accepted=1_234, quarantined=66, lag=17)
    progress.freshness_s = {0.5: 0.25, 0.99: 1.5}
    progress.online_rows = {"spent": 900}
    progress.note_readable(1, 2)
    _remember(places.stream_note("orders"), AS_OF_US, progress)
    with places.exclusively("lander", "orders"):
        text = opened(shop).get("/streams").text
    assert 'class="badge busy">running<' in text
    for told in ("1,234", "66", "17 records", "0.2500 s", "1.500 s", "900", "rows/s"):
        assert told in text, told
