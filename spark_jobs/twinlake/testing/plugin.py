"""What pytest loads: the fixture ``feature_test``; what it needs is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from twinlake.testing.feature_test import FeatureTest


@pytest.fixture
def feature_test(request: pytest.FixtureRequest) -> FeatureTest:
    """Tests features: rows and a definition in, answers as of any moment out.

    A definition is given itself, or by its name in the ``features.py`` beside the test or above it.
    """
    from twinlake.testing.feature_test import FeatureTest

    return FeatureTest(request.path.parent)
