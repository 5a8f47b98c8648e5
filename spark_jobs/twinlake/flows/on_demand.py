"""On-demand features of a service: which functions may run."""

from __future__ import annotations

from twinlake.definitions.fingerprints import on_demand_fingerprint
from twinlake.definitions.services import FeatureService
from twinlake.errors import InputError
from twinlake.flows.project import Project
from twinlake.kernel.on_demand import Computation


def computations(project: Project, service: FeatureService) -> list[Computation]:
    """Give the functions of an applied service, as features.py defines them.

    The registry holds what a function does as text, and never runs it: the function itself comes
    from features.py, and must be the one that was applied.

    Raises:
        InputError: features.py defines another function, or none, by that name.
    """
    found = []
    for applied in service.on_demand():
        defined = project.definitions.on_demand.get(applied.name)
        if defined is None or on_demand_fingerprint(defined) != on_demand_fingerprint(applied):
            what = "is not in features.py" if defined is None else "differs from what was applied"
            raise InputError(
                f"on-demand view {applied.name} {what}; service {service.name} takes it",
                hint="run `twinlake apply` first; `twinlake plan` shows what changes",
            )
        found.append(Computation.of(defined))
    return found
