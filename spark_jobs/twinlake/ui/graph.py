"""What is made from what, as a drawing: boxes in layers, from sources to versions of models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from twinlake.definitions.documents import Definitions
from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.views import FeatureView
from twinlake.planning.lineage import Built

LAYERS = (
    "sources", "views", "on_demand", "services", "models", "training_sets", "versions",
)  # fmt: skip
TITLES = {
    "sources": "Sources",
    "views": "Feature views",
    "on_demand": "On-demand views",
    "services": "Feature services",
    "models": "Models",
    "training_sets": "Training sets",
    "versions": "Versions of models",
}
_SIDE_BY_SIDE = (
    ("sources",), ("views",), ("on_demand",), ("services",), ("models", "training_sets"),
    ("versions",),
)  # fmt: skip
_WIDTH, _HEIGHT, _BESIDE, _BELOW = 160, 30, 30, 12
# What a line past a layer takes up there.
_PASSING = 18
_LETTERS = 22


@dataclass(frozen=True)
class Node:
    """One thing: of which layer, called what, linked to where."""

    layer: str
    name: str
    link: str = ""


@dataclass
class Graph:
    """Things, and which is made from which."""

    nodes: dict[tuple[str, str], Node] = field(default_factory=dict)
    edges: set[tuple[tuple[str, str], tuple[str, str]]] = field(default_factory=set)

    def add(self, layer: str, name: str, link: str = "") -> tuple[str, str]:
        """Add a thing."""
        self.nodes.setdefault((layer, name), Node(layer, name, link))
        return layer, name

    def around(self, focus: Collection[tuple[str, str]]) -> Graph:
        """Give what some things are made from, and what is made from them."""
        kept = set(focus) & set(self.nodes)
        for forward in (True, False):
            found = set(focus)
            while True:
                more = {
                    (b if forward else a) for a, b in self.edges if (a if forward else b) in found
                } - found
                if not more:
                    break
                found |= more
            kept |= found
        edges = {(a, b) for a, b in self.edges if a in kept and b in kept}
        return Graph({key: node for key, node in self.nodes.items() if key in kept}, edges)

    def layers(self) -> list[tuple[str, list[Node]]]:
        """List the things layer by layer; no layer is empty."""
        found = [
            (layer, [node for node in self.nodes.values() if node.layer == layer])
            for layer in LAYERS
        ]
        return [(TITLES[layer], nodes) for layer, nodes in found if nodes]


@dataclass(frozen=True)
class Box:
    """A thing, drawn."""

    node: Node
    x: int
    y: int
    text: str
    is_focus: bool


@dataclass(frozen=True)
class Drawing:
    """A graph, drawn: boxes, and the paths of lines between them."""

    width: int
    height: int
    boxes: Sequence[Box]
    paths: Sequence[str]
    box_width: int = _WIDTH
    box_height: int = _HEIGHT


def whole_graph(definitions: Definitions, built: Built) -> Graph:
    """Give everything that is applied and was built."""
    graph = Graph()
    for name in definitions.sources:
        graph.add("sources", name, f"/catalogue/sources/{name}")
    for view in definitions.views.values():
        graph.add("views", view.name, f"/catalogue/views/{view.name}")
        graph.edges.add((("sources", view.source.name), ("views", view.name)))
    for computed in definitions.on_demand.values():
        graph.add("on_demand", computed.name, f"/catalogue/on_demand/{computed.name}")
        for each, _ in computed.reads():
            graph.edges.add((("views", each.stored.name), ("on_demand", computed.name)))
    for service in definitions.services.values():
        graph.add("services", service.name, f"/catalogue/services/{service.name}")
        for part, _ in service.parts():
            layer = "on_demand" if isinstance(part, OnDemandView) else "views"
            graph.edges.add(((layer, stored_name(part)), ("services", service.name)))
    for model in definitions.models.values():
        graph.add("models", model.name, f"/catalogue/models/{model.name}")
        graph.edges.add((("services", model.service.name), ("models", model.name)))
    _add_built(graph, built)
    return graph


def _add_built(graph: Graph, built: Built) -> None:
    for one in built.training_sets:
        graph.add("training_sets", one.name, f"/training-sets/{one.name}")
        graph.edges.add((("services", one.service), ("training_sets", one.name)))
    for version in built.versions:
        told = f"{version.model} version {version.version}"
        graph.add("versions", told)
        graph.edges.add((("models", version.model), ("versions", told)))
        graph.edges.add((("training_sets", version.training_set), ("versions", told)))
    graph.edges = {(a, b) for a, b in graph.edges if a in graph.nodes and b in graph.nodes}


def stored_name(view: FeatureView | OnDemandView) -> str:
    """Name a view as it is applied, whatever a service calls it."""
    return view.name if isinstance(view, OnDemandView) else view.stored.name


def draw(graph: Graph, focus: Collection[tuple[str, str]]) -> Drawing:
    """Draw a graph from left to right; a line past a layer goes between its boxes."""
    columns = _columns(graph)
    place = {key: number for number, keys in enumerate(columns) for key in keys}
    routes = []
    for a, b in sorted(graph.edges):
        passed = [("", f"{a} {number}") for number in range(place[a] + 1, place[b])]
        for number, key in enumerate(passed, place[a] + 1):
            if key not in columns[number]:
                columns[number].append(key)
        routes.append([a, *passed, b])
    heights = [sum(_step(key) for key in keys) for keys in columns]
    height = max(heights, default=0)
    boxes, points = [], {}
    for number, keys in enumerate(columns):
        x, y = 2 + number * (_WIDTH + _BESIDE), 2 + (height - heights[number]) // 2
        for key in keys:
            points[key] = x, y + (_step(key) - _BELOW) // 2
            if key in graph.nodes:
                node = graph.nodes[key]
                name = node.name
                text = name if len(name) <= _LETTERS else name[: _LETTERS - 2] + "..."
                boxes.append(Box(node, x, y, text, key in focus))
            y += _step(key)
    width = max(len(columns) * (_WIDTH + _BESIDE) - _BESIDE, 0) + 4
    paths = [" ".join(_path([points[key] for key in route])) for route in routes]
    return Drawing(width, height + 4, boxes, paths)


def _columns(graph: Graph) -> list[list[tuple[str, str]]]:
    """Part the things into columns; models and training sets both come of services."""
    found: list[list[tuple[str, str]]] = []
    for layers in _SIDE_BY_SIDE:
        keys = [key for key in graph.nodes if key[0] in layers]
        if keys:
            found.append(keys)
    return found


def _step(key: tuple[str, str]) -> int:
    return _HEIGHT + _BELOW if key[0] else _PASSING


def _path(points: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Draw a line from box to box, straight past what lies between."""
    (x, y), *others = points
    x += _WIDTH
    yield f"M{x} {y}"
    for number, (end_x, end_y) in enumerate(others):
        bend = _BESIDE // 2
        yield f"C{x + bend} {y} {end_x - bend} {end_y} {end_x} {end_y}"
        x, y = end_x, end_y
        if number + 1 < len(others):
            x += _WIDTH
            yield f"H{x}"
