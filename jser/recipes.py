"""The recipes that configs share."""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.util
import os
import pathlib

from jser import front_end_table
from jser.config import Data, Ensemble, Experiment, Loss, Model, Optim


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
    sampler = "neutral_drawn" if soft_margin else "shuffle"
    return Experiment(
        name=name,
        data=Data(streams=streams, sampler=sampler, length_levels=6, shuffle_window=16),
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
            standardize=_functionals(streams),
            batch_size=32,
            length_levels=2,
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
            standardize=_functionals(streams),
            batch_size=32,
            shuffle_window=4,
        ),
        model=Model(hidden=32),
        optim=Optim(lr=4e-3, weight_decay=1e-2, schedule="step"),
        epochs=30,
        checkpoint_every=30,
    )


def tiny(experiment: Experiment) -> Experiment:
    """Shrinks a config until it trains in seconds: `--config configs/x.py:tiny`.

    It reads the demo corpus, by front ends that need no weights, whatever the config's
    own are.
    """
    data = experiment.data
    data.corpus, data.batch_size, data.length_levels = "demo", 8, 1
    data.train_split, data.dev_split, data.holdout = "train", "dev", ()
    data.standardize = ()
    data.streams = {
        s: front_end_table.without_weights(f) for s, f in data.streams.items()
    }
    experiment.model.hidden = 8
    experiment.data.shuffle_window = min(data.shuffle_window, 2)
    experiment.epochs, experiment.log_every = 1, 1
    experiment.name += "_tiny"
    return experiment


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
            " scripts/train.py trains it once, scripts/evaluate.py --workdir scores it."
        )
    return Ensemble(
        name=f"{config.name}_seeds",
        members=seeds(config, [int(k) for k in numbers]),
        stacker="average",
    )


def arguments(ensemble: Ensemble) -> str:
    """What scripts/run.py was given to run an ensemble."""
    first = ensemble.members[0]
    one = first.name.removesuffix(f"_seed{first.seed}")
    if ensemble.name != f"{one}_seeds":
        return f"--config configs/{ensemble.name}.py"
    numbers = ",".join(str(m.seed) for m in ensemble.members)
    return f"--config configs/{one}.py --seeds {numbers}"


def siblings(config_file: str, names: Sequence[str]) -> tuple[Experiment, ...]:
    """The experiments of other files beside a config file, by their names."""
    folder = pathlib.Path(config_file).parent
    return tuple(load(folder / f"{name}.py") for name in names)


def load(config_file: os.PathLike | str, arg: str | None = None) -> Experiment:
    """What `get_config` of a member in configs/ returns."""
    return _module(config_file).get_config(arg)


def load_ensemble(config_file: os.PathLike | str) -> Ensemble:
    """What `get_config` of an ensemble in configs/ returns."""
    return _module(config_file).get_config()


def _module(config_file: os.PathLike | str):
    path = pathlib.Path(config_file)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"{path}: no such config file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _functionals(streams: Mapping[str, str]) -> tuple[str, ...]:
    """The streams to standardise: the columns of functionals differ in size."""
    return tuple(s for s, f in streams.items() if f == "functionals")
