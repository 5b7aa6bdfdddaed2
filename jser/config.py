"""The typed configuration; the files in configs/ only fill it in.

Plain dataclasses, because `config_flags` sets any of their fields from the command line
(`--config.optim.lr=3e-4`), refuses one that does not exist, and reads values by the
type of the field. It cannot read `Literal`, hence `str` and `check`.
"""

import dataclasses
from typing import Any

SAMPLERS = ("shuffle",)
SCHEDULES = ("epoch", "step")


@dataclasses.dataclass(kw_only=True)
class Data:
    """What is read, and how utterances become batches."""

    corpus: str = "msp_podcast"  # Folder under data/ and under features/.
    streams: dict[str, str]  # Stream to front end: {"speech": "whisper_large_v3"}.
    train_split: str = "train"
    dev_split: str = "dev"  # Chooses the epoch. Empty: the last epoch is the result.
    holdout: tuple[int, ...] = ()  # Folds of the train split that are not trained on.
    standardize: tuple[str, ...] = ()  # Streams scaled by the frames trained on.
    batch_size: int = 64
    sampler: str = "shuffle"
    length_levels: int = 4  # Number of padded lengths, hence of compilations.
    shuffle_window: int = 1  # Batches that are drawn together and sorted by length.


@dataclasses.dataclass(kw_only=True)
class Augment:
    """Changes to speech frames in training; all off by default, as in the paper."""

    speed: float = 0.0  # Time is stretched by a factor within 1 - speed to 1 + speed.
    noise: float = 0.0  # Standard deviation of noise added to every frame.
    time_masks: int = 0  # Runs of frames set to zero (SpecAugment) ...
    time_mask_share: float = 0.1  # ... of at most this share of the utterance.
    width_masks: int = 0  # Runs of columns set to zero ...
    width_mask_share: float = 0.1  # ... of at most this share of the width.
    mixup: float = 0.0  # Alpha of manifold mixup on the joint vector of all streams.


@dataclasses.dataclass(kw_only=True)
class Model:
    """Width and regularisation of the fusion classifier."""

    hidden: int = 512
    heads: dict[str, int] = dataclasses.field(default_factory=dict)  # 1 if not named.
    dropout: float = 0.5
    mask_padding: bool = True  # False: read padding too, as the authors' code does.


@dataclasses.dataclass(kw_only=True)
class Loss:
    """Terms of the training loss."""

    class_weights: bool = True  # N / (C n_c), from the utterances trained on.
    label_smoothing: float = 0.0


@dataclasses.dataclass(kw_only=True)
class Optim:
    """AdamW with one cosine from `lr` down to `final_lr`."""

    lr: float = 1e-5
    final_lr: float = 1e-6
    weight_decay: float = 1e-6
    schedule: str = (
        "epoch"  # The cosine moves per "epoch", as published, or per "step".
    )


@dataclasses.dataclass(kw_only=True)
class Experiment:
    """Everything one training run depends on, besides the code and the data."""

    name: str
    data: Data
    augment: Augment = dataclasses.field(default_factory=Augment)
    model: Model = dataclasses.field(default_factory=Model)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optim: Optim = dataclasses.field(default_factory=Optim)
    epochs: int = 20
    seed: int = 7
    log_every: int = 50  # Steps.
    checkpoint_every: int = 1  # Epochs; the best and the last one are kept anyway.

    def check(self) -> "Experiment":
        """Returns itself if it makes sense. Called after the flags had their say.

        Raises:
          ValueError: naming the field, its value and what is allowed.
        """
        d, o, a = self.data, self.optim, self.augment
        _one_of("data.sampler", d.sampler, SAMPLERS)
        _one_of("optim.schedule", o.schedule, SCHEDULES)
        _need("data.streams", d.streams, len(d.streams) >= 1, "at least one stream")
        for field, value in (
            ("data.batch_size", d.batch_size),
            ("data.length_levels", d.length_levels),
            ("data.shuffle_window", d.shuffle_window),
            ("model.hidden", self.model.hidden),
            ("epochs", self.epochs),
            ("log_every", self.log_every),
            ("checkpoint_every", self.checkpoint_every),
        ):
            _need(field, value, value >= 1, "at least 1")
        for field, value in (
            ("model.dropout", self.model.dropout),
            ("loss.label_smoothing", self.loss.label_smoothing),
            ("augment.speed", a.speed),
            ("augment.time_mask_share", a.time_mask_share),
            ("augment.width_mask_share", a.width_mask_share),
        ):
            _need(field, value, 0 <= value < 1, "in [0, 1)")
        for field, value in (
            ("augment.noise", a.noise),
            ("augment.mixup", a.mixup),
            ("augment.time_masks", a.time_masks),
            ("augment.width_masks", a.width_masks),
            ("optim.weight_decay", o.weight_decay),
        ):
            _need(field, value, value >= 0, "0 or more")
        _need("optim.lr", o.lr, o.lr > 0, "above 0")
        _need("optim.final_lr", o.final_lr, 0 <= o.final_lr <= o.lr, "in [0, optim.lr]")
        for stream in d.standardize:
            _one_of("data.standardize", stream, tuple(d.streams))
        for stream, heads in self.model.heads.items():
            fits = heads >= 1 and (2 * self.model.hidden) % heads == 0
            _need(
                f"model.heads[{stream!r}]", heads, fits, "a divisor of 2 model.hidden"
            )
            _one_of("model.heads", stream, tuple(d.streams))
        return self


@dataclasses.dataclass(kw_only=True)
class Ensemble:
    """Members whose logits are combined, from table to report."""

    name: str
    members: tuple[Experiment, ...]
    combine: str = "forest"  # Or "average": the mean of the members' probabilities.
    seed: int = 42

    def check(self) -> "Ensemble":
        """Returns itself if it makes sense; raises ValueError naming the field."""
        _one_of("combine", self.combine, ("forest", "average"))
        names = [m.name for m in self.members]
        _need("members", names, len(names) >= 1, "at least one")
        _need("members", names, len(set(names)) == len(names), "distinct names")
        for field in ("corpus", "train_split", "dev_split"):
            found = {getattr(m.data, field) for m in self.members}
            _need(f"members' data.{field}", found, len(found) == 1, "the same in all")
        for member in self.members:
            member.check()
        return self


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """The config as plain values, as `config.json` holds it."""
    value = dataclasses.asdict(experiment)
    for field in ("holdout", "standardize"):
        value["data"][field] = list(value["data"][field])
    return value


def from_dict(value: dict[str, Any]) -> Experiment:
    """The config that `to_dict` gave.

    Raises:
      TypeError: if a field is not known, as in a run of another version of jser.
    """
    value = dict(value)
    for name, section in (
        ("data", Data),
        ("augment", Augment),
        ("model", Model),
        ("loss", Loss),
        ("optim", Optim),
    ):
        value[name] = section(**value[name])
    value["data"].holdout = tuple(value["data"].holdout)
    value["data"].standardize = tuple(value["data"].standardize)
    return Experiment(**value)


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field}: {value!r} is not one of {', '.join(allowed)}.")


def _need(field: str, value: object, ok: bool, allowed: str) -> None:
    if not ok:
        raise ValueError(f"{field}: {value!r} must be {allowed}.")
