"""The typed configuration; the files in configs/ only fill it in.

Plain dataclasses: `overrides` sets any of their fields from the command line
(`--config.optim.lr=3e-4`), refuses one that does not exist, and reads values by the
type of the field. What is allowed is told by `check`.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
import math
import re
from typing import Any

from jser.feature_names import FeatureName
from jser.front_end_table import PRETRAINED, WITHOUT_WEIGHTS

SAMPLERS = ("shuffle", "neutral_balanced", "neutral_stratified", "class_balanced")
MODELS = ("fusion", "pooling", "probe")
LAYERS = ("mix", "beside")
LOSSES = ("cross_entropy", "focal", "kl")
SCHEDULES = ("epoch", "step")
PRECISIONS = ("float32", "tf32", "bf16")
# Whose unlabelled statistics scale the frames, besides those of the training set: of
# the speaker in training and prediction, of the target (what is predicted) only there.
NONE, SPEAKER, TARGET = ADAPTATIONS = ("none", "speaker", "target")
LORA, FULL = TUNINGS = ("lora", "full")
UTTERANCE, CORPUS = LEVELS = ("utterance", "corpus")
CHOSEN = "chosen"  # The stacker that chooses another one.
# How members are combined. All but "paper" and "average" learn from out-of-fold logits.
STACKERS = (
    *("oof", "paper", "average", "scaled_average", "weighted_average"),
    *("logistic", "boosting", "best_member", CHOSEN),
)


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
    mixup: float = 0.0  # Alpha of manifold mixup on the joint vector of all streams.
    crop_s: float = 0.0  # Of longer sounds a part of so many seconds; 0: all of it.
    background: float = 0.0  # Share with noise beneath, at 5 to 30 dB.
    other_voice: float = 0.0  # Share with another utterance beneath, at 10 to 20 dB.
    room: float = 0.0  # Share heard in a room that reverberates for 0.1 to 0.6 s.
    band: float = 0.0  # Share cut to a band, as by a telephone or a small speaker.
    codec: float = 0.0  # Share through a lossy codec.


@dataclasses.dataclass(kw_only=True, slots=True)
class Model:
    """The network, its width and its regularisation."""

    kind: str = "fusion"  # Or "pooling", the challenge's baseline, or a linear "probe".
    hidden: int = 512
    heads: dict[str, int] = dataclasses.field(default_factory=dict)  # 1 if not named.
    dropout: float = 0.5
    layers: str = "mix"  # Of an encoder, where a stream has several; or "beside".
    mask_padding: bool = True  # False: read padding too, as the authors' code does.


@dataclasses.dataclass(kw_only=True, slots=True)
class Loss:
    """Terms of the training loss."""

    kind: str = "cross_entropy"  # Or "focal", or "kl".
    focal_gamma: float = 2.0
    soft_labels: bool = False  # Targets are the annotators' votes, where there are any.
    neutral_weight: float = 0.0  # Of the soft-margin loss; above 0 there is a head.
    class_weights: bool = True  # N / (C n_c), from the utterances trained on.
    label_smoothing: float = 0.0


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
    start: str = ""  # Run on such features, stored, whose network this one begins with.
    how: str = LORA  # Or "full": all of it but a waveform's convolutions.
    rank: int = 16
    alpha: float = 32.0  # The adapter's product is scaled by alpha / rank.
    targets: str = "blocks/(up|down)"  # Of dense layers; by default the feed-forward.
    upper: float = 0.5  # Share of the blocks that are adapted, from the last one down.
    level: str = UTTERANCE  # Whose mean and deviation scale sound: or "corpus"'s.
    frozen_epochs: int = 0  # In which the network alone learns, at first.


@dataclasses.dataclass(kw_only=True, slots=True)
class Experiment:
    """Everything one training run depends on, besides the code and the data."""

    name: str
    data: Data
    augment: Augment = dataclasses.field(default_factory=Augment)
    model: Model = dataclasses.field(default_factory=Model)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optim: Optim = dataclasses.field(default_factory=Optim)
    tune: Tune = dataclasses.field(default_factory=Tune)
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
        _check_name(self.name)
        _refuse_non_finite(self.to_dict())
        for field, allowed in _CHOICES.items():
            _one_of(field, _value(self, field), allowed)
        for field in _AT_LEAST_ONE:
            _need(field, _value(self, field), _value(self, field) >= 1, "at least 1")
        for field in _SHARES:
            _need(field, _value(self, field), 0 <= _value(self, field) < 1, "in [0, 1)")
        for field in _UP_TO_ONE:
            _need(
                field, _value(self, field), 0 <= _value(self, field) <= 1, "in [0, 1]"
            )
        for field in _NOT_NEGATIVE:
            _need(field, _value(self, field), _value(self, field) >= 0, "0 or more")
        o = self.optim
        _need("optim.lr", o.lr, o.lr > 0, "above 0")
        _need("optim.final_lr", o.final_lr, 0 <= o.final_lr <= o.lr, "in [0, optim.lr]")
        self._check_streams()
        if self.model.layers == "beside":
            allowed = "1 with model.layers 'beside', which learns no weights of layers"
            _need("optim.mix_rate", o.mix_rate, o.mix_rate == 1, allowed)
        if self.model.kind != "fusion":
            self._check_without_fusion()
        self._check_sound()
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
        value = {"tune": {}, **value}  # Newer than some runs.
        sections = {name: dict(value[name]) for name in _SECTIONS}
        for field in _TUPLES:
            sections["data"][field] = tuple(sections["data"][field])
        try:
            made = {name: make(**sections[name]) for name, make in _SECTIONS.items()}
            return cls(**{**value, **made})
        except TypeError as e:
            raise ValueError(f"no config of this version of jser: {e}.") from e

    def _check_streams(self) -> None:
        d, m = self.data, self.model
        _need("data.streams", d.streams, len(d.streams) >= 1, "at least one stream")
        if d.sampler == "neutral_stratified":
            _need("data.batch_size", d.batch_size, d.batch_size % 2 == 0, "even")
        for stream in d.standardize:
            _one_of("data.standardize", stream, tuple(d.streams))
        scales = bool(d.standardize) or d.adapt == NONE
        where = f"{NONE!r} where data.standardize names no stream to scale"
        _need("data.adapt", d.adapt, scales, where)
        for stream, heads in m.heads.items():
            fits = heads >= 1 and (2 * m.hidden) % heads == 0
            _need(
                f"model.heads[{stream!r}]", heads, fits, "a divisor of 2 model.hidden"
            )
            _one_of("model.heads", stream, tuple(d.streams))

    def _check_sound(self) -> None:
        """Sound is read by an encoder that learns, and by nothing else."""
        sounds = [s for s, f in self.data.streams.items() if is_sound(f)]
        if not self.tune.encoder:
            where = "without tune.encoder, which would read it"
            _need("data.streams", self.data.streams, not sounds, f"no waveform {where}")
            of_sound = (f"augment.{name}" for name in ("crop_s", *SOUND_SHARES))
            tune = (f"tune.{f.name}" for f in dataclasses.fields(Tune))
            unread = ("data.longest_s", "optim.encoder_rate", *of_sound, *tune)
            self._need_defaults(unread, "without tune.encoder")
            return
        if self.tune.how == FULL:
            self._need_defaults(_OF_ADAPTERS, "with tune.how 'full'")
        others = [f for f in self.data.streams.values() if not is_sound(f)]
        if all(_reads_text(f) for f in others):
            where = "without a stream of stored speech, whose frames it changes"
            self._need_defaults(_OF_FRAMES, where)
        where = f"with tune.encoder {self.tune.encoder!r}"
        fits = len(sounds) == 1
        _need("data.streams", self.data.streams, fits, f"of one waveform {where}")
        pooled = [FeatureName.parse(self.data.streams[s]).pooling for s in sounds]
        _need("data.streams", self.data.streams, pooled == [""], f"not pooled {where}")
        name, allowed = FeatureName.parse(self.tune.encoder), tuple(PRETRAINED)
        _one_of("tune.encoder", name.front_end, allowed)
        whole = not name.trimmed and name.pooling in ("", "pooled")
        allowed = "name@layer or name@layer.pooled; .trimmed is the waveform's"
        _need("tune.encoder", self.tune.encoder, whole, allowed)
        if self.tune.start:
            _check_name(self.tune.start)
        d = self.data
        _need("data.adapt", d.adapt, d.adapt == NONE, f"{NONE!r} {where}")
        fits = _SHORTEST_S <= d.longest_s <= _LONGEST_S
        allowed = f"{_SHORTEST_S} to {_LONGEST_S} {where}"
        _need("data.longest_s", d.longest_s, fits, allowed)
        crop_s = self.augment.crop_s
        fits = crop_s == 0 or crop_s >= _SHORTEST_S
        _need("augment.crop_s", crop_s, fits, f"0, or {_SHORTEST_S} and more")
        tune, frozen = self.tune, self.tune.frozen_epochs
        _need("tune.upper", tune.upper, tune.upper > 0, "above 0")
        _need("tune.alpha", tune.alpha, tune.alpha > 0, "above 0")
        fits = frozen < self.epochs
        _need("tune.frozen_epochs", frozen, fits, "fewer than epochs")
        try:
            re.compile(tune.targets)
        except re.error as e:
            _need("tune.targets", tune.targets, False, f"a regular expression ({e})")

    def _need_defaults(self, fields: Iterable[str], where: str) -> None:
        """Refuses what would do nothing."""
        usual = Experiment(name=self.name, data=Data(streams=self.data.streams))
        for field in fields:
            x, default = _value(self, field), _value(usual, field)
            _need(field, x, x == default, f"{default!r}, its default, {where}")

    def _check_without_fusion(self) -> None:
        """Options of the fusion network must not be set where they would do nothing."""
        m, weight = self.model, self.loss.neutral_weight
        where = f"with model.kind {m.kind!r}"
        _need("model.heads", m.heads, not m.heads, f"empty {where}")
        _need("model.mask_padding", m.mask_padding, m.mask_padding, f"True {where}")
        _need("loss.neutral_weight", weight, weight == 0, f"0 {where}")
        if m.kind == "probe":
            usual = Model().hidden
            allowed = f"{usual}, its default, {where}, which has no hidden layer"
            _need("model.hidden", m.hidden, m.hidden == usual, allowed)


SOUND = "waveform"  # The front end that is the sound itself.


def is_sound(features: str) -> bool:
    """Whether features are the sound itself, which an encoder reads in training."""
    return bool(features) and FeatureName.parse(features).front_end == SOUND


def _reads_text(features: str) -> bool:
    """Whether features are known to be of transcripts."""
    name = FeatureName.parse(features).front_end
    entry = PRETRAINED.get(name)
    return (entry.kind if entry else WITHOUT_WEIGHTS.get(name)) == "text"


_SHORTEST_S, _LONGEST_S = 0.1, 30  # That encoders read at once.
_OF_ADAPTERS = ("tune.rank", "tune.alpha", "tune.targets", "tune.upper")
_OF_FRAMES = ("augment.noise", "augment.time_masks", "augment.width_masks")
_SECTIONS = {
    "data": Data,
    "augment": Augment,
    "model": Model,
    "loss": Loss,
    "optim": Optim,
    "tune": Tune,
}
_TUPLES = ("holdout", "standardize")  # Of the data; JSON has lists.
_CHOICES = {
    "data.adapt": (NONE, SPEAKER),
    "data.sampler": SAMPLERS,
    "model.kind": MODELS,
    "model.layers": LAYERS,
    "loss.kind": LOSSES,
    "optim.schedule": SCHEDULES,
    "tune.how": TUNINGS,
    "tune.level": LEVELS,
    "precision": PRECISIONS,
}
_AT_LEAST_ONE = (
    *("data.batch_size", "data.length_buckets", "data.shuffle_window"),
    *("model.hidden", "epochs", "log_every", "checkpoint_every"),
    *("optim.accumulate", "tune.rank"),
)
_SHARES = (
    *("model.dropout", "loss.label_smoothing", "augment.speed"),
    *("augment.time_mask_share", "augment.width_mask_share", "optim.average"),
)
_NOT_NEGATIVE = (
    *("augment.noise", "augment.mixup", "augment.time_masks", "augment.width_masks"),
    *("optim.weight_decay", "optim.warmup_steps", "optim.mix_rate", "seed"),
    *("loss.focal_gamma", "loss.neutral_weight", "data.longest_s", "augment.crop_s"),
    *("optim.encoder_rate", "optim.clip_norm", "tune.frozen_epochs"),
)
# Of utterances that are disturbed; all of them may be.
SOUND_SHARES = ("background", "other_voice", "room", "band", "codec")
# What the loader does to sound or to frames as they are read.
SOUND_AUGMENTS = ("speed", "crop_s", *SOUND_SHARES)
_UP_TO_ONE = (*(f"augment.{share}" for share in SOUND_SHARES), "tune.upper")


def _value(experiment: Experiment, field: str) -> Any:
    """`experiment.optim.lr` of "optim.lr"."""
    return functools.reduce(getattr, field.split("."), experiment)


@dataclasses.dataclass(kw_only=True, slots=True)
class Ensemble:
    """Members whose logits are combined, from table to report."""

    name: str
    members: tuple[Experiment, ...]
    stacker: str = CHOSEN  # The best of three, out of fold; docs/stack.md has them.
    seed: int = 42

    def check(self) -> "Ensemble":
        """Returns itself if it makes sense; raises ValueError naming the field."""
        _one_of("stacker", self.stacker, STACKERS)
        _check_name(self.name)
        names = [m.name for m in self.members]
        _need("name", self.name, self.name not in names, "none of its members'")
        _need("members", names, len(names) >= 1, "at least one")
        _need("members", names, len(set(names)) == len(names), "distinct names")
        for field in ("corpus", "train_split", "dev_split"):
            values = {getattr(m.data, field) for m in self.members}
            _need(f"members' data.{field}", values, len(values) == 1, "the same in all")
        for member in self.members:
            member.check()
        return self


def _check_name(name: str) -> None:
    """A name is a folder below runs/, and stays there."""
    fits = re.fullmatch(r"\w[\w.+-]*", name) is not None
    _need("name", name, fits, "letters, digits, _, - or dots, and begin with no dot")


def _refuse_non_finite(fields: Mapping[str, Any], prefix: str = "") -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            _refuse_non_finite(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            _need(f"{prefix}{name}", value, math.isfinite(value), "a finite number")


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field}: {value!r} is not one of {', '.join(allowed)}.")


def _need(field: str, value: object, ok: bool, allowed: str) -> None:
    if not ok:
        raise ValueError(f"{field}: {value!r} must be {allowed}.")
