"""The networks of a bundle: from frames to calibrated probabilities and attributes."""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from jser import audio, files
from jser.config_rules import NONE, SOUND, is_sound
from jser.corpora.utterances import ATTRIBUTES
from jser.data import targets
from jser.data.collation import collate
from jser.data.padding import LengthBuckets
from jser.ensemble import stacking
from jser.ensemble.logits import Logits
from jser.recognizer.bundle import AGAIN, Bundle, Member
from jser.recognizer.frames import Weights, refuse_other_encoder, refuse_unread
from jser.recognizer.profiles import Profile
from jser.shapes import Stream
from jser.statistics import calibration
from jser.training import tuned
from jser.training.network import AnyNetwork, make_model, products
from jser.training.step import attributes_of
from jser.training.tuned import FROZEN

_BATCH = 32
# Padded lengths, each about 1.4 times the one before: a few are compiled, none is long.
_LENGTHS = np.unique(np.round(2 ** np.arange(0, 21, 0.5)).astype(int))


class Network:
    """All members of a bundle on one device."""

    def __init__(self, bundle: Bundle, weights: Weights | None = None):
        """Puts the parameters on the device.

        Args:
          bundle: The model.
          weights: Checkpoints of encoders that learned, as they were before, by front
            end, where not the hub's.

        Raises:
          FileNotFoundError: if such weights are not here and cannot be fetched.
          ValueError: if they are others, or parameters are not those of the networks.
        """
        refuse_unread({**bundle.front_ends, **bundle.encoders}, weights or {})
        self._members = [_opened(bundle, m, weights or {}) for m in bundle.members]
        self._labels, self._stacker = bundle.labels, bundle.stacker
        self._temperature = bundle.calibration.temperature
        self._attributes_of, self._far = bundle.attributes_of, bundle.far
        for member, program, variables in self._members:
            names = member.experiment.data.streams
            streams = {s: _frame(bundle.front_ends[n]) for s, n in names.items()}
            with files.reading(bundle.name, AGAIN, "cannot be used"):
                program.eval_shape(variables, streams)

    def __call__(
        self, frames: Mapping[str, Sequence[np.ndarray]], profile: Profile | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows [N, C] or [N, C + 3], and what the first member classifies [N, F].

        A row has probabilities and, where members predict attributes, the mean of
        theirs. Arguments as `logits`.
        """
        logits, attributes, vectors = self.logits(frames, profile)
        names = tuple(m.experiment.name for m, _, _ in self._members)
        first = _unlabelled(logits, attributes, self._labels)
        joined = stacking.Joined(first, names, logits, [], attributes)
        combined = (
            stacking.apply(self._stacker, joined)
            if self._stacker
            else stacking.average(joined)
        )
        p = calibrated(combined.logits, self._temperature)
        return np.concatenate([p, combined.attributes], axis=1), vectors

    def logits(
        self, frames: Mapping[str, Sequence[np.ndarray]], profile: Profile | None
    ) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """What the members say, and the vectors that the first of them classifies.

        These are logits [N, M, C], attributes [N, 3] by member that predicts them, in
        the order of the members, and vectors [N, F].

        An utterance's depend neither on the others nor on their number, but for the
        rounding of float32.

        Args:
          frames: By name of features, float16 [T, D] or [T, L, D] of each utterance.
          profile: Whose statistics scale them; None for the training set's.
        """
        count = len(next(iter(frames.values())))
        C, made_of = len(self._labels), (count, len(ATTRIBUTES))
        logits = np.zeros((count, len(self._members), C), np.float32)
        attributes = {n: np.zeros(made_of, np.float32) for n in self._attributes_of}
        vectors: list[Any] = [None] * count
        for m, (member, program, variables) in enumerate(self._members):
            names = member.experiment.data.streams
            buckets = LengthBuckets({s: _LENGTHS for s in names})
            for rows in _alike(frames, names):
                size = 1 if len(rows) == 1 else _BATCH
                most = {s: _most(member, n) for s, n in names.items()}
                of_rows = {
                    s: [frames[n][i][: most[s]] for i in rows] for s, n in names.items()
                }
                nothing = np.zeros((len(rows), 0), np.float32)
                batch = collate(of_rows, nothing, buckets, size)
                scaled = _scaled(variables, member, profile)
                made, joint = jax.device_get(program(scaled, batch.streams))
                logits[rows, m] = made[: len(rows), :C]
                if member.experiment.name in attributes:
                    attributes[member.experiment.name][rows] = made[: len(rows), C:]
                if m == 0:
                    for i, vector in zip(rows, joint, strict=False):
                        vectors[i] = vector
        return logits, attributes, np.stack(vectors).astype(np.float32)

    def is_far(
        self, frames: Mapping[str, Sequence[np.ndarray]], profile: Profile | None
    ) -> np.ndarray:
        """Whether utterances lie far from what the model was trained on, [N].

        Far is a `distance`, of any features, that few of those lay at. Features that
        the network does not scale say nothing.
        """
        away: dict[str, np.ndarray] = {}
        for member, _, variables in self._members:
            scaled = _scaled(variables, member, profile).get("standard", {})
            for stream, name in scaled_streams(member):
                if name not in away:
                    by = jax.device_get(scaled[f"{stream}_input"])
                    away[name] = np.array([distance(x, **by) for x in frames[name]])
        far = [x > self._far.get(n, np.inf) for n, x in away.items()]
        count = len(next(iter(frames.values())))
        return np.any([np.zeros(count, bool), *far], axis=0)

    def heard_s(self, frames: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
        """Up to which second utterances were heard, [N]; infinite where to the end."""
        count = len(next(iter(frames.values())))
        heard = np.full(count, np.inf)
        for member, _, _ in self._members:
            for name in member.experiment.data.streams.values():
                most = _most(member, name)
                cut = np.array(
                    [most is not None and len(x) > most for x in frames[name]]
                )
                longest_s = member.experiment.data.longest_s
                heard[cut] = np.minimum(heard[cut], longest_s)
        return heard


def scaled_streams(member: Member) -> list[tuple[str, str]]:
    """Streams whose frames statistics scale, and their features.

    What an encoder makes that learned is scaled by its own, which nothing replaces.
    """
    standard, streams = member.variables.get("standard", {}), member.experiment.data
    return [
        (s, n)
        for s, n in streams.streams.items()
        if f"{s}_input" in standard and not is_sound(n)
    ]


def _opened(
    bundle: Bundle, member: Member, weights: Weights
) -> tuple[Member, Any, dict[str, Any]]:
    """A member, its program and its variables on the device."""
    encoder = tuned.open(member.experiment, weights, begins=False)
    variables = dict(member.variables)
    if encoder:
        spec = bundle.encoders[member.experiment.tune.encoder]
        refuse_other_encoder(spec, encoder, weights)
        variables[FROZEN] = encoder.frozen
    program = encoder.program if encoder else None
    model = make_model(member.experiment, len(bundle.labels), program)
    return member, _program(model), jax.device_put({"standard": {}, **variables})


def _most(member: Member, name: str) -> int | None:
    """Samples of a sound that a member reads; None of other features."""
    longest_s = member.experiment.data.longest_s
    return round(longest_s * audio.SAMPLE_RATE_HZ) if is_sound(name) else None


def distance(frames: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> float:
    """How far an utterance lies from what a network was trained on.

    The mean over all columns of how many standard deviations off they are, 5 at most,
    as the network reads them.
    """
    z = np.abs(frames.astype(np.float32) - mean) / deviation
    return float(np.minimum(z, 5.0).mean())


@functools.lru_cache
def _program(model: AnyNetwork) -> Any:
    """The jitted function from variables and streams to rows and joint vectors.

    A row has the logits and, of a network that predicts them, attributes.
    """

    def run(variables, streams):
        joint = []

        def keep(x):
            joint.append(x)
            return x

        with products():
            made: Any = model.apply(variables, streams, train=False, on_joint=keep)
        said = [made[targets.EMOTION]]
        if targets.OF_ATTRIBUTES in made:
            said.append(attributes_of(made[targets.OF_ATTRIBUTES]))
        return jnp.concatenate(said, axis=-1), joint[0]

    return jax.jit(run)


def _frame(spec: Mapping[str, Any]) -> Stream:
    """One frame in shape and type, as a sound has where frames are pooled.

    What is traced for it is then traced for the first sound, too. Of sound itself it is
    a second, since a sample is no frame of an encoder's.
    """
    T = audio.SAMPLE_RATE_HZ if spec["name"] == SOUND else 1
    layers = (spec["layers"],) if spec.get("layers", 1) > 1 else ()
    x: Any = jax.ShapeDtypeStruct((1, T, *layers, spec["width"]), np.float16)
    mask: Any = jax.ShapeDtypeStruct((1, T), bool)
    return Stream(x=x, mask=mask)


def _scaled(
    variables: dict[str, Any], member: Member, profile: Profile | None
) -> dict[str, Any]:
    """The variables with a profile's statistics in place of the training set's."""
    if profile is None:
        return variables
    standard = variables["standard"] | {
        f"{s}_input": profile.shrunk(n, **variables["standard"][f"{s}_input"])
        for s, n in scaled_streams(member)
    }
    return {**variables, "standard": standard}


def _alike(
    frames: Mapping[str, Sequence[np.ndarray]], names: Mapping[str, str]
) -> list[np.ndarray]:
    """Rows of like length, at most a batch of them at a time."""
    length = {s: np.array([len(x) for x in frames[n]]) for s, n in names.items()}
    bucket = LengthBuckets({s: _LENGTHS for s in names}).bucket(length)
    alike = [np.flatnonzero(bucket == b) for b in np.unique(bucket)]
    return [rows[i : i + _BATCH] for rows in alike for i in range(0, len(rows), _BATCH)]


def calibrated(log_p: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, C], float64, of combined logits."""
    scaled = calibration.apply_temperature(log_p.astype(np.float64), temperature)
    return special.softmax(scaled, axis=-1)


def _unlabelled(
    logits: np.ndarray, attributes: Mapping[str, np.ndarray], labels: Sequence[str]
) -> Logits:
    """Rows that nothing is known of, for the stacker to speak of."""
    N, nothing = len(logits), np.zeros(len(logits), bool)
    rated = [*attributes.values()]
    return Logits(
        utt_id=np.array([str(i) for i in range(N)]),
        logits=logits[:, 0],
        label=np.full(N, -1),
        fold=np.full(N, -1),
        speaker=np.full(N, ""),
        in_sample=nothing,
        speaker_seen=nothing,
        labels=np.array(labels),
        made_by=np.array([], str),
        adapt=NONE,
        attributes=np.mean(rated, axis=0) if rated else np.zeros((N, 0), np.float32),
    )
