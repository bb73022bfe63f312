"""Fails with what Grafana's own types do not keep of the dashboard on stdin: what they do not know, or not so."""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(given, kept, at=""):
    if isinstance(given, dict) and isinstance(kept, dict):
        return [it for key in given for it in lost(given[key], kept.get(key), f"{at}.{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [it for i, pair in enumerate(zip(given, kept)) for it in lost(*pair, f"{at}[{i}]")]
    return [] if given == kept else [at]


register_default_plugins()
dashboard = json.load(sys.stdin)
kept = JSONEncoder().encode(Dashboard.from_json(dashboard))
sys.exit(" ".join(lost(dashboard, json.loads(kept))) or 0)
