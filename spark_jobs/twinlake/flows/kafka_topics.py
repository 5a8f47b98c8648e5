"""Topics of Kafka, as somebody looks at them before a stream begins: there, and the same as before.

Everything else that reads or writes a topic speaks of records only; here its failures get the
messages that a user can act on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from twinlake.definitions.times import format_duration
from twinlake.errors import EnvironmentFailure, StateError

Result = TypeVar("Result")

_ANSWER_S = 15
_PARTITIONS = 4


class Topics:
    """The topics of some servers.

    Args:
        servers: Each ``host:port``.
    """

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = ",".join(servers)
        self._client: Any = None

    def _admin(self) -> Any:  # noqa: ANN401 (imported when used)
        if self._client is None:
            from confluent_kafka.admin import AdminClient

            # What goes wrong is told by an error, once.
            self._client = AdminClient({"bootstrap.servers": self._servers, "log_level": 2})
        return self._client

    def _ask(self, question: Callable[[], Result]) -> Result:
        from confluent_kafka import KafkaException

        try:
            return question()
        except KafkaException as error:
            raise EnvironmentFailure(
                f"Kafka at {self._servers} does not answer: {error.args[0].str()}",
                hint="is it up? `bootstrap/stack status`; [stream] bootstrap says where it is",
            ) from error

    def names(self, patience_s: float = _ANSWER_S) -> set[str]:
        """Give the names of all topics.

        Raises:
            EnvironmentFailure: No server answers in time.
        """
        found = self._ask(lambda: self._admin().list_topics(timeout=patience_s))
        return set(found.topics)

    def identity(self, name: str, patience_s: float = _ANSWER_S) -> str:
        """Give the id that Kafka gave a topic when it was made.

        Raises:
            StateError: There is no such topic.
            EnvironmentFailure: No server answers in time.
        """
        if name not in self.names(patience_s):
            raise StateError(
                f"there is no topic {name} at {self._servers}",
                hint="it is made by whoever sends to it first; is the name right?",
            )
        from confluent_kafka import TopicCollection

        asked = self._admin().describe_topics(TopicCollection([name]), request_timeout=patience_s)
        given = self._ask(asked[name].result).topic_id
        return f"{given.get_most_significant_bits():x}{given.get_least_significant_bits():x}"

    def partitions(self, name: str) -> list[int]:
        """Give the numbers of a topic's partitions.

        Raises:
            EnvironmentFailure: No server answers.
        """
        found = self._ask(lambda: self._admin().list_topics(name, timeout=_ANSWER_S))
        return sorted(found.topics[name].partitions)

    def first_offsets(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        """Give the oldest offset that each of some partitions still holds.

        Raises:
            EnvironmentFailure: No server answers.
        """
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec

        oldest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        asked = self._admin().list_offsets(
            {TopicPartition(name, one): oldest for one in partitions},
            request_timeout=_ANSWER_S,
        )
        return {place.partition: self._ask(told.result).offset for place, told in asked.items()}

    def retention(self, name: str) -> str:
        """Say how long a topic keeps records.

        Raises:
            EnvironmentFailure: No server answers.
        """
        from confluent_kafka.admin import ConfigResource, ResourceType

        resource = ConfigResource(ResourceType.TOPIC, name)
        asked = self._admin().describe_configs([resource], request_timeout=_ANSWER_S)
        told = self._ask(asked[resource].result)
        policy, kept_ms = told["cleanup.policy"].value, int(told["retention.ms"].value)
        if "delete" not in policy or kept_ms < 0:
            return f"it keeps records for ever (cleanup.policy {policy}, retention.ms {kept_ms})"
        return f"it keeps a record for {format_duration(kept_ms * 1_000)} after it was written"

    def ensure(self, name: str) -> None:
        """Make a topic where it is not there.

        Raises:
            EnvironmentFailure: No server answers, or it refuses.
        """
        if name in self.names():
            return
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import NewTopic

        made = self._admin().create_topics([NewTopic(name, _PARTITIONS)], request_timeout=_ANSWER_S)
        try:
            made[name].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another was faster
                raise EnvironmentFailure(
                    f"topic {name} cannot be made at {self._servers}: {error.args[0].str()}",
                    hint="make it, or let this user make topics",
                ) from error
