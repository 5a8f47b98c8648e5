"""The catalogue: everything that is applied, to search in, and one thing with all that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinlake.definitions.documents import Definitions, to_document
from twinlake.definitions.resolution import all_columns, view_features
from twinlake.errors import InputError, StateError
from twinlake.flows import catalogue
from twinlake.flows.lineage import built
from twinlake.flows.project import Project, view_table
from twinlake.registry.trained import TrainedModels
from twinlake.ui.graph import Drawing, Graph, draw, stored_name, whole_graph
from twinlake.ui.samples import Distribution, distributions, read_rows

KINDS = {
    "sources": "source",
    "entities": "entity",
    "views": "feature view",
    "on_demand": "on-demand view",
    "features": "feature",
    "services": "feature service",
    "models": "model",
}
_NEWEST = 10


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue."""

    kind: str
    name: str
    told: str

    @property
    def link(self) -> str:
        """Where it is shown."""
        return f"/catalogue/{self.kind}/{self.name}"

    @property
    def word(self) -> str:
        """What it is, for people."""
        return KINDS[self.kind]


@dataclass
class Item:
    """One thing of the catalogue.

    Attributes:
        entry: What it is.
        facts: What is said of it in a line each.
        definition: Its definition as a document.
        heads, rows: What came of it, newest first: landings, publications, versions.
        came: What these are.
        columns: Features or columns: name, type, and how each is made.
        distributions: By column, of a sample of rows.
        sampled: What was sampled, or why nothing was.
        graph, drawing: What it is made from, and what is made from it.
    """

    entry: Entry
    facts: dict[str, Any]
    definition: dict[str, Any]
    came: str = ""
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    columns: Sequence[dict[str, Any]] = ()
    distributions: dict[str, Distribution] = field(default_factory=dict)
    sampled: str = ""
    graph: Graph = field(default_factory=Graph)
    drawing: Drawing | None = None


def entries(definitions: Definitions) -> list[Entry]:
    """List everything that has a page."""
    d = definitions
    found = [Entry("sources", one.name, one.description) for one in d.sources.values()]
    found += [Entry("entities", one.name, one.description) for one in d.entities.values()]
    found += [Entry("views", one.name, one.description) for one in d.views.values()]
    found += [Entry("on_demand", one.name, one.description) for one in d.on_demand.values()]
    for view in d.views.values():
        for feature in view_features(view):
            made = feature.function or "newest"
            told = f"{made} of {feature.column or 'rows'}, {feature.type}"
            found.append(Entry("features", f"{view.name}.{feature.name}", told))
    for computed in d.on_demand.values():
        found += [
            Entry("features", f"{computed.name}.{name}", f"computed on demand, {kind}")
            for name, kind in computed.outputs.items()
        ]
    found += [Entry("services", one.name, one.description) for one in d.services.values()]
    found += [Entry("models", one.name, one.description) for one in d.models.values()]
    return found


def search(definitions: Definitions, words: str) -> list[Entry]:
    """Find what has all words in its name, kind or description; names come first."""
    wanted = words.lower().split()
    found = [
        entry
        for entry in entries(definitions)
        if all(word in f"{entry.name} {entry.word} {entry.told}".lower() for word in wanted)
    ]
    return sorted(found, key=lambda entry: not any(word in entry.name.lower() for word in wanted))


def item(project: Project, kind: str, name: str) -> Item:
    """Give one thing with all that is known of it.

    Raises:
        InputError: Nothing of that kind carries the name.
    """
    definitions = project.applied().definitions
    if kind not in KINDS:
        raise InputError.unknown("kind of definition", kind[:50], KINDS)
    known = {entry.name: entry for entry in entries(definitions) if entry.kind == kind}
    if name not in known:
        raise InputError.unknown(KINDS[kind], name[:100], known)
    made = Item(known[name], {}, _definition(definitions, kind, name))
    _FILLED[kind](project, definitions, name, made)
    graph = whole_graph(definitions, built(project))
    focus = _focus(definitions, kind, name)
    made.graph = graph.around(focus)
    made.drawing = draw(made.graph, focus)
    return made


def _definition(definitions: Definitions, kind: str, name: str) -> dict[str, Any]:
    if kind == "features":
        view, _, feature = name.partition(".")
        found = definitions.views.get(view) or definitions.on_demand[view]
        return {"view": found.name, "feature": feature, "owner": found.owner}
    [document] = [one for one in to_document(definitions)[kind] if one["name"] == name]
    return {key: value for key, value in document.items() if key != "name"}


def _focus(definitions: Definitions, kind: str, name: str) -> list[tuple[str, str]]:
    if kind == "entities":
        views = definitions.views.values()
        return [("views", view.name) for view in views if view.entity.name == name]
    if kind == "features":
        view = name.partition(".")[0]
        return [("views" if view in definitions.views else "on_demand", view)]
    return [(kind, name)]


def _fill_source(project: Project, definitions: Definitions, name: str, made: Item) -> None:
    [line] = [one for one in catalogue.listing(project)["sources"] if one["name"] == name]
    shown = catalogue.details(project, name)
    newest = shown["landings"][-_NEWEST:][::-1]
    made.facts = {key: value for key, value in line.items() if key != "name"}
    made.facts["landed"] = newest[0]["landed"] if newest else None
    made.came = "Landings"
    made.heads = (
        "version",
        "read",
        "accepted",
        "duplicate",
        "quarantined",
        "newest event",
        "landed",
    )
    made.rows = [[one[head] for head in made.heads] for one in newest]
    source = definitions.sources[name]
    made.columns = [
        {"name": column, "type": kind, "made": ""} for column, kind in all_columns(source).items()
    ]
    _add_distributions(made, project.places.events(name), "_verdict")


