"""The OpenAPI document as a page that needs nothing from elsewhere: no script, no other host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 50rem; padding: 1rem; }
h2 { border-top: 1px solid #8886; margin-top: 2rem; padding-top: 1rem; font-size: 1.1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: #8881; padding: .75rem; white-space: pre-wrap; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 1rem; }
"""


def page(document: Mapping[str, Any]) -> str:
    """Write an OpenAPI document as HTML."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])}</p><p><a href=openapi.json>openapi.json</a></p>",
    ]
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            parts += _operation(method, path, told)
    return "\n".join(parts)


def _operation(method: str, path: str, told: Mapping[str, Any]) -> list[str]:
    parts = [
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>",
        f"<p>{escape(told['summary'])}.</p>",
    ]
    if "security" in told:
        parts.append("<p>Takes <code>Authorization: Bearer TOKEN</code>.</p>")
    for kind, content in told.get("requestBody", {}).get("content", {}).items():
        parts += _content("Body", kind, content)
    for status, answer in told.get("responses", {}).items():
        for kind, content in answer.get("content", {}).items() if status == "200" else ():
            parts += _content("Answer", kind, content)
    return parts


def _content(what: str, kind: str, content: Mapping[str, Any]) -> list[str]:
    parts = [f"<p>{what}, <code>{escape(kind)}</code>:</p>"]
    if "example" in content:
        parts.append(f"<pre>{escape(json.dumps(content['example'], indent=1))}</pre>")
    properties = content.get("schema", {}).get("properties", {})
    rows = [
        f"<dt><code>{escape(name)}</code></dt><dd>{escape(str(schema.get('description', '')))} "
        f"<code>{escape(json.dumps(schema.get('type', '')))}</code></dd>"
        for name, schema in properties.items()
    ]
    return [*parts, f"<dl>{''.join(rows)}</dl>"] if rows else parts
