"""The lender's project, and clients of its API."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.shop import AS_OF_US, make_champion, make_project, options_of
from twinlake.serving.api import make_api
from twinlake.settings import Settings, load_settings

Opened = Callable[..., TestClient]


def now_us() -> int:
    """The present, as far as these tests go: noon of the day of the newest report's morrow."""
    return AS_OF_US + 43_200_000_000


@pytest.fixture(scope="session")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A project that no test changes."""
    return make_project(tmp_path_factory.mktemp("lender"))


@pytest.fixture(scope="session")
def judging_lender(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same with a champion; no test changes it."""
    settings = make_project(tmp_path_factory.mktemp("judging"))
    make_champion(settings)
    return settings


@pytest.fixture
def own_lender(lender: Settings, tmp_path: Path) -> Settings:
    """A project that a test may change."""
    shutil.copytree(lender.project, tmp_path / "project")
    return load_settings(tmp_path / "project", environ={})


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open clients of APIs that run in this process."""
    with ExitStack() as stack:

        def client(settings: Settings, **told: Any) -> TestClient:
            # These tests tell when to look again.
            told = {"refresh_ms": 3_600_000, "champion_s": 3_600, "deadline_ms": 20_000} | told
            api = make_api(settings, options_of(settings, **told), now_us)
            made = stack.enter_context(TestClient(api, raise_server_exceptions=True))
            # MLflow is not for two threads with different stores, such as this one and that one.
            assert api.state.desk.has_looked.wait(120)
            return made

        yield client
