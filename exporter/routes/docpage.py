"""HTML page of the API: a table of contents, every operation, and a form that sends it.

The page loads nothing from other hosts.
"""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
:root { color-scheme: light dark; }
section { border-top: 1px solid #8888; padding: .5rem 0; }
h2 { font-size: 1.1rem; } h2 code { font-weight: bold; }
nav ul { list-style: none; padding: 0; columns: 20rem; }
pre, output { display: block; overflow-x: auto; padding: .5rem; background: #8882; border-radius: .25rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-family: monospace; }
output:empty { display: none; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
form { display: grid; gap: .5rem; justify-items: start; margin: .5rem 0; }
output { width: 100%; box-sizing: border-box; }
input, textarea { font: inherit; width: 24rem; max-width: 90vw; }
"""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(description: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document."""
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    operations = [
        (path, method, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    contents = "".join(
        f'<li><a href="#{_anchor(path, method)}"><code>{method.upper()} {escape(path)}</code></a></li>'
        for path, method, _ in operations
    )
    sections = "".join(_section(*operation) for operation in operations)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><body><h1>{title}</h1>"
        '<p>For programs: <a href="openapi.json">openapi.json</a>.'
        ' <a href=".">Status page</a></p>'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>'
        "<form><label>API token, for requests that require it:<br>"
        '<input id="token" type="password" autocomplete="off"></label></form>'
        f'{sections}<script type="module" src="assets/docs.js"></script></body></html>'
    )


def _anchor(path: str, method: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{method}{path}".lower()).strip("-")


def _section(path: str, method: str, operation: Mapping[str, Any]) -> str:
    return "".join(
        [
            f'<section id="{_anchor(path, method)}">',
            f"<h2><code>{method.upper()} {escape(path)}</code></h2>",
            f"<p>{escape(operation.get('description', ''))}</p>",
            "<p>Requires the API token.</p>" if "security" in operation else "",
            *_parameters(operation.get("parameters", [])),
            *_body(operation.get("requestBody")),
            *_responses(operation["responses"]),
            _form(path, method, operation),
            "</section>",
        ]
    )


def _parameters(parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    for parameter in parameters:
        text = escape(parameter.get("description", ""))
        yield f"<p><code>{escape(parameter['name'])}</code> ({parameter['in']}): {text}</p>"


def _body(body: Mapping[str, Any] | None) -> Iterator[str]:
    if body:
        yield f"<p>Body:</p>{_examples(body['content'])}"


def _responses(responses: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "<table>"
    for status, response in responses.items():
        text = escape(response["description"])
        yield f"<tr><th>{status}</th><td>{text}{_examples(response.get('content', {}))}</td></tr>"
    yield "</table>"


def _examples(content: Mapping[str, Mapping[str, Any]]) -> str:
    shown = (
        _text(example)
        for media in content.values()
        if (example := media.get("example")) is not None
    )
    return "".join(f"<pre>{escape(text)}</pre>" for text in shown)


def _text(example: Any) -> str:
    return (
        example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    )


def _form(path: str, method: str, operation: Mapping[str, Any]) -> str:
    """A form that assets/docs.js sends, filled with the examples of what is required."""
    fields = []
    for parameter in operation.get("parameters", []):
        name = escape(parameter["name"])
        example = parameter["schema"]["examples"][0] if parameter.get("required") else ""
        fields.append(
            f'<label>{name}<br><input name="{name}" data-in="{parameter["in"]}"'
            f' value="{escape(example)}"></label>'
        )
    if body := operation.get("requestBody"):
        example = _text(body["content"]["application/json"]["example"])
        fields.append(f"<label>body<br><textarea>{escape(example)}</textarea></label>")
    return (
        "<details><summary>Send this request</summary>"
        f'<form data-method="{method.upper()}" data-path="{escape(path)}">{"".join(fields)}'
        "<button>Send</button><output></output></form></details>"
    )
