"""Every mutant still fits the code, and names tests that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations.mutants import MUTANTS, Mutant

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_place_is_there_once(mutant: Mutant) -> None:
    assert (CHECKOUT / mutant.file).read_text().count(mutant.before) == 1
    assert mutant.before != mutant.after
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (CHECKOUT / file).exists()
        if name:
            assert name.partition("[")[0] in (CHECKOUT / file).read_text()
