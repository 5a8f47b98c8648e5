"""What each page shows. A page reads, and may fail: ``app`` says so in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from twinlake.definitions.services import Model
from twinlake.errors import InputError, StateError
from twinlake.flows import catalogue
from twinlake.flows.project import Project
from twinlake.registry import notes
from twinlake.registry.trained import TrainedModels
from twinlake.serving.problems import Refusal
from twinlake.ui import items, quality, samples, wording
from twinlake.ui.deciding import (
    NOT_KNOWN,
    Decisions,
    Field,
    decided_models,
    fields_of,
    require_model,
)
from twinlake.ui.guard import TOKEN_FIELD
from twinlake.ui.jobs import Jobs
from twinlake.ui.opening import Opening

_SHOWN_QUARANTINED = 50
_MATERIALIZE, _PARITY = "materialize", "parity"
_MOST_KEYS = 1_000_000
_RECORD = 400


class Pages:
    """The pages of one process.

    Args:
        opening: What they show.
        token: What each form holds.
        jobs: The jobs that they start.
        decisions: Where questions are decided.
    """

    def __init__(self, opening: Opening, token: str, jobs: Jobs, decisions: Decisions) -> None:
        self._opening, self._token = opening, token
        self._jobs, self._decisions = jobs, decisions
        self._templates = Environment(
            loader=PackageLoader("twinlake.ui"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name in ("cell", "exact", "number", "instant", "moment", "age", "title"):
            self._templates.filters[name] = getattr(wording, name)

    def page(self, template: str, status: int = 200, **told: Any) -> Response:  # noqa: ANN401 (a template's values)
        """Write a page."""
        settings = self._opening.settings
        text = self._templates.get_template(template).render(
            status=status,
            project=settings.project.name,
            env=settings.env,
            token=self._token,
            token_field=TOKEN_FIELD,
            now_us=self._opening.now_us(),
            **told,
        )
        return HTMLResponse(text, status)

    def home(self, _: Request) -> Response:
        """Go where most visits go: to decisions where a model makes some, else to the catalogue."""
        with self._opening.project() as project:
            models = project.registry.current().definitions.models
        return RedirectResponse("/decide" if decided_models(models) else "/catalogue", 303)

    # Decisions

    def models(self, _: Request) -> Response:
        """List the models that decide something; a single one is shown at once."""
        with self._opening.project() as project:
            found = decided_models(project.applied().definitions.models)
            trained = {one.model for one in TrainedModels(project.settings.state).all()}
        if len(found) == 1:
            return RedirectResponse(f"/decide/{next(iter(found))}", 303)
        return self.page("models.html", models=found, trained=trained)

    def question(self, request: Request) -> Response:
        """Show the form of a model."""
        with self._opening.project() as project:
            model = require_model(
                project.applied().definitions.models, request.path_params["model"]
            )
            fields = fields_of(project, model)
        self._decisions.warm_up()
        if "example" in request.query_params:
            fields = [field.filled(field.example or NOT_KNOWN) for field in fields]
        return self._decide_page(model, fields)

    def decide(self, request: Request, form: Mapping[str, str]) -> Response:
        """Decide what the form holds; where something is missing, say so beside it."""
        with self._opening.project() as project:
            model = require_model(
                project.applied().definitions.models, request.path_params["model"]
            )
            fields = [field.filled(form.get(field.name, "")) for field in fields_of(project, model)]
        if any(field.problem for field in fields):
            return self._decide_page(model, fields, 400)
        try:
            decision = self._decisions.decide(model, fields)
        except InputError as error:
            return self._decide_page(model, fields, 400, error=error)
        return self._decide_page(model, fields, decision=decision)

    def _decide_page(
        self,
        model: Model,
        fields: list[Field],
        status: int = 200,
        **told: Any,  # noqa: ANN401
    ) -> Response:
        shown = {"decision": None, "error": None} | told
        has_example = any(field.example for field in fields)
        return self.page(
            "decide.html", status, model=model, fields=fields, has_example=has_example, **shown
        )

    # Catalogue

    def catalogue(self, request: Request) -> Response:
        """List everything, or what a search finds."""
        words = request.query_params.get("q", "")[:200]
        with self._opening.project() as project:
            listing = catalogue.listing(project)
            found = items.search(project.applied().definitions, words) if words.strip() else None
            trained = TrainedModels(project.settings.state).all()
        return self.page(
            "catalogue.html",
            words=words,
            found=found,
            listing=listing,
            versions={one.model: one.version for one in trained},
            job=self._jobs.newest(_MATERIALIZE),
        )

    def item(self, request: Request) -> Response:
        """Show one thing."""
        kind, name = request.path_params["kind"], request.path_params["name"]
        with self._opening.project() as project:
            shown = items.item(project, kind, name)
        definition = json.dumps(shown.definition, indent=1, default=str, ensure_ascii=False)
        return self.page("item.html", item=shown, definition=definition)

    def materialize(self, _: Request, __: Mapping[str, str]) -> Response:
        """Start materializing what is new."""
        with self._opening.project() as project:
            project.applied()
        self._jobs.start(_MATERIALIZE, ["materialize-incremental"])
        return RedirectResponse("/catalogue", 303)

    # Training sets

    def training_sets(self, _: Request) -> Response:
        """List the training sets, newest first."""
        with self._opening.project() as project:
            project.applied()
            receipts = catalogue.receipts(project)[::-1]
            runs = {one.training_set: one for one in TrainedModels(project.settings.state).all()}
        return self.page("training_sets.html", receipts=receipts, runs=runs)

    def training_set(self, request: Request) -> Response:
        """Show a receipt."""
        name = request.path_params["name"]
        with self._opening.project() as project:
            receipt = _receipt(project, name)
            found = catalogue.find_definition(project, receipt)
            others = [r.training_set for r in catalogue.receipts(project) if r.training_set != name]
            trained = TrainedModels(project.settings.state).all()
        return self.page(
            "training_set.html",
            receipt=receipt,
            number=None if found is None else found[1],
            others=others[::-1],
            versions=[one for one in trained if one.training_set == name],
            mlflow=self._opening.mlflow,
            tracking=self._opening.settings.mlflow_tracking,
        )

    def diff(self, request: Request) -> Response:
        """Show what two receipts do not have in common, and the comparison of their rows."""
        a, b = (request.query_params.get(side, "") for side in ("a", "b"))
        with self._opening.project() as project:
            receipts = [_receipt(project, name) for name in (a, b)]
        documents = [_flat(json.loads(receipt.to_json())) for receipt in receipts]
        keys = [key for key in {**documents[0], **documents[1]} if key != "training_set"]
        rows = [(key, documents[0].get(key), documents[1].get(key)) for key in keys]
        return self.page(
            "diff.html",
            a=a,
            b=b,
            rows=[row for row in rows if row[1] != row[2]],
            alike=sum(row[1] == row[2] for row in rows),
            job=self._jobs.newest(f"diff {a} {b}"),
        )

    def compare(self, _: Request, form: Mapping[str, str]) -> Response:
        """Start comparing the rows of two training sets."""
        a, b = form.get("a", ""), form.get("b", "")
        with self._opening.project() as project:
            for name in (a, b):
                _receipt(project, name)
        self._jobs.start(f"diff {a} {b}", ["training-set", "diff", a, b])
        return RedirectResponse(f"/training-sets/diff?a={a}&b={b}", 303)

    # Checks

    def parity(self, _: Request) -> Response:
        """Show what parity said last, and let it be asked."""
        with self._opening.project() as project:
            services = list(project.applied().definitions.services)
            found = [
                {"of": name or "all views", **note}
                for name in (None, *services)
                if (note := notes.read(project.places.parity_note(name))) is not None
            ]
        verdicts = sorted(found, key=lambda one: -one["at_us"])
        return self.page(
            "parity.html", services=services, verdicts=verdicts, job=self._jobs.newest(_PARITY)
        )

    def check_parity(self, _: Request, form: Mapping[str, str]) -> Response:
        """Start parity."""
        service, keys = form.get("service", ""), form.get("keys", "").strip() or "1000"
        with self._opening.project() as project:
            if service:
                project.service(service)
            project.applied()
        if not keys.isascii() or not keys.isdigit() or not 1 <= int(keys) <= _MOST_KEYS:
            raise Refusal(
                400, f"{keys[:50]!r} is no number of keys", hint=f"give 1 to {_MOST_KEYS:,}"
            )
        named = [service] if service else []
        self._jobs.start(_PARITY, [_PARITY, *named, "--keys", str(int(keys))])
        return RedirectResponse("/parity", 303)

    def quarantine(self, _: Request) -> Response:
        """Show the rows that did not pass the gate, source by source."""
        with self._opening.project() as project:
            listing = catalogue.listing(project)["sources"]
            shown = [self._waiting(project, line) for line in listing]
        return self.page("quarantine.html", sources=shown, most=_SHOWN_QUARANTINED)

    def _waiting(self, project: Project, line: Mapping[str, Any]) -> dict[str, Any]:
        name = line["name"]
        told: dict[str, Any] = {
            **line, "rows": [], "waiting": 0, "is_bounded": False, "problem": "",
            "job": self._jobs.newest(f"replay {name}"),
        }  # fmt: skip
        if line["quarantined"]:
            try:
                rows, told["waiting"], told["is_bounded"] = samples.quarantined(
                    project.places.events(name), _SHOWN_QUARANTINED
                )
                told["rows"] = [_quarantined_row(row) for row in rows]
            except StateError as error:
                told["problem"] = error.message
        return told

    def replay(self, request: Request, _: Mapping[str, str]) -> Response:
        """Start a replay of a source's quarantine."""
        name = request.path_params["source"]
        with self._opening.project() as project:
            known = project.applied().definitions.sources
        if name not in known:
            raise InputError.unknown("source", name[:100], known)
        self._jobs.start(f"replay {name}", ["quarantine", "replay", name])
        return RedirectResponse("/quarantine", 303)

    def streams(self, _: Request) -> Response:
        """Show how streams go, by what they said last."""
        with self._opening.project() as project:
            definitions = project.applied().definitions
            shown = [
                {
                    "source": source,
                    "note": notes.read(project.places.stream_note(source.name)),
                    "runs": project.places.is_held("lander", source.name),
                    "views": [
                        view
                        for view in definitions.views.values()
                        if view.source.name == source.name and view.publish == "stream"
                    ],
                    "newest_us": project.landings(source.name).newest_event_us(),
                }
                for source in definitions.sources.values()
                if source.stream is not None
            ]
        return self.page("streams.html", streams=shown)

    def quality(self, _: Request) -> Response:
        """Show how models do that are watched."""
        with self._opening.project() as project:
            models = project.applied().definitions.models.values()
            shown = [quality.told(project, one) for one in models if one.quality is not None]
        return self.page("quality.html", models=shown)

    def job(self, request: Request) -> Response:
        """Tell the page's script how a job goes."""
        found = self._jobs.newest(request.query_params.get("name", ""))
        return JSONResponse(
            {"status": "unknown", "lines": []} if found is None else found.document()
        )


