"""What the fields of a config may hold: its words, and the rules of `check`.

A rule reads the fields of an experiment by their names; `usual` is one of the same name
and streams whose every other field is its default.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
import math
import re
from typing import Any

from jser.feature_names import FeatureName
from jser.front_end_table import PRETRAINED, WITHOUT_WEIGHTS

SAMPLERS = (
    "shuffle",
    "neutral_balanced",
    "neutral_stratified",
    "class_balanced",
    "undersampled",
)
MODELS = ("fusion", "pooling", "probe", "deep")
LAYERS = ("mix", "beside")
LOSSES = ("cross_entropy", "focal", "kl", "vs")
MSE, CCC = ATTRIBUTE_LOSSES = ("mse", "ccc")
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
    *("logistic", "boosting", "best_member", "greedy", "meta", CHOSEN),
)

SOUND = "waveform"  # The front end that is the sound itself.
_SHORTEST_S, _LONGEST_S = 0.1, 30  # That encoders read at once.
_OF_ADAPTERS = ("tune.rank", "tune.alpha", "tune.targets", "tune.upper")
_OF_FRAMES = ("augment.noise", "augment.time_masks", "augment.width_masks")
_CHOICES = {
    "data.adapt": (NONE, SPEAKER),
    "data.sampler": SAMPLERS,
    "model.kind": MODELS,
    "model.layers": LAYERS,
    "loss.kind": LOSSES,
    "optim.schedule": SCHEDULES,
    "tasks.attribute_loss": ATTRIBUTE_LOSSES,
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
    "augment.annotators",
)
_NOT_NEGATIVE = (
    *("augment.noise", "augment.mixup", "augment.time_masks", "augment.width_masks"),
    *("optim.weight_decay", "optim.warmup_steps", "optim.mix_rate", "seed"),
    *("loss.focal_gamma", "loss.neutral_weight", "loss.weight_exponent"),
    *("loss.vs_gamma", "loss.vs_tau", "data.longest_s", "augment.crop_s"),
    *("tasks.attributes", "tasks.secondary", "tasks.gender"),
    *("optim.encoder_rate", "optim.clip_norm", "tune.frozen_epochs"),
)
# Of utterances that are disturbed; all of them may be.
SOUND_SHARES = ("background", "other_voice", "room", "band", "codec", "second_clip")
# What the loader does to sound or to frames as they are read.
SOUND_AUGMENTS = ("speed", "crop_s", *SOUND_SHARES)
_UP_TO_ONE = (
    *(f"augment.{share}" for share in SOUND_SHARES),
    "tune.upper",
    "augment.mixup_chance",
)


def check(c: Any, usual: Any) -> None:
    """Raises ValueError for the first field that makes no sense; what is allowed."""
    check_name(c.name)
    refuse_non_finite(c.to_dict())
    for field, allowed in _CHOICES.items():
        one_of(field, value(c, field), allowed)
    for field in _AT_LEAST_ONE:
        need(field, value(c, field), value(c, field) >= 1, "at least 1")
    for field in _SHARES:
        need(field, value(c, field), 0 <= value(c, field) < 1, "in [0, 1)")
    for field in _UP_TO_ONE:
        need(field, value(c, field), 0 <= value(c, field) <= 1, "in [0, 1]")
    for field in _NOT_NEGATIVE:
        need(field, value(c, field), value(c, field) >= 0, "0 or more")
    o = c.optim
    need("optim.lr", o.lr, o.lr > 0, "above 0")
    need("optim.final_lr", o.final_lr, 0 <= o.final_lr <= o.lr, "in [0, optim.lr]")
    if c.model.kind != "fusion":
        _check_without_fusion(c, usual)
    _check_streams(c)
    if c.model.layers == "beside":
        allowed = "1 with model.layers 'beside', which learns no weights of layers"
        need("optim.mix_rate", o.mix_rate, o.mix_rate == 1, allowed)
    _check_sound(c, usual)
    _check_levers(c, usual)


def _check_streams(c: Any) -> None:
    d, m = c.data, c.model
    need("data.streams", d.streams, len(d.streams) >= 1, "at least one stream")
    if d.sampler == "neutral_stratified":
        need("data.batch_size", d.batch_size, d.batch_size % 2 == 0, "even")
    for stream in d.standardize:
        one_of("data.standardize", stream, tuple(d.streams))
    scales = bool(d.standardize) or d.adapt == NONE
    where = f"{NONE!r} where data.standardize names no stream to scale"
    need("data.adapt", d.adapt, scales, where)
    for stream, heads in m.heads.items():
        fits = heads >= 1 and (2 * m.hidden) % heads == 0
        need(f"model.heads[{stream!r}]", heads, fits, "a divisor of 2 model.hidden")
        one_of("model.heads", stream, tuple(d.streams))


def _check_sound(c: Any, usual: Any) -> None:
    """Sound is read by an encoder that learns, and by nothing else."""
    sounds = [s for s, f in c.data.streams.items() if is_sound(f)]
    if not c.tune.encoder:
        where = "without tune.encoder, which would read it"
        need("data.streams", c.data.streams, not sounds, f"no waveform {where}")
        of_sound = (f"augment.{name}" for name in ("crop_s", *SOUND_SHARES))
        tune = (f"tune.{f.name}" for f in dataclasses.fields(c.tune))
        unread = ("data.longest_s", "optim.encoder_rate", *of_sound, *tune)
        _need_defaults(c, usual, unread, "without tune.encoder")
        return
    if c.tune.how == FULL:
        _need_defaults(c, usual, _OF_ADAPTERS, "with tune.how 'full'")
    others = [f for f in c.data.streams.values() if not is_sound(f)]
    if all(_reads_text(f) for f in others):
        where = "without a stream of stored speech, whose frames it changes"
        _need_defaults(c, usual, _OF_FRAMES, where)
    where = f"with tune.encoder {c.tune.encoder!r}"
    fits = len(sounds) == 1
    need("data.streams", c.data.streams, fits, f"of one waveform {where}")
    pooled = [FeatureName.parse(c.data.streams[s]).pooling for s in sounds]
    need("data.streams", c.data.streams, pooled == [""], f"not pooled {where}")
    name, allowed = FeatureName.parse(c.tune.encoder), tuple(PRETRAINED)
    one_of("tune.encoder", name.front_end, allowed)
    whole = not name.trimmed and name.pooling in ("", "pooled")
    allowed = "name@layer or name@layer.pooled; .trimmed is the waveform's"
    need("tune.encoder", c.tune.encoder, whole, allowed)
    d = c.data
    need("data.adapt", d.adapt, d.adapt == NONE, f"{NONE!r} {where}")
    fits = _SHORTEST_S <= d.longest_s <= _LONGEST_S
    allowed = f"{_SHORTEST_S} to {_LONGEST_S} {where}"
    need("data.longest_s", d.longest_s, fits, allowed)
    crop_s = c.augment.crop_s
    fits = crop_s == 0 or crop_s >= _SHORTEST_S
    need("augment.crop_s", crop_s, fits, f"0, or {_SHORTEST_S} and more")
    tune, frozen = c.tune, c.tune.frozen_epochs
    need("tune.upper", tune.upper, tune.upper > 0, "above 0")
    need("tune.alpha", tune.alpha, tune.alpha > 0, "above 0")
    fits = frozen < c.epochs
    need("tune.frozen_epochs", frozen, fits, "fewer than epochs")
    try:
        re.compile(tune.targets)
    except re.error as e:
        need("tune.targets", tune.targets, False, f"a regular expression ({e})")


def _need_defaults(c: Any, usual: Any, fields: Iterable[str], where: str) -> None:
    """Refuses what would do nothing."""
    for field in fields:
        x, default = value(c, field), value(usual, field)
        need(field, x, x == default, f"{default!r}, its default, {where}")


def _check_without_fusion(c: Any, usual: Any) -> None:
    """Options of the fusion network must not be set where they would do nothing."""
    m, weight = c.model, c.loss.neutral_weight
    where = f"with model.kind {m.kind!r}"
    need("model.heads", m.heads, not m.heads, f"empty {where}")
    need("model.mask_padding", m.mask_padding, m.mask_padding, f"True {where}")
    need("loss.neutral_weight", weight, weight == 0, f"0 {where}")
    if m.kind == "probe":
        hidden = usual.model.hidden
        allowed = f"{hidden}, its default, {where}, which has no hidden layer"
        need("model.hidden", m.hidden, m.hidden == hidden, allowed)


def _check_levers(c: Any, usual: Any) -> None:
    """Options of labels and losses must not be set where they would do nothing."""
    if not c.loss.soft_labels:
        fields = ("loss.mentions", "augment.annotators")
        _need_defaults(c, usual, fields, "without loss.soft_labels")
    if not c.loss.class_weights:
        fields = ("loss.weight_exponent",)
        _need_defaults(c, usual, fields, "without loss.class_weights")
    if c.loss.kind != "vs":
        fields = ("loss.vs_gamma", "loss.vs_tau")
        _need_defaults(c, usual, fields, "without loss.kind 'vs'")
    if not c.augment.mixup:
        fields = ("augment.mixup_chance", "augment.mixup_each")
        _need_defaults(c, usual, fields, "without augment.mixup")
    need("tasks.emotion", c.tasks.emotion, c.tasks.emotion > 0, "above 0")
    if not c.tasks.attributes:
        fields = ("tasks.attribute_loss",)
        _need_defaults(c, usual, fields, "without tasks.attributes")
    if c.init_from:
        check_name(c.init_from, "init_from")
        need("init_from", c.init_from, c.init_from != c.name, "another run's name")


def is_sound(features: str) -> bool:
    """Whether features are the sound itself, which an encoder reads in training."""
    return bool(features) and FeatureName.parse(features).front_end == SOUND


def _reads_text(features: str) -> bool:
    """Whether features are known to be of transcripts."""
    name = FeatureName.parse(features).front_end
    entry = PRETRAINED.get(name)
    return (entry.kind if entry else WITHOUT_WEIGHTS.get(name)) == "text"


def value(experiment: Any, field: str) -> Any:
    """`experiment.optim.lr` of "optim.lr"."""
    return functools.reduce(getattr, field.split("."), experiment)


def check_name(name: str, field: str = "name") -> None:
    """A name is a folder below runs/, and stays there."""
    fits = re.fullmatch(r"\w[\w.+-]*", name) is not None
    need(field, name, fits, "letters, digits, _, - or dots, and begin with no dot")


def refuse_non_finite(fields: Mapping[str, Any], prefix: str = "") -> None:
    """Raises ValueError for a number that is infinite or none."""
    for name, value in fields.items():
        if isinstance(value, dict):
            refuse_non_finite(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            need(f"{prefix}{name}", value, math.isfinite(value), "a finite number")


def one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless the value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{field}: {value!r} is not one of {', '.join(allowed)}.")


def need(field: str, value: object, ok: bool, allowed: str) -> None:
    """Raises ValueError unless it is `ok`, with what is allowed."""
    if not ok:
        raise ValueError(f"{field}: {value!r} must be {allowed}.")
