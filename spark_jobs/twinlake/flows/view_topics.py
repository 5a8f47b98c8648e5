"""The topic of a view's feature rows, and how far they were sent.

Rows are sent after they were appended, and then it is noted up to which ingest version. What was
appended by a batch that the stream left to the lake, or was killed before it could send, is sent
from the table. Nothing is left out; after a crash a batch may be sent once more.
"""

from __future__ import annotations

import pyarrow as pa

from twinlake.definitions.views import FeatureView
from twinlake.flows.project import Project, view_table
from twinlake.flows.stream_outputs import TopicOutput
from twinlake.lake import feature_rows
from twinlake.registry import notes


class ViewTopic:
    """Where the new feature rows of a view go.

    Args:
        project: The project.
        view: The view; it has a topic, and is published up to ``version``.
        version: An ingest version. Where nothing was ever sent, what it reflects is history.
    """

    def __init__(self, project: Project, view: FeatureView, version: int) -> None:
        self._project = project
        self._view = view
        self._output = TopicOutput(project, str(view.topic), list(view.entity.join_keys))
        self._note = project.places.stream(view.source.name) / f"sent-{view.name}"
        if not self._note.exists():
            notes.write(self._note, str(version))
        elif int(self._note.read_text()) < version:
            self.send_written(version)

    def send(self, rows: pa.Table, version: int) -> None:
        """Send the feature rows that a batch brought."""
        self._output.send(rows, version)
        notes.write(self._note, str(version))

    def send_written(self, version: int) -> None:
        """Send the rows that were appended to the view's table since the last were sent."""
        path = self._project.places.view(view_table(self._view))
        since = int(self._note.read_text())
        written = feature_rows.written_between(self._project.spark, path, since, version)
        for part, rows in enumerate(written):
            self._output.send(rows, version, part)
        notes.write(self._note, str(version))
