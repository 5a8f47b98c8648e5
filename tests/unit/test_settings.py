"""Settings: what wins over what, and what is refused."""

import tomllib
from pathlib import Path

import pytest

from twinlake.errors import EnvironmentFailure, InputError
from twinlake.java import cache_folder, find_java, jar_files, jars_folder, read_jars_lock
from twinlake.settings import DEFAULTS, flatten, load_settings

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    return folder


def test_built_in_defaults_are_conf_local() -> None:
    assert flatten(tomllib.loads((CONF / "local.toml").read_text("utf-8"))) == DEFAULTS


def test_local_keeps_everything_in_the_project(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={"HOME": "/home/ada"})
    state = tmp_path.resolve() / ".twinlake"
    assert settings.state == state
    assert settings.lake_root == f"{state}/lake"
    assert settings.online_kind == "sqlite"
    assert settings.online_path == state / "online.sqlite"
    assert settings.mlflow_tracking == f"sqlite:///{state}/mlflow.sqlite"
    assert settings.mlflow_artifacts == f"{state}/models"
    assert settings.driver_memory_bytes == 4 << 30
    assert settings.jars == Path("/home/ada/.cache/twinlake/jars/spark-3.5")
    assert settings.java_home is None


def test_argument_over_environment_over_file(tmp_path: Path, conf: Path) -> None:
    (conf / "local.toml").write_text('state = "by-file"\n[spark]\nshuffle_partitions = 7\n')
    by_file = load_settings(tmp_path, environ={}, conf_dir=conf)
    assert by_file.state == tmp_path.resolve() / "by-file"
    assert by_file.shuffle_partitions == 7
    environ = {"TWINLAKE_STATE": str(tmp_path / "by-env"), "TWINLAKE_SHUFFLE_PARTITIONS": "9"}
    by_env = load_settings(tmp_path, environ=environ, conf_dir=conf)
    assert by_env.state == tmp_path.resolve() / "by-env"
    assert by_env.shuffle_partitions == 9
    state = tmp_path / "by-argument"
    by_argument = load_settings(tmp_path, "local", state, environ=environ, conf_dir=conf)
    assert by_argument.state == state.resolve()
    assert by_argument.lake_root.startswith(str(state.resolve()))


def test_twinlake_conf_names_the_folder(tmp_path: Path, conf: Path) -> None:
    (conf / "mine.toml").write_text('[spark]\nmaster = "local[1]"\n')
    settings = load_settings(tmp_path, "mine", environ={"TWINLAKE_CONF": str(conf)})
    assert (settings.env, settings.spark_master) == ("mine", "local[1]")


