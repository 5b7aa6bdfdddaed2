"""What verbs share: a config with its fields, seeds, the folders, and the like."""

from collections.abc import Sequence
import pathlib
from typing import Any

from absl.flags import FlagHolder

from jser import overrides, recipes
from jser.commands.verb_flags import FIELD, VerbFlags
from jser.config import Ensemble, Experiment
from jser.config_rules import ADAPTATIONS
from jser.roots import Roots

_FOLDERS = {
    "data": "Folder of the tables.",
    "features": "Folder of the features.",
    "runs": "Folder of the runs.",
}


class ConfigFlags:
    """`--config` and `--config.<field>`; with `seeds` also `--seeds`."""

    def __init__(
        self,
        where: VerbFlags,
        help_string: str,
        *,
        seeds: bool = False,
        required: bool = True,
    ):
        self._where = where
        self._config = (where.required if required else where.optional)(
            "config",
            f"{help_string} The name of a packaged config, or a path: mine/x.py. With"
            " :tiny after it, it trains in seconds on the demo corpus.",
        )
        self._fields = where.fields(
            "Sets a field of the config, as --config.optim.lr=3e-4 or"
            " --config.data.streams=speech=logmel,text=char_ngrams; of an ensemble, in"
            " all members."
        )
        self._seeds = where.strings("seeds", "Of a member: 0,1,2.") if seeds else None

    @property
    def given(self) -> bool:
        """Whether there is a config."""
        return bool(self._config.value)

    @property
    def arguments(self) -> list[str]:
        """Config, fields and seeds as they were given, to be typed again."""
        return self._where.given("config", FIELD, "seeds")

    def experiment(self) -> Experiment:
        """The member, checked, with its fields set."""
        config = self._load()
        if isinstance(config, Ensemble):
            raise ValueError(
                f"--config: {config.name} is an ensemble, which `jser run` trains; here"
                f" give a member: {', '.join(m.name for m in config.members)}."
            )
        return config.check()

    def ensemble(self) -> Ensemble:
        """The ensemble, or a member over seeds, checked, with its fields set."""
        numbers = [] if self._seeds is None else self._seeds.value
        return recipes.over_seeds(self._load(), numbers).check()

    def _load(self) -> Experiment | Ensemble:
        config = recipes.load_either(self._config.value or "")
        return overrides.apply(config, self._fields.value)


class MergeFlag:
    """`--merge`: emotions to count as another."""

    def __init__(self, where: VerbFlags, help_string: str):
        self._pairs = where.strings("merge", help_string)

    @property
    def value(self) -> dict[str, str]:
        """By emotion, what it is counted as.

        Raises:
          ValueError: if one does not read one=other.
        """
        if bad := [m for m in self._pairs.value if m.count("=") != 1]:
            raise ValueError(f"--merge: {bad[0]!r} does not read one=other.")
        return dict(m.split("=") for m in self._pairs.value)


def adapt_flag(where: VerbFlags) -> FlagHolder[str | None]:
    """`--adapt`: whose statistics scale the frames."""
    return where.choice(
        "adapt",
        ADAPTATIONS,
        "Scales frames by unlabelled statistics, transductively: target, of all that is"
        " predicted; speaker, of runs trained with data.adapt=speaker. Default: as the"
        " run was trained.",
    )


def resident_flag(where: VerbFlags) -> FlagHolder[bool]:
    """`--resident`: frames are kept on the devices."""
    return where.switch(
        "resident", "Keep all frames on the devices; for accelerators where they fit."
    )


class TrainingsFlags:
    """`--jobs`, `--together` and `--resident`: how many trainings are done."""

    def __init__(self, where: VerbFlags):
        self._jobs = where.integer("jobs", 1, "Trainings at a time.", lower_bound=1)
        self._together = where.switch(
            "together", "Train runs of like shapes in one step; for accelerators."
        )
        self._resident = resident_flag(where)

    @property
    def options(self) -> dict[str, Any]:
        """The same as `pipeline.train_all` takes them."""
        return {
            "jobs": self._jobs.value,
            "at_once": self._together.value,
            "resident": self._resident.value,
        }


class RootFlags:
    """`--data_root`, `--features_root` and `--runs_root`; perhaps `--weights`."""

    def __init__(self, where: VerbFlags, *, weights: bool = False):
        self._weights = WeightsFlag(where) if weights else None
        self._folders = {
            name: where.string(f"{name}_root", name, _FOLDERS[name])
            for name in _FOLDERS
        }

    @property
    def value(self) -> Roots:
        """The folders, as the package takes them."""
        folders = {n: pathlib.Path(f.value) for n, f in self._folders.items()}
        return Roots(**folders, weights=self._weights.value if self._weights else {})


class WeightsFlag:
    """`--weights` of front ends by name."""

    def __init__(self, where: VerbFlags):
        self._pairs = where.strings(
            "weights",
            "Checkpoints of front ends, where not the hub's: whisper_base=DIR.",
        )

    @property
    def value(self) -> dict[str, str]:
        """By front end, a folder or an id of the hub.

        Raises:
          ValueError: if one does not read name=folder.
        """
        if bad := [w for w in self._pairs.value if "=" not in w]:
            raise ValueError(f"--weights: {bad[0]!r} does not read whisper_base=DIR.")
        pairs = (w.partition("=") for w in self._pairs.value)
        return {name: where for name, _, where in pairs}


def numbers(name: str, given: Sequence[str]) -> tuple[int, ...]:
    """The whole numbers of a flag.

    Raises:
      ValueError: if they are none, or one stands there twice.
    """
    if not all(k.isdecimal() for k in given) or len(set(given)) < len(given):
        raise ValueError(f"--{name}: {','.join(given)} must read as 0,1,2.")
    return tuple(map(int, given))
