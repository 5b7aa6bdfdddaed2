"""The typed configuration; the files in configs/ only fill it in.

Plain dataclasses: `overrides` sets any of their fields from the command line
(`--config.optim.lr=3e-4`), refuses one that does not exist, and reads values by the
type of the field. What is allowed is told by `check`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jser import config_rules
from jser.config_rules import CHOSEN, LORA, MSE, NONE, STACKERS, UTTERANCE, need, one_of


@dataclasses.dataclass(kw_only=True, slots=True)  # No field by another name.
class Data:
    """What is read, and how utterances become batches."""

    corpus: str = "msp_podcast"  # Folder under data/ and under features/.
    streams: dict[str, str]  # Stream to front end: {"speech": "whisper_large_v3"}.
    train_split: str = "train"
    dev_split: str = "dev"  # Chooses the epoch. Empty: the last epoch is the result.
    holdout: tuple[int, ...] = ()  # Folds of the train split that are not trained on.
    standardize: tuple[str, ...] = ()  # Streams scaled by the frames trained on.
    adapt: str = NONE  # "speaker": scaled by each speaker's own frames first.
    batch_size: int = 64
    sampler: str = "shuffle"
    length_buckets: int = 4  # Number of padded lengths, hence of compilations.
    shuffle_window: int = 1  # Batches that are drawn together and sorted by length.
    longest_s: float = 0.0  # Of a `waveform` the first seconds are read; 0: all of it.


@dataclasses.dataclass(kw_only=True, slots=True)
class Augment:
    """Changes to speech in training; all off by default, as in the paper.

    From `crop_s` on they are for sound, that is a stream of `waveform`.
    """

    speed: float = 0.0  # Time is stretched by a factor within 1 - speed to 1 + speed.
    noise: float = 0.0  # Standard deviation of noise added to every frame.
    time_masks: int = 0  # Runs of frames set to zero (SpecAugment) ...
    time_mask_share: float = 0.1  # ... of at most this share of the utterance.
    width_masks: int = 0  # Runs of columns set to zero ...
    width_mask_share: float = 0.1  # ... of at most this share of the width.
    mixup: float = 0.0  # Alpha of manifold mixup on the joint vector of all streams,
    mixup_chance: float = 1.0  # in which share of the batches,
    mixup_each: bool = False  # and whether each utterance has a share of its own.
    annotators: float = 0.0  # Share of the raters whose votes a step leaves out.
    crop_s: float = 0.0  # Of longer sounds a part of so many seconds; 0: all of it.
    background: float = 0.0  # Share with noise beneath, at 5 to 30 dB.
    other_voice: float = 0.0  # Share with another utterance beneath, at 10 to 20 dB.
    room: float = 0.0  # Share heard in a room that reverberates for 0.1 to 0.6 s.
    band: float = 0.0  # Share cut to a band, as by a telephone or a small speaker.
    codec: float = 0.0  # Share through a lossy codec.
    second_clip: float = 0.0  # Share with another utterance as loud; targets are means.


@dataclasses.dataclass(kw_only=True, slots=True)
class Model:
    """The network, its width and its regularisation."""

    kind: str = "fusion"  # Or "pooling", the challenge's baseline, "probe" or "deep".
    hidden: int = 512
    heads: dict[str, int] = dataclasses.field(default_factory=dict)  # 1 if not named.
    dropout: float = 0.5
    layers: str = "mix"  # Of an encoder, where a stream has several; or "beside".
    mask_padding: bool = True  # False: read padding too, as the authors' code does.


@dataclasses.dataclass(kw_only=True, slots=True)
class Loss:
    """Terms of the training loss."""

    kind: str = "cross_entropy"  # Or "focal", "kl" or "vs".
    focal_gamma: float = 2.0
    soft_labels: bool = False  # Targets are the annotators' votes, where there are any.
    neutral_weight: float = 0.0  # Of the soft-margin loss; above 0 there is a head.
    class_weights: bool = True  # N / (C n_c), from the utterances trained on.
    label_smoothing: float = 0.0
    mentions: bool = False  # Of the votes, secondary emotions count as primary ones do.
    weight_exponent: float = 1.0  # Of the class weights; 0.5 is half as sharp.
    vs_gamma: float = 0.3  # Of kind "vs": logits are divided by (n_max / n_c)^gamma,
    vs_tau: float = 1.0  # and tau times the log of the class's share is added.
    per_utterance: bool = False  # Mean over utterances; else over their weights.


@dataclasses.dataclass(kw_only=True, slots=True)
class Optim:
    """AdamW with one cosine from `lr` down to `final_lr`."""

    lr: float = 1e-5
    final_lr: float = 1e-6
    weight_decay: float = 1e-6
    schedule: str = "epoch"  # When the cosine moves: as published, or per "step".
    warmup_steps: int = 0  # The rate grows from 0 over these.
    mix_rate: float = 1.0  # Times the rate, for the weights of a "mix" of layers.
    encoder_rate: float = 1.0  # Times the rate, for an encoder that learns.
    clip_norm: float = 0.0  # Longest gradient; 0: any.
    accumulate: int = 1  # Batches whose mean gradient makes one step of the optimiser.
    average: float = 0.0  # Decay of the moving average that is judged; 0: none.


@dataclasses.dataclass(kw_only=True, slots=True)
class Tune:
    """An encoder that learns, of a stream of `waveform`; docs/tuning.md."""

    encoder: str = ""  # Features it would make: whisper_base@2-4.pooled. Empty: none.
    how: str = LORA  # Or "full": all of it but a waveform's convolutions.
    rank: int = 16
    alpha: float = 32.0  # The adapter's product is scaled by alpha / rank.
    targets: str = "blocks/(up|down)"  # Of dense layers; by default the feed-forward.
    upper: float = 0.5  # Share of the blocks that are adapted, from the last one down.
    level: str = UTTERANCE  # Whose mean and deviation scale sound: or "corpus"'s.
    frozen_epochs: int = 0  # In which the network alone learns, at first.


@dataclasses.dataclass(kw_only=True, slots=True)
class Tasks:
    """More to predict than the emotion, each by its weight in the loss; 0: not.

    Utterances of which it is not known do not count in it.
    """

    emotion: float = 1.0
    attributes: float = 0.0  # Arousal, valence and dominance, from 1 to 7.
    attribute_loss: str = MSE  # Or "ccc", 1 less the concordance over the batch.
    secondary: float = 0.0  # Which emotions raters heard besides.
    gender: float = 0.0  # The speaker's.


@dataclasses.dataclass(kw_only=True, slots=True)
class Experiment:
    """Everything one training run depends on, besides the code and the data."""

    name: str
    data: Data
    augment: Augment = dataclasses.field(default_factory=Augment)
    model: Model = dataclasses.field(default_factory=Model)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optim: Optim = dataclasses.field(default_factory=Optim)
    tasks: Tasks = dataclasses.field(default_factory=Tasks)
    tune: Tune = dataclasses.field(default_factory=Tune)
    init_from: str = ""  # Run whose best network this one begins with, at step 0.
    precision: str = "float32"  # Of the products; others are for accelerators.
    epochs: int = 20
    seed: int = 7
    log_every: int = 50  # Steps.
    checkpoint_every: int = 1  # Epochs; the best and the last one are kept anyway.

    def check(self) -> "Experiment":
        """Returns itself if it makes sense. Called after the flags had their say.

        Raises:
          ValueError: naming the field, its value and what is allowed.
        """
        usual = Experiment(name=self.name, data=Data(streams=self.data.streams))
        config_rules.check(self, usual)
        return self

    def to_dict(self) -> dict[str, Any]:
        """The config as plain values, as `config.json` holds it."""
        value = dataclasses.asdict(self)
        for field in _TUPLES:
            value["data"][field] = list(value["data"][field])
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Experiment":
        """The config that `to_dict` gave.

        Raises:
          ValueError: if a field is not known, as in a run of another version of jser.
        """
        value = {"tasks": {}, "tune": {}, **value}  # Newer than some runs.
        value["tune"] = dict(value["tune"])
        if "start" in value["tune"]:  # Where it was once.
            value["init_from"] = value["tune"].pop("start")
        sections = {name: dict(value[name]) for name in _SECTIONS}
        for field in _TUPLES:
            sections["data"][field] = tuple(sections["data"][field])
        try:
            made = {name: make(**sections[name]) for name, make in _SECTIONS.items()}
            return cls(**{**value, **made})
        except TypeError as e:
            raise ValueError(f"no config of this version of jser: {e}.") from e


_SECTIONS = {
    "data": Data,
    "augment": Augment,
    "model": Model,
    "loss": Loss,
    "optim": Optim,
    "tasks": Tasks,
    "tune": Tune,
}
_TUPLES = ("holdout", "standardize")  # Of the data; JSON has lists.


@dataclasses.dataclass(kw_only=True, slots=True)
class Ensemble:
    """Members whose logits are combined, from table to report."""

    name: str
    members: tuple[Experiment, ...]
    stacker: str = CHOSEN  # The best of three, out of fold; docs/stack.md has them.
    seed: int = 42

    def check(self) -> "Ensemble":
        """Returns itself if it makes sense; raises ValueError naming the field."""
        one_of("stacker", self.stacker, STACKERS)
        config_rules.check_name(self.name)
        names = [m.name for m in self.members]
        need("name", self.name, self.name not in names, "none of its members'")
        need("members", names, len(names) >= 1, "at least one")
        need("members", names, len(set(names)) == len(names), "distinct names")
        for field in ("corpus", "train_split", "dev_split"):
            values = {getattr(m.data, field) for m in self.members}
            need(f"members' data.{field}", values, len(values) == 1, "the same in all")
        for member in self.members:
            member.check()
        return self
