from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.online_store.samples import METERS, PAIRS
from tests.conformance.online_store.stores import STORES, Subject, subject
from twinlake.online.store import OnlineStore


@pytest.fixture(name="subject", params=sorted(STORES))
def subject_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """A place of its own for each test, empty."""
    return subject(request.param, tmp_path)


@pytest.fixture
def store(subject: Subject) -> Iterator[OnlineStore]:
    with subject.open() as opened:
        opened.create(METERS)
        opened.create(PAIRS)
        yield opened
