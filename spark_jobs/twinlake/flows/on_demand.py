"""On-demand features of a service: which functions may run."""

from __future__ import annotations

from twinlake.definitions.services import FeatureService
from twinlake.flows.project import Project
from twinlake.kernel.on_demand import Computation
from twinlake.serving import reading


def computations(project: Project, service: FeatureService) -> list[Computation]:
    """Give the functions of an applied service, as features.py defines them.

    Raises:
        InputError: features.py defines another function, or none, by that name.
    """
    # features.py is only run where the service takes something from it.
    defined = project.definitions.on_demand if service.on_demand() else {}
    return reading.computations(service, defined)
