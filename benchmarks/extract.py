"""Extraction against PyTorch, in one run, turn and turn about.

    pip install -e ".[torch]"
    python -m benchmarks.extract --utterances 64 --repeats 5
    taskset -c 0 python -m benchmarks.extract --weights weights/whisper-base

Random weights and random noise, in lengths that have MSP-Podcast's quantiles. Three
ways to the same frames: one utterance at a time in PyTorch, as the paper's authors
extracted; padded batches in PyTorch; and jser's front ends. Writes
benchmarks/results/extract.md; `--utterances 16 --repeats 3` is a small run. With
--weights it is Whisper's encoder with these that races, CTranslate2 too, and the table
is only printed (real_weights.py). The encoders in their real sizes, on a GPU, are
accelerator.py's.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time

import numpy as np

from benchmarks import real_weights

RESULTS = pathlib.Path(__file__).parent / "results" / "extract.md"
# Seconds of MSP-Podcast's utterances: minimum, median, ..., maximum.
QUANTILES = (0.0, 0.5, 0.75, 0.9, 0.95, 1.0)
SECONDS = (1.913, 5.12, 7.296, 9.344, 10.112, 11.204)
SIZES = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
MODELS = {
    "hubert": ("12 layers, 768 wide", SIZES | {"conv_bias": True}),
    "wavlm": ("12 layers, 768 wide", SIZES),
    "whisper": (
        "6 layers, 512 wide",
        {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8}
        | {"decoder_attention_heads": 8}
        | {"encoder_ffn_dim": 2048, "decoder_layers": 1, "vocab_size": 64}
        | {"pad_token_id": 0},
    ),
}


def lengths(utterances: int) -> np.ndarray:
    """Samples at 16 kHz of so many utterances, in no order."""
    at = (np.arange(utterances) + 0.5) / utterances
    seconds = np.interp(at, QUANTILES, SECONDS)
    return np.random.default_rng(0).permutation((16_000 * seconds).astype(int))


class Theirs:
    """transformers' model and feature extractor, padded to batches or not."""

    def __init__(self, kind: str, folder: pathlib.Path, batch: int):
        import torch
        import transformers

        self.torch, self.batch = torch, batch
        self.whisper = kind == "whisper"
        model = transformers.AutoModel.from_pretrained(folder).eval()
        self.model = model.get_encoder() if self.whisper else model
        self.extract = (
            transformers.WhisperFeatureExtractor(model.config.num_mel_bins)
            if self.whisper
            else transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
        )

    def __call__(self, sounds: list[np.ndarray]) -> list[np.ndarray]:
        """The frames of each, real ones only."""
        order = sorted(range(len(sounds)), key=lambda i: -len(sounds[i]))
        made: list = [None] * len(sounds)
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            given = self.extract(
                [sounds[i] for i in rows],
                sampling_rate=16_000,
                padding="max_length" if self.whisper else "longest",
                return_tensors="pt",
            )
            if self.batch == 1 and not self.whisper:
                given.pop("attention_mask")
            with self.torch.no_grad():
                frames = self.model(**given).last_hidden_state.numpy()
            for row, i in enumerate(rows):
                n = len(sounds[i])
                real = -(-n // 320) if self.whisper else (n - 400) // 320 + 1
                made[i] = frames[row, :real].copy()
        return made

    def flops(self, sounds: list[np.ndarray]) -> int:
        """Floating-point operations of its products and convolutions."""
        from torch.utils import flop_counter

        fused = self.model.config._attn_implementation
        self.model.config._attn_implementation = "eager"  # The counter knows its parts.
        with flop_counter.FlopCounterMode(display=False) as counter:
            self(sounds)
        self.model.config._attn_implementation = fused
        return counter.get_total_flops()


def product_rate() -> float:
    """Operations per second of PyTorch's float32 product of square matrices."""
    import torch

    a, taken = torch.rand(2048, 2048), []
    for _ in range(20):
        began = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(taken)


def make(kind: str, folder: pathlib.Path) -> None:
    """Writes a checkpoint with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **MODELS[kind][1])
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))


def compare(kind: str, sounds: list[np.ndarray], repeats: int, batch: int) -> str:
    """A row of the table."""
    from jser.features import frontends

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(kind, folder)
        ours = frontends.open(kind, weights=folder).load()
        ways = {
            "each": Theirs(kind, folder, 1),
            "padded": Theirs(kind, folder, batch),
            "ours": ours,
        }
        started = time.perf_counter()
        frames = ways["ours"](sounds)  # Compiles.
        compiling = time.perf_counter() - started
        want = ways["each"](sounds[:2])
        error = max(np.abs(a - b).max() for a, b in zip(frames, want, strict=False))
        wall, cpu = ({way: [] for way in ways} for _ in range(2))
        floor = ways["each"].flops(sounds) / product_rate()
        load = [os.getloadavg()[0]]
        for _ in range(repeats):
            for way, encode in ways.items():
                before = time.perf_counter(), time.process_time()
                encode(sounds)
                wall[way].append(time.perf_counter() - before[0])
                cpu[way].append(time.process_time() - before[1])
                print(f"  {kind} {way}: {wall[way][-1]:.1f} s", flush=True)
        load.append(os.getloadavg()[0])
    median = {way: statistics.median(t) for way, t in wall.items()}
    busy = {way: statistics.median(t) for way, t in cpu.items()}
    spread = [f"{min(t):.1f} to {max(t):.1f}" for t in wall.values()]
    return (
        f"| {kind}, {MODELS[kind][0]}"
        + "".join(
            f" | {median[w]:.1f} ({s})" for w, s in zip(wall, spread, strict=True)
        )
        + f" | {floor:.1f}"
        + f" | **{median['each'] / median['ours']:.2f}x**"
        + f" | **{median['padded'] / median['ours']:.2f}x**"
        + f" | {busy['each'] / busy['ours']:.2f}x, {busy['padded'] / busy['ours']:.2f}x"
        + f" | {ours.compiled} in {compiling - median['ours']:.0f} s | {error:.1e}"
        + f" | {load[0]:.0f}, {load[1]:.0f} |"
    )


def noise(utterances: int) -> list[np.ndarray]:
    """Float32 [n] of each."""
    rng = np.random.default_rng(0)
    return [
        0.1 * rng.standard_normal(n).astype(np.float32) for n in lengths(utterances)
    ]


def main() -> None:
    """Measures, writes and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(".")[0])
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="of padded PyTorch")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--weights", type=pathlib.Path, help="a Whisper's folder")
    parser.add_argument("--batches", default="1,2,4,8", help="of the race with those")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    args = parser.parse_args()

    if args.weights:
        batches = [int(n) for n in args.batches.split(",")]
        sounds = noise(args.utterances)
        made = real_weights.table(args.weights, sounds, batches, args.repeats)
        print("\n".join(made))
        return

    import jax
    import torch
    import transformers

    sounds = noise(args.utterances)
    seconds = sum(map(len, sounds)) / 16_000
    lines = [
        "# Extraction against PyTorch",
        "",
        f"Written by `python -m benchmarks.extract --utterances {args.utterances}"
        f" --repeats {args.repeats} --batch {args.batch}` on"
        f" {datetime.date.today():%Y-%m-%d}: jax {jax.__version__}, torch"
        f" {torch.__version__}, transformers {transformers.__version__}, Python"
        f" {platform.python_version()}, {os.cpu_count()} cores.",
        "",
        f"{args.utterances} utterances, {seconds:.0f} s of sound, float32 on the CPU,"
        " random weights. Seconds are the median of the turns, and the least and the"
        " most; ratios are those of medians, of time by the clock and of processor"
        " time. The floor of float32 is what the operations of one-by-one PyTorch's"
        " products and convolutions take at the speed of its fastest product of large"
        " matrices, and nothing else. Where the load (of the last minute, at the start"
        " of the first turn and at the end of the last) is above 2, other programs ran"
        " beside it, and only ratios mean something.",
        "",
        f"| model | PyTorch one by one | PyTorch padded, {args.batch} at a time | jser"
        " | floor of float32 | jser faster than one by one | than padded"
        " | by processor time | shapes compiled, once | largest difference of frames"
        " | load |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in filter(None, args.models.split(",")):
        lines.append(compare(kind, sounds, args.repeats, args.batch))
        write(args.out, lines)


def write(path: pathlib.Path, lines: list[str]) -> None:
    """Writes and prints what there is so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).rstrip() + "\n")
    print(lines[-1], flush=True)


if __name__ == "__main__":
    main()
