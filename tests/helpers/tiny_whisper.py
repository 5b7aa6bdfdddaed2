"""Tiny Whisper checkpoints with a tokenizer of their own, made on the spot."""

import json
import pathlib

import numpy as np

_SPECIALS = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|ar|>"),
    *("<|translate|>", "<|transcribe|>", "<|startofprev|>", "<|notimestamps|>"),
)
_TIMES = ["<|0.00|>", "<|0.02|>"]
_SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "num_mel_bins": 80,
    "max_target_positions": 40,
}


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE: printable ASCII, a space and a few merges."""
    letters = [chr(i) for i in range(33, 127)] + ["Ġ"]
    merges = [("h", "e"), ("Ġ", "he"), ("l", "l"), ("Ġ", "s")]
    pieces = [*letters, *("".join(pair) for pair in merges)]
    return {piece: i for i, piece in enumerate(pieces)}, merges


def make(
    folder: pathlib.Path,
    *,
    seed: int = 3,
    english: bool = False,
    positions: int = 1500,
    gain: float = 4.0,
    **changes,
):
    """Saves a checkpoint in large-v3's flags; returns transformers' model.

    Weights are so large that sounds differ in language and text, and some end soon.
    Time stamps are suppressed, as `generate` begins anew after two of them.

    Args:
      folder: Where to.
      seed: Of the weights.
      english: Without languages and tasks, as the `.en` checkpoints are.
      positions: Frames of the encoder.
      gain: Of all layers.
      changes: To the generation config; None takes an entry away.
    """
    import torch
    import transformers

    vocab, merges = vocabulary()
    tokenizer = transformers.WhisperTokenizer(vocab=vocab, merges=merges)
    specials = [transformers.AddedToken(s, special=True) for s in _SPECIALS]
    tokenizer.add_tokens(specials)
    tokenizer.add_tokens(_TIMES)
    token = {s: tokenizer.convert_tokens_to_ids(s) for s in _SPECIALS}
    torch.set_num_threads(1)  # More of them would only wait for each other.
    torch.manual_seed(seed)
    end = token["<|endoftext|>"]
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            **_SIZES,
            max_source_positions=positions,
            vocab_size=len(tokenizer),
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
            decoder_start_token_id=token["<|startoftranscript|>"],
        )
    ).eval()
    with torch.no_grad():
        for name, p in model.model.named_parameters():
            large = gain if "_attn." in name or "fc" in name else 1.0
            spread = 0.1 if p.ndim == 1 else large / p[0].numel() ** 0.5
            p.add_(torch.randn_like(p) * spread)
        model.model.decoder.embed_tokens.weight[end] *= 1.5
    rules = _rules(tokenizer, english) | changes
    rules = {k: v for k, v in rules.items() if v is not None}
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(rules))
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()


def _rules(tokenizer, english: bool) -> dict:
    """The generation config."""
    token = {s: tokenizer.convert_tokens_to_ids(s) for s in _SPECIALS}
    never = tokenizer.convert_tokens_to_ids([*_SPECIALS[1:], *_TIMES])
    end = token["<|endoftext|>"]
    rules = {
        "decoder_start_token_id": token["<|startoftranscript|>"],
        "eos_token_id": end,
        "pad_token_id": end,
        "bos_token_id": end,
        "max_length": 40,
        "no_timestamps_token_id": token["<|notimestamps|>"],
        "suppress_tokens": [1, 2, 7, 8, 9, 30, 31, *never],
        "begin_suppress_tokens": [vocabulary()[0]["Ġ"], end],
        "is_multilingual": not english,
    }
    if english:
        rules["forced_decoder_ids"] = [[1, token["<|notimestamps|>"]]]
    else:
        rules |= {
            "forced_decoder_ids": [[1, None], [2, token["<|transcribe|>"]]],
            "lang_to_id": {s: token[s] for s in ("<|en|>", "<|de|>", "<|ar|>")},
            "task_to_id": {t: token[f"<|{t}|>"] for t in ("translate", "transcribe")},
        }
    return rules


def sound(seed: int, seconds: float) -> np.ndarray:
    """Gliding tones in noise, [n] float32, each seed's unlike the others'."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(16_000 * seconds)) / 16_000
    hz = rng.uniform(100, 3000, 3)[:, None] * (1 + 0.3 * np.sin(rng.uniform(1, 9) * t))
    tones = np.sin(2 * np.pi * hz * t).mean(0) * np.abs(np.sin(rng.uniform(1, 5) * t))
    return (0.3 * tones + 0.01 * rng.standard_normal(len(t))).astype(np.float32)
