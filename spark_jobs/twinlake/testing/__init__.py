"""Testing for authors of features: what a definition gives for a few rows, without Spark.

With twinlake installed, pytest knows the fixture ``feature_test``, in a file beside ``features.py``
or below it::

    def test_a_quiet_card_counts_nothing(feature_test):
        card = feature_test("card_activity", '''
            tid  cc_num            amount  trans_ts
            a    4000000000000001  5.00    2022-01-01 00:00
            b    4000000000000001  10.00   2022-01-01 00:04
        ''')
        asked = card.at("2022-01-01 00:05", cc_num=4000000000000001)
        asked.equals(num_trans_last_10m=2, avg_amt_last_10m="7.50")
        later = card.at("2022-01-01 01:00", cc_num=4000000000000001)
        later.equals(num_trans_last_10m=0, avg_amt_last_10m=None)

Each answer is computed as training sets are, from the rows, and as reads are, from what would be
published; where the two differ the test fails. Not part of it is what Spark alone evaluates:
derived columns come with the rows, and patterns of expectations are passed over.
"""
