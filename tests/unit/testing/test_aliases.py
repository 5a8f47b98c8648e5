"""A view that a service joins under other names is tested like any other."""

from __future__ import annotations

from twinlake import Aggregate, Column, Entity, FeatureService, FeatureView, Files, Source
from twinlake.testing.feature_test import FeatureTest

place = Entity("place", join_keys={"zipcode": "bigint"})
visits = Source(
    "visits",
    schema="id string, zipcode bigint, spent double, at timestamp",
    event_timestamp="at",
    event_id="id",
    batch=Files("visits/"),
)
spending = FeatureView(
    "spending",
    entity=place,
    source=visits,
    hop="1d",
    features=[Column("spent"), Aggregate("count", windows={"visits_3d": "3d"})],
)
moves = FeatureService(
    "moves",
    features=[
        spending.joined_as("left", zipcode="left_zip"),
        spending.joined_as("found", zipcode="found_zip").select("found_visits_3d"),
        spending.select("spent"),
    ],
)


def test_each_name_is_asked_by_its_own_column() -> None:
    asked = FeatureTest()(
        moves,
        """
        id  zipcode  spent  at
        a   1        10.0   2024-01-01 09:00
        b   1        20.0   2024-01-02 09:00
        c   2        5.0    2024-01-02 10:00
        """,
    )
    answer = asked.at("2024-01-02 12:00", zipcode=3, left_zip=1, found_zip=2)
    answer.equals(left_spent=20.0, left_visits_3d=2, found_visits_3d=1, spent=None)
    answer.has_status(spent="missing", left_spent="present")
