"""What forgetting a key leaves to others: topics, the user's files, models, backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinlake.definitions.sources import DeltaTable, Kafka, Source
from twinlake.errors import TwinlakeError
from twinlake.flows import catalogue
from twinlake.flows.erasable import EntityKey, Holders
from twinlake.flows.kafka_topics import Topics
from twinlake.flows.project import Project
from twinlake.lake import source_files
from twinlake.online.opening import keyspace_of
from twinlake.registry.trained import TrainedModels

_SHORT = 6  # shorter texts stand in files by chance
_MOST_NAMED = 10


@dataclass(frozen=True)
class Left:
    """Something that is left to do.

    Attributes:
        what: What still holds the key, or may.
        where: Files, or other places.
        who: Whose work it is.
        do: What to do.
    """

    what: str
    where: tuple[str, ...]
    who: str
    do: str


def left(project: Project, key: EntityKey, holders: Holders) -> list[Left]:
    """Say what is left to do for a key, and by whom."""
    found: list[Left] = []
    for source in holders.sources.values():
        found += _files(project, key, source)
        found += _stream(project, key, source)
    topics = {view.topic for view in holders.views if view.topic}
    for topic in sorted(topics):
        found += _topic(project, key, topic, f"what {topic} was sent of feature rows")
    found += _spines(project, key)
    found += _models(project, key)
    if project.settings.online_kind != "sqlite":
        found.append(
            Left(
                "the online tables of Cassandra",
                (keyspace_of(project.settings),),
                "who runs Cassandra",
                "the rows are deleted; their bytes leave the disks by compaction, once "
                "gc_grace_seconds have passed, and snapshots when they are cleared",
            )
        )
    found += _same_keys(project, key)
    found.append(
        Left(
            "backups, and copies that others made",
            (),
            "who keeps them",
            "delete the key there too; a state that is restored from one has to forget it again",
        )
    )
    return found


def _files(project: Project, key: EntityKey, source: Source) -> Iterator[Left]:
    """Name the user's own files that hold the key: they are never changed."""
    try:
        paths = [file.path for file in project.input_files(source)]
    except TwinlakeError as error:
        yield Left(f"files of source {source.name}", (), "who owns them", error.message)
        return
    if not paths:
        return
    listed = source_files.holding(
        project.spark, source, paths, project.input_format(source), key.kinds, key.texts
    )
    if listed:
        yield Left(
            f"files of source {source.name}",
            tuple(listed),
            "who owns them",
            "write them without the key; rows that land from them again are erased at once",
        )


def _stream(project: Project, key: EntityKey, source: Source) -> Iterator[Left]:
    if isinstance(source.stream, DeltaTable):
        path = str(project.settings.project / source.stream.path)
        what = f"the table that source {source.name} is streamed from"
        yield Left(what, (path,), "who owns it", "delete the key there, then VACUUM")
    elif isinstance(source.stream, Kafka):
        topic = source.stream.topic
        yield from _topic(project, key, topic, f"topic {topic} of source {source.name}")


def _topic(project: Project, key: EntityKey, topic: str, what: str) -> Iterator[Left]:
    servers = project.settings.stream_bootstrap
    if not servers:
        files = _with_words(project.places.topic(topic), key)
        if files:
            do = "take the files away, or write them without the key"
            yield Left(what, tuple(map(str, files)), "who writes the folder", do)
        return
    try:
        kept = Topics(servers).retention(topic)
    except TwinlakeError as error:
        kept = f"how long it keeps records is not known: {error.message}"
    do = f"wait: {kept}; or delete the records before the newest of the key"
    yield Left(what, (",".join(servers),), "who runs Kafka", do)


def _spines(project: Project, key: EntityKey) -> Iterator[Left]:
    """Name spines of the user that training sets with the key were built from."""
    own = project.places.spines.resolve()
    paths = {Path(receipt.spine.path) for receipt in catalogue.receipts(project)}
    files = sorted(
        path
        for path in paths
        if path.is_file() and path.parent.resolve() != own and _holds_words(path, key)
    )
    if files:
        do = "write them without the key: a training set that is built from them has its rows"
        yield Left("spines", tuple(map(str, files)), "who owns them", do)


def _models(project: Project, key: EntityKey) -> Iterator[Left]:
    """Name models that learned from rows of the key."""
    from twinlake.flows import erasable
    from twinlake.registry.erasures import erasure

    holding = {
        place.name
        for place in erasable.set_places(project, key)
        if erasure(project.places.receipts, place.name) is not None or place.find(project).rows
    }
    trained = [
        f"{one.model} version {one.version}"
        for one in TrainedModels(project.settings.state).all()
        if one.training_set in holding
    ]
    if trained:
        do = "train anew, and archive these: what they learned of the key is in no single place"
        yield Left("models that learned from its rows", tuple(trained), "who trains them", do)
    state = project.settings.state
    files = [*_with_words(state / "models", key), *_with_words(state / "data_docs", key)]
    if files:
        do = "look at these files and delete those that hold the key"
        where = tuple(map(str, files[:_MOST_NAMED]))
        yield Left("artifacts of MLflow and data docs", where, "who trains and validates", do)


def _same_keys(project: Project, key: EntityKey) -> Iterator[Left]:
    """Name entities whose keys look the same; whether they mean the same only people know."""
    entities = project.applied().definitions.entities.values()
    same = [
        entity.name
        for entity in entities
        if entity.name != key.entity.name
        and not key.is_held_by(entity)
        and set(key.kinds) & set(entity.join_keys)
    ]
    if same:
        do = "forget its keys too, where they name the same: `twinlake forget ENTITY KEY=VALUE`"
        yield Left("entities with join keys of the same names", tuple(same), "you", do)


def _with_words(folder: Path, key: EntityKey) -> list[Path]:
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [file for file in files if file.is_file() and _holds_words(file, key)]


def _holds_words(file: Path, key: EntityKey) -> bool:
    """Tell whether a file holds all parts of a key as text; short ones say nothing."""
    words = [text.encode() for text in key.texts if len(text) >= _SHORT]
    if not words:
        return False
    content = file.read_bytes()
    return all(word in content for word in words)
