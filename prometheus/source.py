"""Writes prometheusrule.yml from the rule files: `python -m prometheus.source`. A test compares them."""

from pathlib import Path
from textwrap import indent

FOLDER = Path(__file__).parent
OUTPUT = FOLDER / "prometheusrule.yml"
_HEAD = """\
# Written by `python -m prometheus.source` from rules/: for the Prometheus Operator.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: smtpstatus
  labels: {app.kubernetes.io/part-of: smtpstatus}
spec:
  groups:
"""


def manifest() -> str:
    """The PrometheusRule with the groups of every rule file."""
    groups = [
        path.read_text().partition("\ngroups:\n")[2]
        for path in sorted((FOLDER / "rules").glob("*.yml"))
    ]
    return _HEAD + indent("\n".join(groups), "  ")


if __name__ == "__main__":
    OUTPUT.write_text(manifest())
