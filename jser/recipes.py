"""The recipes that configs share."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import TypeVar

from jser import config_files, front_end_table
from jser.config import Data, Ensemble, Experiment, Loss, Model, Optim, Tasks, Tune
from jser.config_rules import SOUND_SHARES
from jser.feature_names import FeatureName

_TINY = ":tiny"

C = TypeVar("C", bound=Experiment | Ensemble)


def paper(
    name: str, *, epochs: int, soft_margin: bool = False, **streams: str
) -> Experiment:
    """A member of the paper's ensemble, with the values behind its published numbers.

    AdamW at 1e-5 with one cosine per epoch down to 1e-6, batches of 64, weighted
    cross-entropy; with `soft_margin` also that loss on a neutral head, and batches that
    draw neutral and expressive ones alike. Prosody asks with two heads.

    Ours is what the paper's code lacks: padding is masked, and a window of 16 batches
    is sorted by length. `--config.model.mask_padding=False
    --config.data.shuffle_window=1` trains as the authors do.
    """
    heads = {"prosody": 2} if "prosody" in streams else {}
    sampler = "neutral_balanced" if soft_margin else "shuffle"
    return Experiment(
        name=name,
        data=Data(
            streams=streams, sampler=sampler, length_buckets=6, shuffle_window=16
        ),
        model=Model(heads=heads),
        loss=Loss(neutral_weight=1.0 if soft_margin else 0.0),
        epochs=epochs,
    )


def demo(name: str, **streams: str) -> Experiment:
    """A small member for the demo corpus: seconds on a CPU."""
    return Experiment(
        name=name,
        data=Data(
            corpus="demo",
            streams=streams,
            standardize=scaled(streams),
            batch_size=32,
            length_buckets=2,
            shuffle_window=4,
        ),
        model=Model(hidden=32, dropout=0.3),
        optim=Optim(lr=2e-3, final_lr=1e-5, weight_decay=1e-4, schedule="step"),
        epochs=15,
    )


def emodb(name: str, **streams: str) -> Experiment:
    """A small member for EMO-DB, leave-one-speaker-out; a minute a fold on a CPU.

    No speaker is left to choose an epoch by, so the last one is the result.
    """
    return Experiment(
        name=name,
        data=Data(
            corpus="emodb",
            streams=streams,
            train_split="cv",
            dev_split="",
            standardize=scaled(streams),
            batch_size=32,
            shuffle_window=4,
        ),
        model=Model(hidden=32),
        optim=Optim(lr=4e-3, weight_decay=1e-2, schedule="step"),
        epochs=30,
        checkpoint_every=30,
    )


def scaled(streams: Mapping[str, str]) -> tuple[str, ...]:
    """The streams to standardise: those of functionals and of pretrained encoders.

    Columns of functionals differ in size; those of encoders carry offsets far larger
    than what varies in them, under which a small network learns nothing.
    """
    raw = {"functionals", *front_end_table.PRETRAINED}
    front_ends = {s: FeatureName.parse(f).front_end for s, f in streams.items()}
    return tuple(s for s, front_end in front_ends.items() if front_end in raw)


def tiny(config: C) -> C:
    """Shrinks a config until it trains in seconds: `--config whisper_roberta:tiny`.

    It reads the demo corpus, by front ends that need no weights, whatever the config's
    own are. Of an ensemble every member is made tiny. Names end in `_tiny`.
    """
    if isinstance(config, Ensemble):
        config.members = tuple(tiny(member) for member in config.members)
    else:
        _shrink(config)
    config.name += "_tiny"
    return config


def _shrink(experiment: Experiment) -> None:
    data = experiment.data
    data.corpus, data.batch_size, data.length_buckets = "demo", 8, 1
    data.train_split, data.dev_split, data.holdout = "train", "dev", ()
    data.standardize = ()
    data.streams = {
        s: front_end_table.without_weights(f) for s, f in data.streams.items()
    }
    if experiment.model.kind != "probe":  # It has no hidden layer.
        experiment.model.hidden = 8
    # The demo corpus has neither raters nor attributes, nor is there another run.
    experiment.tasks, experiment.augment.annotators = Tasks(), 0.0
    experiment.init_from = ""
    experiment.tune, data.longest_s = Tune(), 0.0
    experiment.optim.encoder_rate = 1.0
    for name in ("crop_s", *SOUND_SHARES):
        setattr(experiment.augment, name, 0.0)
    experiment.data.shuffle_window = min(data.shuffle_window, 2)
    experiment.epochs, experiment.log_every = 1, 1


def seeds(experiment: Experiment, numbers: Sequence[int]) -> tuple[Experiment, ...]:
    """The same experiment once for each seed, named `<name>_seed<k>`."""
    return tuple(
        dataclasses.replace(experiment, name=f"{experiment.name}_seed{k}", seed=k)
        for k in numbers
    )


def over_seeds(config: Experiment | Ensemble, numbers: Sequence[int | str]) -> Ensemble:
    """The average of an experiment's seeds, named `<name>_seeds`.

    Args:
      config: An experiment; or an ensemble, which is returned as it is.
      numbers: The seeds; none with an ensemble.

    Raises:
      ValueError: if the two do not fit together.
    """
    if isinstance(config, Ensemble):
        if numbers:
            raise ValueError(
                f"--seeds: {config.name} is an ensemble; give a member, or make seeds"
                " members of it with recipes.seeds in its file."
            )
        return config
    if not all(str(k).isdecimal() for k in numbers):
        raise ValueError(f"--seeds: {','.join(map(str, numbers))} must read as 0,1,2.")
    if len(numbers) < 2 or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"--seeds: {config.name} is one member; give two seeds or more, as 0,1,2."
            " `jser train` trains it once, `jser evaluate --workdir` scores it."
        )
    return Ensemble(
        name=f"{config.name}_seeds",
        members=seeds(config, [int(k) for k in numbers]),
        stacker="average",
    )


def load(config: os.PathLike | str) -> Experiment:
    """A member: `load("whisper_roberta_sml")`, or by the path of a file of your own.

    Args:
      config: As `config_files.find` takes it; `:tiny` after it makes it `tiny`.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is an ensemble, or fails.
    """
    loaded = load_either(config)
    if isinstance(loaded, Ensemble):
        raise ValueError(f"{os.fspath(config)} is an ensemble, not a member.")
    return loaded


def load_ensemble(config: os.PathLike | str) -> Ensemble:
    """An ensemble, as `load` does a member."""
    loaded = load_either(config)
    if isinstance(loaded, Experiment):
        raise ValueError(f"{os.fspath(config)} is a member, not an ensemble.")
    return loaded


def load_either(config: os.PathLike | str) -> Experiment | Ensemble:
    """A member or an ensemble, as `load` does a member."""
    text = os.fspath(config)
    loaded = config_files.load(text.removesuffix(_TINY))
    return tiny(loaded) if text.endswith(_TINY) else loaded
