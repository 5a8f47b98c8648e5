"""What streams do is drawn in place, every number that the metrics have."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from twinlake.cli.live_view import LiveView
from twinlake.flows.stream_lander import Progress
from twinlake.flows.stream_scoring import Scored


def test_every_stream_has_a_column_and_every_number_a_line() -> None:
    out = StringIO()
    now = [10.0]
    view = LiveView(Console(file=out, width=160), clock=lambda: now[0])
    now[0] = 100.0
    progress = Progress(
        batches=7,
        read=12_345,
        accepted=12_000,
        duplicate=300,
        quarantined=45,
        feature_rows={"a": 5_000, "b": 6_001},
        online_rows={"a": 77},
        slow_batches=2,
        scored={"m": Scored(11_999, 1_011, 1)},
        retries=3,
        late=21,
        below_horizon=4,
        lag=9_876,
        parity_compared=5_432,
        parity_mismatching=1,
        validations=1,
        expectations_failed=8,
        batch_s={"judge": 0.25, "land": 0.5},
        freshness_s={0.5: 1.25, 0.99: 2.5},
    )
    view.note("payments", progress)
    view.note("readings", Progress())
    Console(file=out, width=160).print(view.drawn())
    text = out.getvalue()
    assert "streaming for 90 s" in text
    lines = {
        line.split("│")[1].strip(): line.split("│")[2:4]
        for line in text.splitlines()
        if "│" in line
    }
    assert {name: (left.strip(), right.strip()) for name, (left, right) in lines.items()} == {
        "in": ("12,345", "0"),
        "accepted": ("12,000", "0"),
        "duplicate": ("300", "0"),
        "quarantined": ("45", "0"),
        "late": ("21", "0"),
        "below horizon": ("4", "0"),
        "batches": ("7 (2 by way of the lake)", "0 (0 by way of the lake)"),
        "lag (records)": ("9,876", "-"),
        "freshness p50 / p99": ("1.25 / 2.50 s", "-"),
        "newest batch (s)": ("judge 0.25 land 0.50", "-"),
        "feature rows": ("11,001", "0"),
        "online rows": ("77 (3 retries)", "0 (0 retries)"),
        "scored": ("11,999 (1,011 positive)", "0 (0 positive)"),
        "served cells recomputed": ("5,432 (1 differ)", "0 (0 differ)"),
        "expectations that fail": ("8", "-"),
    }
