"""An encoder that learns, below a network that reads its frames. docs/tuning.md."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jser.config import Experiment, Tune
from jser.config_rules import CORPUS, LORA, UTTERANCE, is_sound
from jser.encoders import families, layer_selection
from jser.encoders.in_program import SoundEncoder
from jser.encoders.parameters import Naming
from jser.feature_names import FeatureName
from jser.features import frontends
from jser.features.pooling import POOLED
from jser.features.spec import Spec
from jser.shapes import Array, Stream
from jser.training import lora

ENCODER = "encoder"  # Among the parameters: the adapter's factors, or what is tuned.
FROZEN = "frozen"  # Beside them: what is not. No checkpoint of a run holds it.
LEVEL = "level"  # Among the statistics: of sound, where it is the corpus's.

Weights = Mapping[str, pathlib.Path | str]


@dataclasses.dataclass(frozen=True)
class TunedNetwork:
    """A network whose speech is an encoder's frames of sound; used like a module.

    Variables have, besides the network's, `ENCODER` among the parameters and `FROZEN`
    beside them.

    Attributes:
      network: What reads the frames.
      encoder: What makes them.
      stream: Name of the stream that is sound.
      scale: Of the adapter; None where no adapter is trained.
    """

    network: nn.Module
    encoder: SoundEncoder
    stream: str
    scale: float | None

    def init(
        self, key: jax.Array, streams: dict[str, Stream], *, train: bool
    ) -> dict[str, Any]:
        """Variables of the network alone; of the streams only the widths matter."""
        sound = streams[self.stream]
        width = self.encoder.module.config.width  # pyright: ignore
        width *= 2 if self.encoder.pooled else 1
        one = jnp.zeros((len(sound.x), 1, *self._layers, width))
        frame = Stream(x=one, mask=jnp.ones(one.shape[:2], bool))
        return dict(
            self.network.init(key, {**streams, self.stream: frame}, train=train)
        )

    def apply(
        self,
        variables: Mapping[str, Any],
        streams: dict[str, Stream],
        *,
        train: bool,
        on_joint: Callable[[Array], Array] = lambda joint: joint,
        rngs: dict[str, jax.Array] | None = None,
    ) -> Any:
        """As the network's, of sound [B, n, 1] in place of frames."""
        sound, real = streams[self.stream].x[..., 0], streams[self.stream].mask
        frames, mask = self.frames(variables, sound, real, train=train)
        return self.network.apply(
            {k: x for k, x in variables.items() if k != FROZEN},
            {**streams, self.stream: Stream(x=frames, mask=mask)},
            train=train,
            on_joint=on_joint,
            rngs=rngs,
        )

    def frames(
        self, variables: Mapping[str, Any], sound: Array, real: Array, *, train: bool
    ) -> tuple[Array, Array]:
        """What the encoder makes of sound [B, n], and which of it is real."""
        sound = sound.astype(jnp.float32)
        if self.encoder.levelled:
            by = variables["standard"][LEVEL]
            sound = (sound - by["mean"]) / by["deviation"]

        def run(*arguments):
            return self._run(variables, train, arguments)

        return self.encoder(run, sound, real)

    @property
    def _layers(self) -> tuple[int, ...]:
        """Axes between T and D."""
        module: Any = self.encoder.module
        count = layer_selection.count(module.layer, module.config.layers)
        return (count,) if count > 1 else ()

    def _run(self, variables: Mapping[str, Any], train: bool, arguments: tuple) -> Any:
        module: Any = self.encoder.module.clone(remat=train)
        learned, held = variables["params"][ENCODER], variables[FROZEN]
        if self.scale is None:
            return module.apply({"params": {**held, **learned}}, *arguments)
        adapter = lora.Adapter(learned, self.scale)
        return lora.apply(module, {"params": held}, adapter, *arguments)


@dataclasses.dataclass(frozen=True)
class TunedEncoder:
    """The encoder of an experiment, opened.

    Attributes:
      program: It, without its weights.
      stream: The stream that it reads.
      learned: What is trained, as it begins: an adapter's factors, or parameters.
      frozen: What is not.
      spec: Of the front end, with the digest of its weights.
      naming: How its parameters are called in Hugging Face's files.
      folder: Of the checkpoint.
    """

    program: SoundEncoder
    stream: str
    learned: Any
    frozen: Any
    spec: Spec
    naming: Naming
    folder: pathlib.Path


def stream_of(experiment: Experiment) -> str:
    """The stream that is sound."""
    return next(s for s, f in experiment.data.streams.items() if is_sound(f))


