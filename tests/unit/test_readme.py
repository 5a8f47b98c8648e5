"""What the README shows is what there is."""

import ast
import re
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

import twinlake as definitions_of
from examples.iris_stream import features
from twinlake.cli.main import twinlake
from twinlake.definitions.checks import check
from twinlake.definitions.documents import Definitions
from twinlake.testing.feature_test import FeatureTest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_definition_shown_is_what_init_makes(tmp_path: Path) -> None:
    done = CliRunner().invoke(twinlake, ["init", str(tmp_path / "shop")])
    assert done.exit_code == 0
    assert (tmp_path / "shop" / "features.py").read_text("utf-8") == BLOCKS[0]


def test_the_test_of_features_shown_passes(tmp_path: Path) -> None:
    CliRunner().invoke(twinlake, ["init", str(tmp_path)])
    (shown,) = [block for block in BLOCKS if "feature_test" in block]
    names: dict[str, Any] = {}
    exec(shown, names)  # noqa: S102 (our own page)
    (test,) = [item for name, item in names.items() if name.startswith("test_")]
    test(FeatureTest(tmp_path))


def test_python_is_python_and_its_verbs_exist() -> None:
    from twinlake.flows.feature_store import FeatureStore
    from twinlake.flows.historical_features import HistoricalFeatures
    from twinlake.flows.online_features import OnlineFeatures

    (block,) = (block for block in BLOCKS if "get_online_features" in block)
    called = {
        node.attr
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    of_store = {
        "open", "get_online_features", "sql", "get_historical_features", "rebuild_training_set",
    }  # fmt: skip
    assert called == of_store | {"name", "receipt", "to_df"}
    assert {*dir(FeatureStore), "open"} >= of_store
    assert {*dir(HistoricalFeatures)} >= {"name", "receipt", "to_df", "to_arrow", "to_spark"}
    assert hasattr(OnlineFeatures, "to_df")


def test_what_is_watched_is_a_definition_that_holds() -> None:
    (block,) = (block for block in BLOCKS if "Quality(" in block)
    names = {**vars(definitions_of), "flower": features.flower, "iris": features.iris}
    exec(block, names)  # noqa: S102 (our own page)
    model = names["flowers"]
    assert isinstance(model, definitions_of.Model)
    definitions = Definitions(
        sources={"iris": features.iris},
        on_demand={"flower_areas": features.flower_areas},
        services={"flower": features.flower},
        models={"flowers": model},
    )
    check(definitions)


def test_every_verb_is_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \| ", README, re.MULTILINE)
    cells = [re.findall(r"`([a-z][a-z-]*)( [^`]*)?`", row) for row in rows]
    verbs = {name for cell in cells for name, _ in cell} - {"twinlake"}
    assert verbs == set(twinlake.commands)


def test_every_option_shown_is_one() -> None:
    shown = set(re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]+)", README))
    there = {"--jars", "--backend-store-uri", "--incremental"}  # of spark-submit, mlflow, a script
    groups = [one for one in twinlake.commands.values() if isinstance(one, click.Group)]
    within = [command for group in groups for command in group.commands.values()]
    for command in (twinlake, *twinlake.commands.values(), *within):
        there |= {name for option in command.params for name in option.opts}
    assert shown <= there
