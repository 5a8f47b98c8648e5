"""Where alerts go: a topic, a webhook, Amazon SNS.

The token of a webhook comes from the variable ``TWINLAKE_ALERTS_TOKEN`` alone, the keys of AWS from
where its own library looks. Messages name no path of an address: a webhook's may hold a secret.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from twinlake.assurance.outbox import Event, Sink
from twinlake.errors import EnvironmentFailure, InputError

TOKEN_VARIABLE = "TWINLAKE_ALERTS_TOKEN"  # noqa: S105 (the name of a variable)
_TIMEOUT_S = 5.0
_OK = range(200, 300)
_ARN_PARTS = 6
_SUBJECT = 100


class TopicSink:
    """A topic, or the folder that plays one.

    Args:
        send: Sends one message and returns when it is acknowledged.
    """

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send

    def send(self, event: Event) -> None:
        """Send an event; what the topic raises is passed on."""
        self._send(event)


class WebhookSink:
    """A server that takes events by POST as JSON, each with its id as ``Idempotency-Key``.

    Any status from 200 to 299 is a delivery; redirects are not followed.

    Args:
        url: Where, with http or https.
        token: Sent as a bearer token, if there is one.
        timeout_s: How long the server may be silent.

    Raises:
        InputError: The address is none.
    """

    def __init__(self, url: str, token: str = "", timeout_s: float = _TIMEOUT_S) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
            raise InputError(
                "[alerts] webhook is no address of a server",
                hint="write https://HOST/PATH, or leave it empty",
            )
        self._is_safe, self._host, self._port = parts.scheme == "https", parts.hostname, port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._token, self._timeout_s = token, timeout_s

    def send(self, event: Event) -> None:
        """Deliver an event.

        Raises:
            EnvironmentFailure: The server is not there, is silent, or refuses.
        """
        kind = http.client.HTTPSConnection if self._is_safe else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_s)
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(event["id"])}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request("POST", self._path, json.dumps(event).encode(), headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EnvironmentFailure(
                f"webhook at {self._host}: {_reason(error)}", hint="is it up?"
            ) from None
        finally:
            connection.close()
        if status not in _OK:
            raise EnvironmentFailure(
                f"webhook at {self._host} answers {status}", hint=f"check {TOKEN_VARIABLE}"
            )


class SnsSink:
    """A topic of Amazon SNS; of a FIFO topic, an event's id is the deduplication id.

    Args:
        topic: Its ARN.
        region: Of AWS; empty: the ARN's own.
        endpoint_url: Another server than AWS's, as tests have one.
        timeout_s: How long it may take to connect, and to answer.

    Raises:
        InputError: The ARN is none of a topic.
    """

    def __init__(
        self,
        topic: str,
        region: str = "",
        endpoint_url: str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        parts = topic.split(":")
        if len(parts) != _ARN_PARTS or parts[0] != "arn" or parts[2] != "sns" or not parts[5]:
            raise InputError(
                f"[alerts] sns_topic is {topic!r}",
                hint="write arn:aws:sns:REGION:ACCOUNT:TOPIC, or leave it empty",
            )
        self._topic, self._region = topic, region or parts[3]
        self._endpoint_url, self._timeout_s = endpoint_url, timeout_s
        self._client: Any = None

    def send(self, event: Event) -> None:
        """Publish an event.

        Raises:
            EnvironmentFailure: boto3 is not installed, or SNS does not take the event.
        """
        client = self._started()
        told: dict[str, Any] = {
            "TopicArn": self._topic,
            "Message": json.dumps(event),
            # What Amazon allows in a subject: ASCII, up to 100 characters.
            "Subject": f"{event['model']}: {event['rule']} {event['kind']}"[:_SUBJECT],
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": str(event[name])}
                for name in ("id", "kind", "model", "rule")
            },
        }
        if self._topic.endswith(".fifo"):
            told |= {"MessageDeduplicationId": event["id"], "MessageGroupId": event["model"]}
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            client.publish(**told)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error")
            raise EnvironmentFailure(f"SNS topic {self._topic} answers {code}") from None
        except BotoCoreError as error:
            raise EnvironmentFailure(f"SNS topic {self._topic}: {type(error).__name__}") from None

    def _started(self) -> Any:  # noqa: ANN401 (imported when used)
        if self._client is None:
            try:
                import boto3
                from botocore.config import Config
            except ImportError as error:
                raise EnvironmentFailure(
                    "alerts go to SNS, and boto3 is not installed", hint="install boto3"
                ) from error
            # The outbox tries again by itself, in its own time.
            once = Config(
                connect_timeout=self._timeout_s,
                read_timeout=self._timeout_s,
                retries={"total_max_attempts": 1},
            )
            self._client = boto3.session.Session().client(
                "sns", region_name=self._region, endpoint_url=self._endpoint_url, config=once
            )
        return self._client


def named_sinks(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Sink]:
    """Give the sinks that an environment names.

    Args:
        settings: What [alerts] says: ``webhook``, ``sns_topic``, ``region``.
        environ: The environment variables, of which one may hold the webhook's token.

    Raises:
        InputError: An address or ARN is none.
    """
    sinks: dict[str, Sink] = {}
    if settings["webhook"]:
        sinks["webhook"] = WebhookSink(settings["webhook"], environ.get(TOKEN_VARIABLE, ""))
    if settings["sns_topic"]:
        sinks["sns"] = SnsSink(settings["sns_topic"], settings["region"])
    return sinks


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    told = error.strerror if isinstance(error, OSError) else None
    return told or type(error).__name__