def test_a_path_may_hold_braces(tmp_path: Path) -> None:
    project = tmp_path / "a{state}b"
    assert load_settings(project, environ={}).project == project.resolve()
    assert load_settings(tmp_path, state=tmp_path / "{x}", environ={}).lake_root.endswith(
        "{x}/lake"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[spark]\nmastr = 'x'", "spark.mastr"),
        ("[spark]\nshuffle_partitions = '4'", "expected a whole number"),
        ("[spark]\nshuffle_partitions = true", "expected a whole number"),
        ("[spark]\nshuffle_partitions = 0", "at least 1"),
        ("[spark]\ndriver_memory = '4 gigs'", "driver_memory"),
        ("spark = 3", "unknown key 'spark'"),
        ("[stream]\nbootstrap = 'kafka'", "'kafka'"),
        ("[stream]\nbootstrap = 'a:1, b:65536'", "'b:65536'"),
        ("[stream]\nbootstrap = ':9092'", "HOST:PORT"),
        ("= 3", "cannot be read as TOML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, conf: Path, text: str, told: str) -> None:
    (conf / "local.toml").write_text(text)
    with pytest.raises(InputError, match=r"local\.toml|shuffle_partitions") as failure:
        load_settings(tmp_path, environ={}, conf_dir=conf)
    assert told in str(failure.value)


def test_a_stream_names_several_servers_or_none(tmp_path: Path) -> None:
    assert load_settings(tmp_path, environ={}).stream_bootstrap == ()
    environ = {"TWINLAKE_STREAM_BOOTSTRAP": "one:9092, [::1]:9093,"}
    settings = load_settings(tmp_path, environ=environ)
    assert settings.stream_bootstrap == ("one:9092", "[::1]:9093")


def test_an_unknown_environment_names_the_known_ones(tmp_path: Path, conf: Path) -> None:
    (conf / "blue.toml").touch()
    with pytest.raises(InputError, match="'stack'") as failure:
        load_settings(tmp_path, "stack", environ={}, conf_dir=conf)
    assert "known: blue" in str(failure.value)


def test_a_variable_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="TWINLAKE_SHUFFLE_PARTITIONS is 'many'"):
        load_settings(tmp_path, environ={"TWINLAKE_SHUFFLE_PARTITIONS": "many"})


@pytest.mark.parametrize(
    ("environ", "cache"),
    [
        ({"TWINLAKE_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/twinlake"),
        ({"HOME": "/h"}, "/h/.cache/twinlake"),
    ],
)
def test_the_cache_is_where_the_user_wants_it(environ: dict[str, str], cache: str) -> None:
    assert cache_folder(environ) == Path(cache)
    assert jars_folder(environ, "other") == Path(cache) / "jars" / "other"


def test_missing_jars_are_named_with_what_to_do(tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text(
        f"# comment\nspark-3.5 g:a:1 a-1.jar {'0' * 64}\nother g:b:1 b-1.jar {'1' * 64}\n"
    )
    with pytest.raises(EnvironmentFailure, match=r"a-1\.jar") as failure:
        jar_files(tmp_path, lock)
    assert "b-1.jar" not in str(failure.value)
    assert "bash bootstrap/setup" in str(failure.value)
    (tmp_path / "a-1.jar").touch()
    assert jar_files(tmp_path, lock) == (tmp_path / "a-1.jar",)


def test_a_damaged_lock_is_named_by_line(tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text("\nspark-3.5 g:a:1 a-1.jar\n")
    with pytest.raises(InputError, match="line 2"):
        read_jars_lock(lock)


def _java(folder: Path, version: str) -> Path:
    """A program that answers as Java would."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    said = f"    java.home = {folder}\n    java.version = {version}"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    return folder


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    first, second = _java(tmp_path / "a", "17.0.1"), _java(tmp_path / "b", "17.0.2")
    environ = {"JAVA_HOME": str(first), "PATH": f"{second}/bin:/usr/bin:/bin"}
    assert find_java(environ).home == first
    del environ["JAVA_HOME"]
    java = find_java(environ)
    assert (java.home, java.version, java.origin, java.options) == (second, "17.0.2", "PATH", ())


def test_another_java_is_passed_over(tmp_path: Path) -> None:
    old, right = _java(tmp_path / "a", "11.0.3"), _java(tmp_path / "b", "17.0.2")
    environ = {"JAVA_HOME": str(old), "PATH": f"{right}/bin:/usr/bin:/bin"}
    assert find_java(environ).home == right


def test_a_configured_java_is_not_replaced(tmp_path: Path) -> None:
    asked, right = _java(tmp_path / "a", "21.0.1"), _java(tmp_path / "b", "17.0.2")
    with pytest.raises(EnvironmentFailure, match=r"needs Java 17.*is 21\.0\.1"):
        find_java({"JAVA_HOME": str(right), "PATH": "/usr/bin:/bin"}, asked)


def test_the_stack_trains_to_its_server_wherever_it_listens(tmp_path: Path) -> None:
    environ = {"TWINLAKE_STACK": str(tmp_path)}
    settings = load_settings(tmp_path / "p", "stack", environ=environ)
    at = "http" + "://127.0.0.1:"
    assert settings.mlflow_tracking == f"{at}5000"
    assert settings.mlflow_artifacts == "mlflow-artifacts:/"
    (tmp_path / "endpoints.toml").write_text(f'mlflow.tracking = "{at}15000"\n')
    settings = load_settings(tmp_path / "p", "stack", environ=environ)
    assert settings.mlflow_tracking == f"{at}15000"
    environ["TWINLAKE_MLFLOW_TRACKING"] = f"{at}7"
    assert load_settings(tmp_path, "stack", environ=environ).mlflow_tracking == f"{at}7"
