"""The way in: definitions by name or as they are, in a project or without one."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from twinlake import Aggregate, Entity, FeatureView, Files, Source
from twinlake.cli.main import twinlake
from twinlake.errors import DefinitionError, InputError
from twinlake.testing.feature_test import FeatureTest

CHECKOUT = Path(__file__).parents[3]
ORDERS = "customer_id  amount  ordered_at\n7  10.0  2024-01-01\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    done = CliRunner().invoke(twinlake, ["init", str(tmp_path / "shop")])
    assert done.exit_code == 0
    return tmp_path / "shop"


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, as somebody there would who has twinlake installed."""
    command = [sys.executable, "-m", "pytest", "-p", "twinlake.testing.plugin", *arguments]
    environ = {"PYTHONPATH": str(CHECKOUT / "spark_jobs"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_what_init_makes_passes_its_own_tests_without_spark(shop: Path) -> None:
    heavy = {"pyspark", "pyarrow", "pandas", "mlflow"}
    check = f"import sys\ndef test_light():\n    assert not {heavy} & set(sys.modules)\n"
    (shop / "test_light.py").write_text(check, "utf-8")
    # From elsewhere: the project is found by where the test is.
    done = run_pytest(shop.parent, "shop/test_features.py", "shop/test_light.py")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_changed_feature_fails_them_with_the_rows(shop: Path) -> None:
    features = shop / "features.py"
    text = features.read_text("utf-8")
    features.write_text(text.replace('"orders_30d": "30d"', '"orders_30d": "20d"'), "utf-8")
    done = run_pytest(shop)
    assert done.returncode == 1
    assert "window 20d, (2024-01-" in done.stdout
    assert "before the window" in done.stdout
    assert "answers.py" not in done.stdout  # the place shown is the author's


def test_pytest_is_told_of_the_fixture() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    ((name, module),) = project["entry-points"]["pytest11"].items()
    assert name == module
    assert hasattr(import_module(module), "feature_test")


def test_definitions_are_found_by_name_at_or_above_a_folder(shop: Path) -> None:
    below = shop / "tests" / "deep"
    below.mkdir(parents=True)
    for folder in (shop, below):
        orders = FeatureTest(folder)("orders_service", ORDERS)
        orders.at("2024-01-02", customer_id=7).equals(orders_30d=1)
    with pytest.raises(InputError, match="no view or service named 'customer_order'") as caught:
        FeatureTest(shop)("customer_order", ORDERS)
    assert "did you mean 'customer_orders'" in str(caught.value.hint)
    with pytest.raises(InputError, match=r"there is no features\.py in .* or above it"):
        FeatureTest(shop.parent)("orders_service", ORDERS)


def test_definitions_that_do_not_hold_are_told_together() -> None:
    orders = Source("orders", schema="id string, at timestamp", event_timestamp="on")
    view = FeatureView(
        "v",
        entity=Entity("e", join_keys={"id": "string"}),
        source=orders,
        features=[Aggregate("count", windows={"n": "1x"})],
    )
    with pytest.raises(DefinitionError) as caught:
        FeatureTest()(view, [])
    assert [problem.place for problem in caught.value.problems][:2] == [
        "source orders, event_timestamp",
        "source orders",
    ]


def test_a_definition_needs_no_project() -> None:
    orders = Source(
        "orders", schema="id string, at timestamp", event_timestamp="at", batch=Files("o/")
    )
    view = FeatureView(
        "v",
        entity=Entity("e", join_keys={"id": "string"}),
        source=orders,
        hop="1h",
        features=[Aggregate("count", windows={"n": "1h"})],
    )
    FeatureTest()(view, "id  at\na  2024-01-01").at("2024-01-01", id="a").equals(n=1)