Shown = Callable[[Request], Response]
Changed = Callable[[Request, Mapping[str, str]], Response]


def _receipt(project: Project, name: str) -> Any:  # noqa: ANN401 (a receipt)
    """Give the receipt of a training set that is listed; a name is never taken for a path."""
    found = {receipt.training_set: receipt for receipt in catalogue.receipts(project)}
    if name not in found:
        raise InputError.unknown("training set", name[:100], found)
    return found[name]


def _flat(value: Any, path: str = "") -> dict[str, Any]:  # noqa: ANN401 (any JSON document)
    """Name every value of a document by its path."""
    if isinstance(value, dict):
        named = [(f"{path}.{key}" if path else key, one) for key, one in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        named = [(f"{path}.{one.get('name', place)}", one) for place, one in enumerate(value)]
    else:
        return {path: value}
    return {key: one for name, part in named for key, one in _flat(part, name).items()}


def _quarantined_row(row: Mapping[str, Any]) -> dict[str, Any]:
    raw = row["_raw"]
    columns = {name: cell for name, cell in row.items() if not name.startswith("_")}
    return {
        "row": f"{row['_version']}/{row['_row']}",
        "reasons": row["_reasons"] or [],
        "place": f"{Path(str(row['_origin'])).name} row {row['_offset']}",
        "record": None if raw is None else raw[:_RECORD].decode(errors="replace"),
        "columns": columns,
    }
