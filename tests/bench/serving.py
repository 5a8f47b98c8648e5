"""Features of a loan over HTTP beside a bare route with the raw reads, and beside Feast's server.

    .venv/bin/python -m tests.bench.serving [--requests 2000] [--rounds 5] [--feast PYTHON]
        [--cassandra [PORT]]

Two views, 15 features, one process each, from SQLite or from Cassandra; without a port a private
server is started. The answers are compared first. Then, in turn and
warm: a closed loop of one client for the median; eight clients for the highest rate; an open loop
at half of it, whose waits count from when each request was due; 100 entities in a request. At the
end the parts of a prediction, for one row and for a hundred. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.measuring import give, machine, say
from tests.bench.serving_load import Client, Load, closed_loop, open_loop, request
from tests.stack.servers import port_of, private_stack, settings_of
from tests.unit.assurance.naive import Happened
from tests.unit.online.meters import folded
from tests.unit.serving.server import CHECKOUT, served
from twinlake.definitions.documents import Definitions
from twinlake.definitions.fingerprints import view_fingerprint
from twinlake.definitions.loading import load
from twinlake.definitions.times import parse_instant_us, to_datetime
from twinlake.definitions.views import FeatureView
from twinlake.models.recipe import TrainingRecipe
from twinlake.models.registered import Champion
from twinlake.models.train import train
from twinlake.online.opening import online_table, open_store
from twinlake.registry.state import Publication, Publications, Registry
from twinlake.serving.answers import answers
from twinlake.serving.documents import encoded, features_document
from twinlake.serving.predicting import forecasts, split_rows
from twinlake.serving.reading import Reading, make_ready, read_views
from twinlake.settings import Settings, load_settings

EXAMPLE = CHECKOUT / "spark_jobs" / "examples" / "loan_approval" / "features.py"
STORED = """
loan_stored = FeatureService("loan_stored", features=[zipcode_features, credit_history])
"""
KEYS, HUNDRED, EIGHT = 1_000, 100, 8
KEYSPACE = "serving"
EVENT_US = parse_instant_us("2021-08-01")
VIEWS = {"zipcode_features": "zipcode", "credit_history": "dob_ssn"}
PATH, FEAST_PATH = "/v1/features", "/get-online-features"
DEADLINE_S = 60


def make_project(
    folder: Path, port: int | None
) -> tuple[Settings, dict[str, list[dict[str, Any]]]]:
    """A project with published rows, and the rows."""
    project = folder / "project"
    project.mkdir()
    (project / "features.py").write_text(EXAMPLE.read_text("utf-8") + STORED, "utf-8")
    settings = load_settings(project, environ={"TWINLAKE_CONF": str(CHECKOUT / "conf")})
    if port is not None:
        there = settings_of(f"{port}/{KEYSPACE}")
        settings = replace(settings, online_kind="cassandra", cassandra=there)
    definitions = load(project)
    registry = Registry(settings.state)
    registry.write(registry.current(), definitions, 1)
    rows = {name: drawn(definitions.views[name]) for name in VIEWS}
    with open_store(settings) as store:
        for view in definitions.views.values():
            told = Publication(1, view_fingerprint(view), 1, 0, 1, 1, 0, 1, 1, superseding=False)
            Publications(settings.state, view.name).write(told)
            if view.name in VIEWS:
                key, table = VIEWS[view.name], online_table(view)
                happened = {
                    (row[key],): [Happened(EVENT_US, EVENT_US, 1, row)] for row in rows[view.name]
                }
                store.create(table)
                store.write(table, folded(view, happened, EVENT_US))
    return settings, rows


def drawn(view: FeatureView) -> list[dict[str, Any]]:
    """Draw a row for each key of a view."""
    chance, key = random.Random(view.name), VIEWS[view.name]
    table = online_table(view)
    return [
        {key: 10_000 + number if key == "zipcode" else f"1963{number:04}_4278"}
        | {
            name: f"{name} {chance.randrange(90)}" if kind == "string" else chance.randrange(10**6)
            for name, kind in table.features
        }
        for number in range(KEYS)
    ]


def entities_of(rows: Mapping[str, Sequence[Mapping[str, Any]]], count: int) -> list[Any]:
    """Draw the keys of a request."""
    return [
        {key: random.choice(rows[name])[key] for name, key in VIEWS.items()} for _ in range(count)
    ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running(command: Sequence[str], port: int, environ: Mapping[str, str]) -> Iterator[int]:
    """A server in a process of its own, once it listens."""
    process = subprocess.Popen(command, env={**os.environ, **environ}, stdout=sys.stderr)
    try:
        until = time.monotonic() + DEADLINE_S
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} does not listen")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def conf_of(settings: Settings) -> str:
    """What the server reads beside its port."""
    conf = "deadline_ms = 30000"
    if settings.online_kind == "cassandra":
        there = settings.cassandra
        conf += (
            f'\n[online]\nkind = "cassandra"\nport = {there.port}\nkeyspace = "{there.keyspace}"'
            f'\ndatacenter = "{there.datacenter}"\nreplication = 1'
        )
    return conf


@contextmanager
def bare(settings: Settings, definitions: Definitions) -> Iterator[int]:
    """The bare route on the same file."""
    is_cassandra = settings.online_kind == "cassandra"
    place = str(settings.cassandra.port if is_cassandra else settings.online_path)
    tables = [
        {
            "keyspace": KEYSPACE,
            "name": table.name,
            "key": key,
            "columns": [name for name, _ in table.features],
        }
        for view, key in VIEWS.items()
        for table in [online_table(definitions.views[view])]
    ]
    port = free_port()
    program = str(CHECKOUT / "tests" / "bench" / "serving_bare.py")
    command = [sys.executable, program, place, json.dumps(tables), str(port)]
    with running(command, port, {}) as there:
        yield there


@contextmanager
def feast(python: str, folder: Path, rows: Mapping[str, list[dict[str, Any]]]) -> Iterator[int]:
    """Feast's server on the same rows, in its SQLite store."""
    folder.mkdir()
    for name, some in rows.items():
        at = pa.array([to_datetime(EVENT_US)] * len(some), pa.timestamp("us", "UTC"))
        table = pa.Table.from_pylist(some).append_column("event_timestamp", at)
        pq.write_table(table, folder / f"{name}.parquet")
    port = free_port()
    program = str(CHECKOUT / "tests" / "bench" / "feast_serving.py")
    told = {"PYTHONPATH": "", "FEAST_USAGE": "False"}
    with running([python, program, str(folder), str(port)], port, told) as there:
        yield there


