"""The paper's encoders in their real sizes, for extract.py on an accelerator.

Weights are random and products are in bfloat16.
"""

from collections.abc import Callable
import dataclasses
import statistics
import time
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jser.encoders import (
    bert,
    deberta,
    facodec,
    families,
    processors,
    roberta,
    wav2vec,
    whisper,
)
from jser.encoders.batching import BatchedEncoder
from jser.encoders.options import Options

CORPUS = 119_421  # Files of MSP-Podcast.
WORDS = 18  # Of a transcript, on average; a third more tokens.
# Dense bfloat16 products, by the vendor: FLOP/s.
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}
KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a transformer."""

    width: int
    layers: int
    heads: int
    inner: int
    conv: int = 512  # Of the convolutions of waveforms.

    def flop(self, frames: int) -> float:
        """Of its matrix products, and no others, for an utterance."""
        per_frame = 8 * self.width**2 + 4 * self.width * self.inner
        return self.layers * frames * (per_frame + 4 * frames * self.width)


SIZES = {
    "whisper_large_v3": Size(1280, 32, 20, 5120),
    "hubert_xlarge": Size(1280, 48, 16, 5120),
    "wavlm_large": Size(1024, 24, 16, 4096),
    "roberta_large": Size(1024, 24, 16, 4096),
    "deberta_xxlarge": Size(1536, 48, 24, 6144),
}
REHEARSAL = Size(32, 2, 4, 48, conv=16)


class Letters:
    """In place of a tokenizer: a token for every word and every third one's ending."""

    cls_token_id, sep_token_id = 1, 2

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        """A tokenizer's answer."""
        return {"input_ids": [3 + len(word) for word in text.split()]}


def encoder(name: str, size: Size) -> tuple[BatchedEncoder, Callable[[Any], float]]:
    """The front end of that size, and the FLOP of one of its inputs."""
    options = Options(dtype="bfloat16")
    half, shape = jnp.bfloat16, dataclasses.asdict(size)
    del shape["conv"]
    one = np.ones((1, 32), np.int32)
    module: Any
    if name.startswith("whisper"):
        config = whisper.Config(**shape, bands=128, positions=1500)
        module = whisper.WhisperEncoder(config, half)
        arguments = (np.zeros((1, 3000, 128)),)
        processor: Any = processors.MelProcessor(128)
        frames = lambda x: 1500
    elif name in ("roberta_large", "deberta_xxlarge"):
        text: Any = {"vocab": 50_265, "positions": 514, "epsilon": 1e-5, "pad": 1}
        if name == "roberta_large":
            module = roberta.Roberta(bert.Config(**shape, **text, types=1), half)
        else:
            more = {"buckets": 256, "farthest": 512, "conv": 3}
            module = deberta.Deberta(deberta.Config(**shape, **text, **more), half)
        arguments = one, one > 0
        processor = processors.TokenProcessor(Letters(), 512, 1)
        frames = lambda x: len(x.split()) + 2
    else:
        wavlm = {"buckets": 320, "max_distance": 800} if name == "wavlm_large" else {}
        config = wav2vec.Config(
            **shape,
            **wavlm,
            conv=tuple(zip((size.conv,) * 7, KERNELS, STRIDES, strict=True)),
            conv_bias=name == "hubert_xlarge",
            group_norm=False,
            norm_first=True,
            pos_kernel=128,
            pos_groups=16,
            epsilon=1e-5,
            normalise=True,
        )
        module = wav2vec.Wav2Vec(config, half)
        arguments = np.zeros((1, 16_000), np.float32), np.array([16_000])
        conv = tuple(zip(KERNELS, STRIDES, strict=True))
        processor = processors.WaveformProcessor(conv, wav2vec.normalise)
        frames = lambda x: config.frames(len(x))
    module = module.clone(layer="last")
    variables: Any = jax.jit(module.init)(jax.random.key(0), *arguments)
    variables = traverse_util.path_aware_map(
        lambda path, x: x.astype(half) if path[-1] == "kernel" else x, variables
    )
    encode = families.encoder(processor, module, variables, options)
    return encode, lambda x: size.flop(frames(x))


def facodec_prosody() -> BatchedEncoder:
    """The front end, which has one size and float32 only."""
    model = facodec.FaCodec(timbre=False)
    wave, length = np.zeros((1, 4000), np.float32), np.array([4000])
    variables: Any = jax.jit(model.init)(jax.random.key(0), wave, length)
    return families.encoder(processors.CodecProcessor(), model, variables, Options())


def table(sounds: list[np.ndarray], repeats: int, *, rehearse: bool) -> list[str]:
    """Markdown: utterances per second through the whole front end, and the corpus."""
    device = jax.devices()[0].device_kind
    peak = next((p for name, p in PEAK.items() if name in device), None)
    rng = np.random.default_rng(0)
    counts = rng.poisson(WORDS * 4 / 3, len(sounds))
    texts = [" ".join(["a"] * n) for n in counts]
    lines = [
        *(["A rehearsal with tiny encoders: the figures mean nothing.", ""] * rehearse),
        f"On {device}, bfloat16, {len(sounds)} utterances at once, decoded already:"
        " log-mel, transfers and the joining of frames are in the time. MFU counts the"
        " transformer's matrix products on real frames (Whisper: on its 30 s).",
        "",
        "| encoder | utterances/s | MFU | hours for MSP-Podcast's 119,421 files |",
        "|---|---|---|---|",
    ]
    total = 0.0
    for name in (*SIZES, "facodec_prosody"):
        if name in SIZES:
            encode, flop = encoder(name, REHEARSAL if rehearse else SIZES[name])
        else:
            encode, flop = facodec_prosody(), None
        inputs = texts if name in ("roberta_large", "deberta_xxlarge") else sounds
        encode(inputs)
        taken = []
        for _ in range(repeats):
            started = time.perf_counter()
            encode(inputs)
            taken.append(time.perf_counter() - started)
        rate = len(inputs) / statistics.median(taken)
        mfu = ""
        if flop and peak:
            mfu = f"{sum(map(flop, inputs)) / statistics.median(taken) / peak:.0%}"
        total += (hours := CORPUS / rate / 3600)
        lines.append(f"| {name} | {rate:.0f} | {mfu} | {hours:.2f} |")
        del encode
    return [*lines, f"| all six | | | {total:.2f} |"]
