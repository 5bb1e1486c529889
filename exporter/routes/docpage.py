"""The API's description as one page without scripts, and without anything from outside."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
:root { color-scheme: light dark; }
section { border-top: 1px solid #8888; padding: .5rem 0; }
h2 { font-size: 1.1rem; } h2 code { font-weight: bold; }
pre { overflow-x: auto; padding: .5rem; background: #8882; border-radius: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
"""

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(description: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document."""
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    sections = "".join(
        _section(path, method, operation)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><body><h1>{title}</h1>"
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>'
        f"{sections}</body></html>"
    )


def _section(path: str, method: str, operation: Mapping[str, Any]) -> str:
    return "".join(
        [
            f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>",
            f"<p>{escape(operation.get('description', ''))}</p>",
            *_parameters(operation.get("parameters", [])),
            *_body(operation.get("requestBody")),
            *_responses(operation["responses"]),
            "</section>",
        ]
    )


def _parameters(parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    for parameter in parameters:
        told = escape(parameter.get("description", ""))
        yield f"<p><code>{escape(parameter['name'])}</code> ({parameter['in']}): {told}</p>"


def _body(body: Mapping[str, Any] | None) -> Iterator[str]:
    if body:
        yield f"<p>Body:</p>{_examples(body['content'])}"


def _responses(responses: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "<table>"
    for status, response in responses.items():
        told = escape(response["description"])
        yield f"<tr><th>{status}</th><td>{told}{_examples(response.get('content', {}))}</td></tr>"
    yield "</table>"


def _examples(content: Mapping[str, Mapping[str, Any]]) -> str:
    shown = (
        example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
        for media in content.values()
        if (example := media.get("example")) is not None
    )
    return "".join(f"<pre>{escape(text)}</pre>" for text in shown)
