"""The alert rules as the Prometheus operator takes them: `python -m tests.operator_rules --write` or `--check`.

A PrometheusRule holds what a file of rules holds, and can't name one: it is a copy.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Final

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
RULES: Final = DEPLOY / "prometheus" / "alerts.yml"
COPY: Final = DEPLOY / "kubernetes" / "rules" / "prometheus-rule.yaml"
HEAD: Final = """\
# Written by `make rules` from deploy/prometheus/alerts.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: batch-aggregator
  labels: {app.kubernetes.io/name: batch-aggregator}
spec:
"""


def operator_rules(rules: str) -> str:
    """Return the manifest with these rules, which begin with the line `groups:`."""
    _, begin, groups = rules.partition("groups:\n")
    return HEAD + textwrap.indent(begin + groups, "  ")


def main() -> int:
    """Write the copy, or say whether it is of today."""
    (action,) = sys.argv[1:]
    text = operator_rules(RULES.read_text(encoding="utf-8"))
    if action == "--write":
        COPY.write_text(text, encoding="utf-8")
    elif not COPY.exists() or COPY.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{COPY.relative_to(DEPLOY.parent)} is stale: make rules\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
