"""Card fraud: what a card did in the last ten minutes, beside what it did in the last week.

Names and formulas are those of the original system. Its windows counted arrivals, and training saw
the transaction that is judged while serving often did not yet; here both windows are of event time
and hold the transaction itself.
"""

from typing import Any

from twinlake import (
    Aggregate,
    Clock,
    Entity,
    Expectation,
    FeatureService,
    FeatureView,
    Files,
    Kafka,
    Model,
    Request,
    Source,
    on_demand,
)

# The transactions are made up, of the first months of 2022; reads answer as of the newest.
clock = Clock("data")

card = Entity("card", join_keys={"cc_num": "bigint"}, description="A payment card, by its number.")

transactions = Source(
    "transactions",
    schema=(
        "tid string, cc_num bigint, merchant string, amount decimal(12,2), zip_code string, "
        "trans_ts timestamp"
    ),
    event_timestamp="trans_ts",
    event_id="tid",
    known="event",
    batch=Files("data/"),  # what generator.py writes; its label is no column of the source
    stream=Kafka("cctopic", times_in="s"),
    expectations=[
        Expectation("expect_column_values_to_not_be_null", column="amount"),
        # What is given back is no purchase, and no more than this was ever asked of a card.
        Expectation(
            "expect_column_values_to_be_between",
            column="amount",
            min_value=0,
            strict_min=True,
            max_value=1_000_000,
        ),
        # Sixteen digits, the first a 4.
        Expectation(
            "expect_column_values_to_be_between",
            column="cc_num",
            min_value=4_000_000_000_000_000,
            max_value=4_999_999_999_999_999,
        ),
    ],
    description="One row per transaction, as the original's messages, with an id.",
)

card_activity = FeatureView(
    "card_activity",
    entity=card,
    source=transactions,
    ttl="8d",
    max_events_per_key=10_000,
    publish="stream",
    topic="ccdesttopic",
    features=[
        Aggregate("count", windows={"num_trans_last_10m": "10m"}),
        Aggregate("mean", "amount", windows={"avg_amt_last_10m": "10m"}),
    ],
    description="What happens on a card right now; kept fresh by the stream.",
)

card_history = FeatureView(
    "card_history",
    entity=card,
    source=transactions,
    ttl="30d",
    max_events_per_key=10_000,
    publish="batch",
    features=[
        Aggregate("count", windows={"num_trans_last_1w": "7d"}),
        Aggregate("mean", "amount", windows={"avg_amt_last_1w": "7d"}),
    ],
    description="What is usual on a card; published by the nightly batch.",
)


@on_demand(
    inputs=[card_activity, card_history, Request(amount="double")],
    outputs={"amt_ratio1": "double", "amt_ratio2": "double", "count_ratio": "double"},
)
def card_ratios(f: dict[str, Any]) -> dict[str, Any]:
    """How the last ten minutes, and the transaction, compare with the last week."""
    return {
        "amt_ratio1": f["avg_amt_last_10m"] / f["avg_amt_last_1w"],
        "amt_ratio2": f["amount"] / f["avg_amt_last_1w"],
        "count_ratio": f["num_trans_last_10m"] / f["num_trans_last_1w"],
    }


@on_demand(inputs=[Request(amount="double")], outputs={"transaction_amount": "double"})
def this_transaction(f: dict[str, Any]) -> dict[str, Any]:
    """What the transaction itself says; apart from the ratios, which a new card does not have."""
    return {"transaction_amount": f["amount"]}


fraud_vector = FeatureService(
    "fraud_vector",
    features=[this_transaction, card_ratios.select("amt_ratio1", "amt_ratio2", "count_ratio")],
    description="What the model takes, in the order of the original.",
)

fraud_features = FeatureService(
    "fraud_features",
    features=[card_activity, card_history, this_transaction, card_ratios],
    description="Everything that is known of a card and its transaction.",
)

card_fraud = Model(
    "card_fraud",
    service=fraud_vector,
    label="fraud_label",
    parameters={
        "objective": "binary:logistic",
        "max_depth": 5,
        "eta": 0.2,
        "gamma": 4,
        "min_child_weight": 6,
        "subsample": 0.7,
    },
    rounds=100,
    # From the third week on: before it, not every week that ends there is whole.
    trained_from="2022-01-15",
    tested_from="2022-05-15",
    threshold=0.25,
    description="Gives the probability that a transaction is fraud.",
)
