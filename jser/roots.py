"""Where things lie on disk."""

from collections.abc import Mapping
import dataclasses
import pathlib

from jser.config import Experiment

HELDOUT = "heldout"  # In place of a split: the folds that a run did not train on.
ALL = "all"  # In place of a split: every utterance, unless a split is called so.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roots:
    """The folders of tables, features and runs.

    Attributes:
      data: Of the tables.
      features: Of the features.
      runs: Of the runs.
      weights: Checkpoints of encoders that learn, by front end, where not the hub's.
    """

    data: pathlib.Path = pathlib.Path("data")
    features: pathlib.Path = pathlib.Path("features")
    runs: pathlib.Path = pathlib.Path("runs")
    weights: Mapping[str, pathlib.Path | str] = dataclasses.field(default_factory=dict)

    def workdir(self, experiment: Experiment) -> pathlib.Path:
        """A run's folder unless told otherwise: its name, and the folds held out."""
        return self.runs / experiment.name / self.folds(experiment)

    def folds(self, experiment: Experiment) -> str:
        """A run's folder within that of all that have its name; empty of all folds."""
        holdout = experiment.data.holdout
        return "holdout_" + "_".join(map(str, holdout)) if holdout else ""

    def arguments(self) -> list[str]:
        """The flags that name these folders, but for those of a default."""
        arguments = []
        for field in dataclasses.fields(self):
            folder = getattr(self, field.name)
            if field.name != "weights" and folder != field.default:
                arguments += [f"--{field.name}_root", str(folder)]
        return arguments

    def weights_arguments(self) -> list[str]:
        """The flag that names the checkpoints."""
        given = ",".join(f"{n}={w}" for n, w in self.weights.items())
        return ["--weights", given] if given else []
