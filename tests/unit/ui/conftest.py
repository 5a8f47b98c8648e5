"""Pages of a lender's project, opened without a browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.conftest import judging_lender
from tests.unit.serving.shop import AS_OF_US, make_project
from twinlake.settings import Settings, load_settings
from twinlake.ui.app import make_ui
from twinlake.ui.opening import Opening

CHECKOUT = Path(__file__).resolve().parents[3]
BASE = "http://127.0.0.1"
__all__ = ["judging_lender"]
Opened = Callable[..., TestClient]


@pytest.fixture
def lender(tmp_path: Path) -> Settings:
    """A project of a lender, as it is after apply and materialize."""
    return make_project(tmp_path / "lender")


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open the pages of a project; jobs run what is given instead of the command."""
    with ExitStack() as stack:

        def client(settings: Settings, program: str = "") -> TestClient:
            command = [sys.executable, "-c", program]
            opening = Opening(settings, {}, lambda: AS_OF_US, command)
            made = TestClient(make_ui(opening), base_url=BASE, follow_redirects=False)
            return stack.enter_context(made)

        yield client


@pytest.fixture
def nothing_applied(tmp_path: Path) -> Settings:
    """A project in which nothing was done yet."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "features.py").write_text("")
    return load_settings(tmp_path / "shop", environ={})


def token_of(client: TestClient, page: str = "/parity") -> str:
    """The token that a page's form holds."""
    found = re.search(r'name="_token" value="([^"]+)"', client.get(page).text)
    assert found is not None
    return found[1]


def send(
    client: TestClient, page: str, fields: dict[str, str] | None = None, **told: str
) -> tuple[int, str]:
    """Send a form as a browser does; gives status and text."""
    headers = {"origin": BASE, "sec-fetch-site": "same-origin"} | told
    values = {"_token": token_of(client)} | (fields or {})
    answer = client.post(page, data=values, headers=headers)
    return answer.status_code, answer.text
