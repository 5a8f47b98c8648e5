from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.online_store.samples import METERS, PAIRS
from tests.conformance.online_store.stores import CASSANDRA, CHOSEN, Subject, subject
from twinlake.online.store import OnlineStore

collect_ignore = [] if "sqlite" in CHOSEN else ["test_sqlite_file.py"]


@pytest.fixture(name="subject", params=CHOSEN)
def subject_fixture(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Subject:
    """A place of its own for each test, empty."""
    if request.param == "cassandra":
        monkeypatch.setenv(CASSANDRA, str(request.getfixturevalue("cassandra_port")))
    return subject(request.param, tmp_path)


@pytest.fixture
def store(subject: Subject) -> Iterator[OnlineStore]:
    with subject.open() as opened:
        opened.create(METERS)
        opened.create(PAIRS)
        yield opened
