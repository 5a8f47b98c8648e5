import numpy as np, time, cProfile, pstats, sys
from twinlake.kernel.events import *
from twinlake.kernel.aggregates import compute
from twinlake.kernel.measures import Measure
from twinlake.kernel import asof

rng = np.random.default_rng(1)
K, D = 300, 700
day = 86_400_000_000
key = np.repeat(np.arange(K), D)
e = np.tile(np.arange(D) * day + day, K)
n = key.size
late = len(sys.argv) > 1 and sys.argv[1] == "late"
kn = e + (rng.integers(0, 3 * day, n) * (rng.random(n) < 0.3)).astype(np.int64) if late else e
dec = len(sys.argv) > 1 and sys.argv[1] == "dec"
vals = np.round(rng.gamma(2, 5, n), 3)
ev = Events(
    K,
    key,
    e,
    kn,
    {
        "x": NumericColumn((vals * 1000).astype(np.int64), rng.random(n) > 0.02, 3)
        if dec
        else NumericColumn(vals, rng.random(n) > 0.02)
    },
)
q = Queries.at(key.astype(np.int64), e)
W = [91 * day, 182 * day, 365 * day]
ms = [Measure(f, "x", w) for w in W for f in ("sum", "mean", "min", "max", "stddev")]


def run():
    return compute(ev, q, ms, day)


run()
t = time.perf_counter()
run()
dt = time.perf_counter() - t
print(
    f"{n} rows {len(ms)} measures {dt * 1e3:.0f} ms; {n * len(ms) / dt / 1e6:.1f}M results/s; {n / dt / 1e3:.0f}k rows/s"
)
for f in ("count", "sum", "mean", "min", "max", "stddev", "first", "last"):
    m = [Measure(f, "x", w) for w in W]
    t = time.perf_counter()
    compute(ev, q, m, day)
    dt = time.perf_counter() - t
    print(f, f"{dt * 1e3:.0f} ms {n * 3 / dt / 1e6:.1f}M/s")
t = time.perf_counter()
asof.newest(ev, q)
print("newest", (time.perf_counter() - t) * 1e3)
