"""What an online read gives to Python: values, and why they are what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from twinlake.serving.answers import Answer


@dataclass(frozen=True)
class OnlineFeatures:
    """A service's features, as served for some keys.

    Attributes:
        answers: Per key, in the order asked for: each feature's value, status and event timestamp,
            and as of when it was read.
    """

    answers: Sequence[Answer]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Give one dictionary a key: its parts, request fields, values; None where not present."""
        return [{**answer.key, **answer.request, **answer.values} for answer in self.answers]

    def statuses(self) -> list[dict[str, str]]:
        """Give why a value is what it is, per feature: present, null, missing, expired, error."""
        return [dict(answer.statuses) for answer in self.answers]

    def to_df(self) -> pd.DataFrame:
        """Give one row a key: its parts, its request fields, then the values."""
        import pandas as pd

        return pd.DataFrame(self.to_dicts())
