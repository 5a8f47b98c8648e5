"""What holds for every test: UTC, and properties that try the same examples every time.

The Spark session is made in tests/spark/conftest.py: nothing here may start or import Spark.
"""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings

os.environ["TZ"] = "UTC"
time.tzset()

# A failure must come back when the test is run again; a slow machine is no failure.
settings.register_profile("twinlake", derandomize=True, deadline=None, database=None)
# To search further than the gate does: HYPOTHESIS_PROFILE=search bash bootstrap/test --lane unit
settings.register_profile("search", deadline=None, max_examples=2_000, database=None)
# To see only whether there is a failure: the smallest example of it takes minutes to find.
settings.register_profile(
    "mutants",
    settings.get_profile("twinlake"),
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "twinlake"))


@pytest.fixture(scope="session")
def cassandra_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a Cassandra of this run alone listens; it is started once, by who asks first."""
    from tests.stack.servers import client, port_of, private_stack

    with private_stack(tmp_path_factory.mktemp("stack")) as stack:
        port = port_of(stack)
        yield port
        client(port).cluster.shutdown()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Kafka of this run alone listens, as clients are told; started by who asks first."""
    from tests.stack.servers import port_of, private_stack

    with private_stack(tmp_path_factory.mktemp("kafka"), services=["kafka"]) as stack:
        yield f"127.0.0.1:{port_of(stack)}"
