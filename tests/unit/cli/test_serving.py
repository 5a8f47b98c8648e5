"""The verbs that make, list and revoke tokens, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import EXAMPLE, Command, pretend_applied
from twinlake.definitions.loading import load
from twinlake.definitions.times import DAY_US
from twinlake.serving.problems import Refusal
from twinlake.serving.tokens import TokenFile

SERVICE = "energy_forecast"


def test_a_token_from_its_first_day_to_its_last(run: Command, state: Path) -> None:
    pretend_applied(state, load(EXAMPLE))
    made = run("token", "new", "--service", SERVICE, "--expires", "2d", "--note", "Ada", "--json")
    token = made.document["token"]
    tokens = TokenFile(state / "tokens.json")
    (kept,) = tokens.all()
    assert (kept.services, kept.note) == ((SERVICE,), "Ada")
    assert kept.expires_us - kept.created_us == 2 * DAY_US
    header = f"Bearer {token}"
    assert tokens.check(header, kept.expires_us - 1) == kept
    with pytest.raises(Refusal, match="expired"):
        tokens.check(header, kept.expires_us)
    secret = token.rpartition(".")[2]
    for shown in (run("token", "list"), run("token", "list", "--json")):
        assert kept.id in shown.out
        assert secret not in shown.out + shown.err
        assert kept.sha256 not in shown.out
    assert secret not in (state / "tokens.json").read_text()
    assert run("token", "revoke", kept.id).out == f"{kept.id} is revoked\n"
    with pytest.raises(Refusal, match="not one of this server"):
        tokens.check(header, kept.created_us)
    assert run("token", "list").out == "no tokens\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--service", "energy_forcast"], "did you mean 'energy_forecast'"),
        (["--service", "*", "--expires", "soon"], "'soon' is not a duration"),
        (["--service", "*", "--expires", "0d"], "would have ended already"),
    ],
)
def test_a_token_that_cannot_be(run: Command, state: Path, arguments: list[str], told: str) -> None:
    pretend_applied(state, load(EXAMPLE))
    found = run("token", "new", *arguments)
    assert (found.code, told in found.err) == (2, True), found.err
    assert not (state / "tokens.json").exists()