def _fill_view(project: Project, definitions: Definitions, name: str, made: Item) -> None:
    view = definitions.views[name]
    [line] = [one for one in catalogue.listing(project)["views"] if one["name"] == name]
    shown = catalogue.details(project, name)
    newest = shown["publications"][-_NEWEST:][::-1]
    made.facts = {key: value for key, value in line.items() if key != "name"}
    made.facts["owner"] = view.owner
    made.facts["newest event"] = _newest(project, view.source.name)
    made.facts["published"] = newest[0]["written"] if newest else None
    made.came = "Publications"
    made.heads = ("number", "events_version", "feature_rows", "online_rows", "written")
    made.rows = [[one[head] for head in made.heads] for one in newest]
    made.columns = [_feature_line(view.name, one) for one in shown["typed_features"]]
    _add_distributions(made, project.places.view(view_table(view)))


def _fill_feature(project: Project, definitions: Definitions, name: str, made: Item) -> None:
    from twinlake.flows.lineage import lineage

    view, _, feature = name.partition(".")
    [told] = [one for key, one in lineage(project, name).items() if key == f"feature {name}"]
    made.facts = {"made from": ", ".join(told["from"]), "by": told["by"]}
    breaks = {key: ", ".join(found) or None for key, found in told["breaks"].items()}
    made.facts |= {f"used by {key.replace('_', ' ')}": found for key, found in breaks.items()}
    made.facts["owner"] = made.definition.get("owner")
    made.columns = [
        {"name": feature, "type": made.entry.told.rpartition(", ")[2], "made": told["by"]}
    ]
    if view in definitions.views:
        path = project.places.view(view_table(definitions.views[view]))
        _add_distributions(made, path)


def _fill_on_demand(_: Project, definitions: Definitions, name: str, made: Item) -> None:
    view = definitions.on_demand[name]
    made.facts = {"function": view.function.name, "owner": view.owner}
    made.columns = [
        {"name": one, "type": kind, "made": "computed", "link": f"/catalogue/features/{name}.{one}"}
        for one, kind in view.outputs.items()
    ]


def _fill_entity(_: Project, definitions: Definitions, name: str, made: Item) -> None:
    entity = definitions.entities[name]
    views = [view.name for view in definitions.views.values() if view.entity.name == name]
    made.facts = {"views": ", ".join(views)}
    made.columns = [
        {"name": key, "type": kind, "made": "join key"} for key, kind in entity.join_keys.items()
    ]


def _fill_service(_: Project, definitions: Definitions, name: str, made: Item) -> None:
    service = definitions.services[name]
    models = [one.name for one in definitions.models.values() if one.service.name == name]
    made.facts = {"features": len(service.feature_names()), "models": ", ".join(models)}
    made.columns = [
        {
            "name": feature,
            "type": "",
            "made": f"of {view.name}",
            "link": f"/catalogue/features/{stored_name(view)}.{feature}",
        }
        for view, names in service.parts()
        for feature in names
    ]


def _fill_model(project: Project, definitions: Definitions, name: str, made: Item) -> None:
    model = definitions.models[name]
    made.facts = {
        "service": model.service.name,
        "label": model.label,
        "threshold": model.threshold,
        "classes": ", ".join(model.classes),
        "scores events of": model.source and model.source.name,
        "takes beside the service": ", ".join(model.spine_features),
    }
    made.came = "Versions"
    made.heads = ("version", "algorithm", "training set", "run")
    trained = TrainedModels(project.settings.state).all(name)[-_NEWEST:][::-1]
    made.rows = [(one.version, one.algorithm, one.training_set, one.run_id) for one in trained]


_FILLED = {
    "sources": _fill_source,
    "entities": _fill_entity,
    "views": _fill_view,
    "on_demand": _fill_on_demand,
    "features": _fill_feature,
    "services": _fill_service,
    "models": _fill_model,
}


def _feature_line(view: str, told: dict[str, Any]) -> dict[str, Any]:
    made = told["function"] if told["window"] is None else f"{told['function']} of {told['window']}"
    column = told["column"] or "rows"
    return {
        "name": told["name"],
        "type": told["type"],
        "made": f"{made} {column}" if told["column"] != told["name"] else made,
        "link": f"/catalogue/features/{view}.{told['name']}",
    }


def _newest(project: Project, source: str) -> str | None:
    [line] = [one for one in catalogue.listing(project)["sources"] if one["name"] == source]
    newest: str | None = line["newest"]
    return newest


def _add_distributions(made: Item, path: Path, verdict: str | None = None) -> None:
    """Describe the columns by a sample of rows; without a table there is nothing to describe."""
    import pyarrow.compute as pc

    where = None if verdict is None else pc.field(verdict) == "accepted"
    names = [one["name"].rpartition(".")[2] for one in made.columns]
    try:
        sample = read_rows(path, names, where)
    except StateError as error:
        made.sampled = error.message
        return
    made.distributions = distributions(sample, names)
    made.sampled = f"the first {sample.num_rows:,} rows of the newest version"
