"""The project's clock: as of when an online read answers that names no moment itself."""

from __future__ import annotations

from dataclasses import dataclass

WALL = "wall"
DATA = "data"


@dataclass(frozen=True, slots=True)
class Clock:
    """As of when online reads answer.

    Attributes:
        reading: ``"wall"``: the present. ``"data"``: the newest accepted event of the view's
            source, never later than its landing; for data that stopped growing. Or an instant,
            such as ``"2021-08-26"``.
    """

    reading: str = WALL
