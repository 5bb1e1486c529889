"""Validates manifests on stdin: `validate.py CRDS <manifests`. Prints every error; exits with 1 if there are any.

Kubernetes' own kinds have the strict schemas of kubernetes-validate. Custom resources have the schema in the
Prometheus Operator's definitions, the JSON files in the directory CRDS; where that lists properties, others
are errors.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

VERSION = "1.32"


def strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    pattern = schema.get("pattern")
    if (
        isinstance(pattern, str) and "(?i)" in pattern
    ):  # Go accepts flags anywhere, Python at the start
        closed["pattern"] = "(?i)" + pattern.replace("(?i)", "")
    return closed


def custom_schemas(directory: Path) -> dict[tuple[str, str], Any]:
    """Schemas by apiVersion and kind."""
    schemas = {}
    for path in directory.glob("*-crd.json"):
        definition = json.loads(path.read_text())["spec"]
        for version in definition["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            name = f"{definition['group']}/{version['name']}", definition["names"]["kind"]
            schemas[name] = schema
    return schemas


def main() -> int:
    schemas = custom_schemas(Path(sys.argv[1]))
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    errors = 0
    for document in documents:
        try:
            if schema := schemas.get((document["apiVersion"], document["kind"])):
                jsonschema.validate(document, schema)
            else:
                kubernetes_validate.validate(document, VERSION, strict=True)
        except (
            jsonschema.ValidationError,
            kubernetes_validate.ValidationError,
            kubernetes_validate.SchemaNotFoundError,
        ) as error:
            print(
                f"{document['kind']} {document['metadata']['name']}: {str(error).splitlines()[0]}"
            )
            errors += 1
    print(f"{len(documents)} manifests, {errors} errors")
    return 1 if errors or not documents else 0


sys.exit(main())
