"""The places that a model's alerts go to: a topic, a webhook, Amazon SNS."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from twinlake.assurance.alert_sinks import TopicSink, named_sinks
from twinlake.assurance.outbox import Event, Outbox, Sink
from twinlake.definitions.services import Model
from twinlake.flows.project import Project
from twinlake.flows.stream_outputs import TopicOutput


def make_outbox(project: Project, model: Model) -> Outbox:
    """Make what keeps a model's alerts until all places have them.

    Raises:
        InputError: An address or ARN of the environment is none.
    """
    sinks: dict[str, Sink] = {}
    if model.quality is not None and model.quality.alerts_topic:
        topic = model.quality.alerts_topic
        sinks[f"topic {topic}"] = TopicSink(_Sender(project, topic).send)
    sinks |= named_sinks(project.settings.alerts, project.environ)
    return Outbox(project.places.alerts_note(model.name), sinks)


class _Sender:
    """Sends one alert after the other."""

    def __init__(self, project: Project, topic: str) -> None:
        self._project, self._sent = project, 0
        self._topic = TopicOutput(project, topic, ["rule"])

    def send(self, event: Event) -> None:
        row: dict[str, Any] = dict(event)
        # What names a message: a later one has a greater number.
        self._sent += 1
        self._topic.send(pa.Table.from_pylist([row]), self._project.now_us() + self._sent)
