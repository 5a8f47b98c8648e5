"""Iris in a stream: a species for every flower as it is measured, and how often that is right.

Names of fields, topics and counts are those of the original system. Its live figures were those of
rows that its model had learned from, its messages did not say which model spoke, and a flower that
could not be judged left an empty class; here what is replayed was held out, every row names the
version that judged it, and what was not judged says why.
"""

from typing import Any

from twinlake import (
    Alert,
    Clock,
    Expectation,
    FeatureService,
    Files,
    Kafka,
    Model,
    Quality,
    Request,
    Source,
    on_demand,
)

MEASURES = ("sepalLength", "sepalWidth", "petalLength", "petalWidth")

# Flowers that are replayed are measured when the producer says so.
clock = Clock("data")

iris = Source(
    "iris",
    schema=(
        "id string, sepalLength double, sepalWidth double, petalLength double, petalWidth double, "
        "species string, measuredAt timestamp"
    ),
    event_timestamp="measuredAt",
    event_id="id",
    known="event",
    batch=Files("data/"),
    stream=Kafka("iris", times_in="ms"),
    expectations=[
        expectation
        for name in MEASURES
        for expectation in (
            Expectation("expect_column_values_to_not_be_null", column=name),
            # Of a flower, in centimetres.
            Expectation(
                "expect_column_values_to_be_between",
                column=name,
                min_value=0,
                strict_min=True,
                max_value=20,
            ),
        )
    ],
    description="One row per flower that was measured, with the species that it is.",
)


@on_demand(
    inputs=[
        Request(
            sepalLength="double", sepalWidth="double", petalLength="double", petalWidth="double"
        )
    ],
    outputs={"sepal_area": "double", "petal_area": "double"},
)
def flower_areas(f: dict[str, Any]) -> dict[str, Any]:
    """The rectangle that a leaf fills: what trees would need many cuts to find."""
    return {
        "sepal_area": f["sepalLength"] * f["sepalWidth"],
        "petal_area": f["petalLength"] * f["petalWidth"],
    }


flower = FeatureService(
    "flower",
    features=[flower_areas],
    description="What is computed of a flower beside its measures.",
)

iris_species = Model(
    "iris_species",
    service=flower,
    source=iris,
    label="species",
    spine_features=MEASURES,
    classes=("setosa", "versicolor", "virginica"),
    predicts="predictedSpecies",
    folds=10,
    parameters={"max_depth": 3, "eta": 0.1},
    rounds=60,
    candidates={
        "xgboost_shallow": {"max_depth": 1},
        "xgboost_careful": {"lambda": 5, "rounds": 80},
    },
    quality=Quality(
        window="1m",
        lateness="10s",
        topic="iris-classified-window-counts",
        totals_topic="model-output",
        alerts_topic="iris-alerts",
        alerts=[
            Alert("wrong_species", "accuracy", below=0.8, minimum_records=20),
        ],
    ),
    description="Gives the probability of each species.",
)
