"""The commands that make features, for a report to repeat."""

from collections.abc import Mapping
import shlex
from typing import Any

from jser.config import Experiment
from jser.corpora.tables import Table
from jser.feature_names import FeatureName
from jser.front_end_table import PRETRAINED
from jser.roots import Roots


def of_run(
    table: Table, experiment: Experiment, metadata: Mapping[str, Any], roots: Roots
) -> list[str]:
    """The commands that make the features of a run."""
    streams, specs = experiment.data.streams, metadata["front_ends"]
    return commands(table, {streams[s]: spec for s, spec in specs.items()}, roots)


def commands(
    table: Table, specs: Mapping[str, Mapping[str, Any]], roots: Roots
) -> list[str]:
    """The commands that make features, of what made them by their names."""
    lines = []
    for name, spec in specs.items():
        named = FeatureName.parse(name).layer != "last"
        options = {
            "weights": spec.get("model", ""),
            "layer": "" if named else spec.get("layer", ""),
            **{k: spec.get(k, "") for k in ("dtype", "backend")},
        }
        given = [x for k, v in options.items() if v for x in (f"--{k}", v)]
        given += ["--compat"] if spec.get("compat") else []
        entry, context = PRETRAINED.get(spec["name"]), spec.get("context", "full")
        given += ["--context", context] if entry and context != entry.context else []
        command = ["jser", "extract", "--table", str(table.folder)]
        command += ["--frontend", name, *given, *roots.arguments()]
        lines.append(shlex.join(command))
    return lines