def feast_body(definitions: Definitions, entities: Sequence[Mapping[str, Any]]) -> Any:
    names = [
        f"{view}:{name}"
        for view in VIEWS
        for name, _ in online_table(definitions.views[view]).features
    ]
    keys = {key: [entity[key] for entity in entities] for key in VIEWS.values()}
    return {"features": names, "entities": keys}


def values_of(answer: Any) -> list[dict[str, Any]]:
    """What each contender gave, in one form."""
    if "results" in answer:
        names, columns = answer["metadata"]["feature_names"], answer["results"]
        rows = zip(*(column["values"] for column in columns), strict=True)
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{n: v for n, v in one.items() if n not in VIEWS.values()} for one in found]
    return [one.get("values", one) for one in answer["answers"]]


def compare(ports: Mapping[str, int], requests: Mapping[str, bytes]) -> None:
    """Refuse to time contenders that do not give the same."""

    async def ask(name: str) -> Any:
        client = await Client.to(ports[name])
        answer = json.loads(await client.ask(requests[name]))
        client.close()
        return values_of(answer)

    found = {name: asyncio.run(ask(name)) for name in ports}
    for name, answer in found.items():
        assert answer == found["ours"], f"{name} gives something else"


def measure(
    ports: Mapping[str, int], asked: Callable[[str, int], bytes], count: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Time all contenders in turn; medians of the rounds."""
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in ports}

    def note(name: str, **figures: float) -> None:
        for figure, value in figures.items():
            taken[name].setdefault(figure, []).append(value)

    for number in range(rounds + 1):
        for name, port in ports.items():
            ones = [asked(name, 1) for _ in range(count)]
            hundreds = [asked(name, HUNDRED) for _ in range(max(2, count // 20))]

            def run(load: Any) -> Load:
                done: Load = asyncio.run(load)
                return done

            alone = run(closed_loop(port, ones))
            most = run(closed_loop(port, ones, EIGHT))
            half = run(open_loop(port, ones, most.rate / 2))
            many = run(closed_loop(port, hundreds))
            if number:  # the first warms up
                note(name, p50_ms=alone.p50_ms, rate=most.rate, hundred_ms=many.p50_ms)
                note(name, half_p50_ms=half.p50_ms, half_p99_ms=half.p99_ms)
        say(f"  round {number} of {rounds}")
    return {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in taken.items()
    }


def prediction_parts(settings: Settings, rows: Mapping[str, Any], times: int) -> dict[str, Any]:
    """Time the parts of a prediction in this process: read, on demand, model, JSON; in ms."""
    definitions = load(settings.project)
    model = definitions.models["loan_approval"]
    ready = make_ready(model.service, definitions.on_demand)
    stored = make_ready(model.service.stored(), {})
    moments = {view.name: Reading(EVENT_US + 1, "instant") for view, _ in ready.views}
    champion, parts = _champion(model.service.feature_names(), model.spine_features), {}
    own = {
        name: "RENT" if "home" in name or "intent" in name else 3 for name in model.spine_features
    }
    with open_store(settings) as store:
        for count in (1, HUNDRED):
            laps: dict[str, list[float]] = {"read": [], "on_demand": [], "model": [], "json": []}
            for _ in range(times):
                asked_rows = [{**entity, **own} for entity in entities_of(rows, count)]
                began = time.perf_counter()
                questions, beside = split_rows(model, ready, asked_rows)
                asked = ready.questions(questions)
                found = read_views(ready, store, asked.keys, moments)
                without = answers(stored, asked, moments, found)
                read = time.perf_counter()
                done = answers(ready, asked, moments, found)
                computed = time.perf_counter()
                made = forecasts(model, champion, done, beside)
                judged = time.perf_counter()
                encoded(features_document(ready, moments, done))
                ended = time.perf_counter()
                assert len(made) == len(without) == count
                laps["read"].append(read - began)
                # The answers are put together in both; what is more is the function.
                laps["on_demand"].append(computed - read)
                laps["model"].append(judged - computed)
                laps["json"].append(ended - judged)
            parts[str(count)] = {p: 1000 * statistics.median(some) for p, some in laps.items()}
    return parts


def _champion(features: Sequence[str], spine_features: Sequence[str]) -> Champion:
    chance, count = np.random.default_rng(3), 2_000
    names = list(dict.fromkeys([*features, *spine_features]))
    texts = {"city", "state", "location_type", "person_home_ownership", "loan_intent"}
    columns: dict[str, Any] = {
        name: pa.array([f"{name} {n}" for n in chance.integers(0, 90, count)])
        if name in texts
        else chance.normal(0, 1, count)
        for name in names
    }
    columns["event_timestamp"] = pa.array(np.arange(count) * 10**9, pa.timestamp("us", "UTC"))
    columns["label"] = chance.random(count) < 0.3
    recipe = TrainingRecipe(
        name="loan_approval",
        label="label",
        features=tuple(names),
        params={"objective": "binary:logistic", "max_depth": 5, "eta": 0.1},
        rounds=200,
        threshold=0.5,
    )
    return Champion(train(pa.table(columns), recipe, seed=1, threads=2).scorer, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--feast", metavar="PYTHON")
    parser.add_argument("--cassandra", metavar="PORT", type=int, nargs="?", const=0)
    told = parser.parse_args()
    random.seed(7)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port = told.cassandra
        if port == 0:
            port = port_of(stack.enter_context(private_stack(Path(folder) / "stack")))
        settings, rows = make_project(Path(folder), port)
        definitions = load(settings.project)

        def asked(name: str, count: int) -> bytes:
            entities = entities_of(rows, count)
            if name == "feast":
                return request(FEAST_PATH, feast_body(definitions, entities))
            return request(PATH, {"service": "loan_stored", "entities": entities})

        parts = prediction_parts(settings, rows, max(2, told.requests // 10))
        with (
            served(settings, "--without-tokens", conf=conf_of(settings)) as ours,
            bare(settings, definitions) as bare_port,
        ):
            ports = {"bare": bare_port, "ours": ours.port}
            if told.feast is None:
                figures = compared(ports, asked, told)
            else:
                with feast(told.feast, Path(folder) / "feast", rows) as feast_port:
                    figures = compared({**ports, "feast": feast_port}, asked, told)
    say(text(figures, parts))
    give({"machine": machine(), "servers": figures, "prediction_ms": parts})


def compared(
    ports: Mapping[str, int], asked: Callable[[str, int], bytes], told: argparse.Namespace
) -> dict[str, dict[str, float]]:
    state = random.getstate()
    requests = {}
    for name in ports:  # the same keys for each
        random.setstate(state)
        requests[name] = asked(name, HUNDRED)
    compare(ports, requests)
    return measure(ports, asked, told.requests, told.rounds)


def text(figures: Mapping[str, Mapping[str, float]], parts: Mapping[str, Any]) -> str:
    """Lay the figures out."""
    heads = ["p50_ms", "rate", "half_p50_ms", "half_p99_ms", "hundred_ms"]
    lines = [f"| server | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, some in figures.items():
        lines.append(f"| {name} | {' | '.join(f'{some[head]:.3f}' for head in heads)} |")
    ours, least = figures["ours"], figures["bare"]
    lines += [
        f"p50 is {ours['p50_ms'] / least['p50_ms']:.2f}x the bare route's",
        f"p99 at half the rate is {ours['half_p99_ms'] / ours['half_p50_ms']:.2f}x its p50",
        f"100 entities take {ours['hundred_ms'] / least['hundred_ms']:.2f}x the bare route's",
    ]
    if "feast" in figures:
        lines.append(f"{ours['rate'] / figures['feast']['rate']:.1f}x the requests/s of Feast")
    return "\n".join([*lines, json.dumps(parts)])


if __name__ == "__main__":
    main()