def open(
    experiment: Experiment, weights: Weights, *, begins: bool = True
) -> TunedEncoder | None:
    """Opens the encoder that learns, or None if none does.

    Args:
      experiment: A checked config; its seed draws the adapter.
      weights: Checkpoints by front end, where they are not the hub's.
      begins: Whether it is about to learn. What has learned is at hand otherwise, and
        no adapter is drawn.

    Raises:
      FileNotFoundError: if the checkpoint is not here, with the command to fetch it.
      ValueError: if it is another kind of model than the name says, or there is nothing
        to tune in it.
    """
    tune = experiment.tune
    if not tune.encoder:
        return None
    dtype = "bfloat16" if experiment.precision == "bf16" else "float32"
    name = FeatureName.parse(tune.encoder)
    spec, checkpoint, options = frontends.open_parts(
        name, weights=weights.get(name.front_end), dtype=dtype
    )
    family = families.FAMILIES[checkpoint.model_type]
    if family.naming is None or family.kind != "speech":
        raise ValueError(
            f"tune.encoder: {tune.encoder!r} is a {checkpoint.model_type}; HuBERT,"
            " WavLM, wav2vec 2.0 and Whisper can learn."
        )
    if tune.level == CORPUS and checkpoint.model_type == "whisper":
        raise ValueError(
            f"tune.level: {CORPUS!r} is for encoders that want sound scaled; Whisper"
            f" reads it as it is. Leave {UTTERANCE!r}."
        )
    _, module, variables = family.parts(checkpoint.folder, options)
    learned, frozen = _divided(tune, variables["params"], experiment.seed, begins)
    program = SoundEncoder(module, tune.level == CORPUS, name.pooling == POOLED)
    about = spec, family.naming, checkpoint.folder
    return TunedEncoder(program, stream_of(experiment), learned, frozen, *about)


def on_stored_frames(experiment: Experiment) -> Experiment:
    """The same network, on what its encoder makes before it learns, stored."""
    data, stream = experiment.data, stream_of(experiment)
    trimmed = FeatureName.parse(data.streams[stream]).trimmed
    name = FeatureName.parse(experiment.tune.encoder)
    features = str(dataclasses.replace(name, trimmed=trimmed))
    data = dataclasses.replace(
        data, streams={**data.streams, stream: features}, longest_s=0.0
    )
    return dataclasses.replace(experiment, data=data, tune=Tune())


def refuse_other(
    workdir: pathlib.Path, trained_with: Mapping[str, Any], encoder: TunedEncoder
) -> None:
    """Raises ValueError if a run learned upon another encoder."""
    now = encoder.spec.described()
    if differ := [k for k in now if trained_with.get(k) != now[k] and k != "model"]:
        told = ", ".join(f"{k} was {trained_with.get(k)!r}" for k in differ)
        raise ValueError(
            f"{encoder.folder}: not the encoder that {workdir} learned upon: {told}."
            f" Give that one: --weights {now['name']}=DIR."
        )


def network(
    experiment: Experiment, of: nn.Module, encoder: SoundEncoder
) -> TunedNetwork:
    """The network of an experiment upon its encoder."""
    tune, stream = experiment.tune, stream_of(experiment)
    scale = tune.alpha / tune.rank if tune.how == LORA else None
    return TunedNetwork(of, encoder, stream, scale)


def refuse_unread(experiments: Sequence[Experiment], weights: Weights) -> None:
    """Raises ValueError where weights are given of an encoder that does not learn."""
    names = [c.tune.encoder for c in experiments if c.tune.encoder]
    reads = {FeatureName.parse(name).front_end for name in names}
    if odd := sorted(set(weights) - reads):
        only = f"those of {', '.join(sorted(reads))}" if reads else "none"
        raise ValueError(
            f"--weights: {odd[0]!r} is no encoder that learns here; it takes {only}."
        )


def _divided(
    tune: Tune, params: dict[str, Any], seed: int, begins: bool
) -> tuple[Any, Any]:
    """What is trained and what is not."""
    if tune.how == LORA and not begins:
        return None, params
    if tune.how == LORA:
        recipe = lora.Recipe(
            rank=tune.rank, alpha=tune.alpha, targets=tune.targets, upper=tune.upper
        )
        # Of its own: the network's parameters are drawn from the seed itself.
        key = jax.random.fold_in(jax.random.key(seed), len(ENCODER))
        return lora.init(recipe, params, key).factors, params
    # A waveform's convolutions, as all recipes have it, and Whisper's table of sines.
    held = {
        k
        for k, x in params.items()
        if k == "conv" or (k == "position" and not isinstance(x, Mapping))
    }
    # AdamW's steps are lost on bfloat16; products are in it all the same.
    learned = {k: x for k, x in params.items() if k not in held}
    learned = jax.tree.map(lambda x: x.astype(jnp.float32), learned)
    return learned, {k: params[k] for k in held}
