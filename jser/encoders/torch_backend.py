"""Encoders of transformers run by PyTorch: also those that there is no JAX port of.

Windows, batches, choice of layers and compatible files are those of the JAX backend.
"""

from collections.abc import Callable
import pathlib
from typing import Any

import numpy as np

from jser.encoders import layer_selection, processors, tokens, wav2vec, weights
from jser.encoders.batching import BatchedEncoder
from jser.encoders.options import Options

# Frames of a batch. On a CPU PyTorch is fastest with one utterance at a time.
_CPU_BUDGET = 1
_BUDGET = 24_000


def speech(folder: pathlib.Path, options: Options) -> BatchedEncoder:
    """Whisper's encoder, or one that convolves the waveform.

    Raises:
      ValueError: if the model is of another kind.
    """
    model = _Model(folder, options)
    if model.config.model_type == "whisper":
        return _whisper(model, options)
    if not hasattr(model.config, "conv_kernel"):
        raise ValueError(
            f"{folder}: {model.config.model_type} is neither Whisper nor an encoder of"
            " the waveform with conv_kernel and conv_stride in its config.json."
        )
    c = model.config
    preprocessor = weights.read_config(folder, "preprocessor_config.json")
    wanted = preprocessor.get("do_normalize", True)
    # Their norm over time sees padding, and knows of no mask.
    alone = getattr(c, "feat_extract_norm", "layer") == "group"
    processor = processors.WaveformProcessor(
        conv=tuple(zip(c.conv_kernel, c.conv_stride, strict=True)),
        normalise=wav2vec.normalise if wanted else lambda x: x,
        whole=options.compat,
        exact=alone,
    )

    def run(samples, lengths):
        mask = np.arange(samples.shape[1]) < lengths[:, None]
        given = {} if alone else {"attention_mask": mask.astype(int)}
        made = model({"input_values": samples, **given})
        if made.shape[-2] != (frames := processor.frames(samples.shape[1])):
            raise ValueError(
                f"{folder}: {made.shape[-2]} frames where its convolutions make"
                f" {frames}. This kind of model is not supported."
            )
        return made

    return model.batched(processor, run, alone=alone)


def text(folder: pathlib.Path, options: Options) -> BatchedEncoder:
    """An encoder of tokens between two specials, as BERT's kin are.

    Raises:
      ValueError: if the tokenizer has no such specials.
    """
    model, tokenizer = _Model(folder, options), tokens.load(folder)
    specials = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    if None in specials:
        raise ValueError(f"{folder}: its tokenizer lacks a CLS, SEP or PAD token.")
    # RoBERTa and its kin count positions from the padding's on. Where others do not,
    # windows are a token or two shorter than they could be.
    from_zero = model.config.model_type in ("bert", "deberta-v2")
    offset = 0 if from_zero else specials[-1] + 1
    positions = getattr(model.config, "max_position_embeddings", 0) or 512 + offset
    longest = min(tokenizer.model_max_length, positions - offset)
    processor = processors.TokenProcessor(
        tokenizer, longest, specials[-1], options.compat
    )

    def run(ids, mask):
        return model({"input_ids": ids, "attention_mask": mask.astype(int)})

    return model.batched(processor, run)


def _whisper(model: "_Model", options: Options) -> BatchedEncoder:
    c, short = model.config, options.context == "short"
    model.use(model.module.get_encoder())
    processor = processors.MelProcessor(
        c.num_mel_bins, c.d_model if options.compat else None, short
    )
    positions = model.module.embed_positions

    def run(mel):
        if short:  # It takes no less than its positions, so that they are cut.
            model.config.max_source_positions = frames = mel.shape[1] // 2
            model.module.embed_positions = positions.from_pretrained(
                positions.weight[:frames]
            )
        return model({"input_features": mel.swapaxes(1, 2)})

    return model.batched(processor, run)


class _Model:
    """A PyTorch model that is called with arrays and returns the chosen states."""

    def __init__(self, folder: pathlib.Path, options: Options):
        try:
            import torch
        except ModuleNotFoundError as e:
            raise ModuleNotFoundError(
                "backend='torch' needs PyTorch: pip install \"jser[torch]\""
            ) from e
        self._torch, self._options = torch, options
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.use(_read(torch, folder))
        self.config = self.module.config

    def use(self, module: Any) -> None:
        """Calls that module, the model or a part of it, from now on."""
        self.module = module.eval().to(self._device)
        # Where a CPU has AMX, oneDNN's bfloat16 is wrong for narrow groups (PyTorch
        # 2.13: by 105 % at 4 and 8 channels, right from 16 on).
        convolutions = (m for m in module.modules() if hasattr(m, "groups"))
        self._onednn = all(
            m.groups == 1 or m.in_channels // m.groups >= 16 for m in convolutions
        )

    def __call__(self, arrays: dict[str, np.ndarray]) -> Any:
        """The states [B, T, D] or [L, B, T, D], a tensor on the device."""
        torch, layer = self._torch, self._options.layer
        half = self._options.dtype == "bfloat16"
        given = {k: torch.tensor(x).to(self._device) for k, x in arrays.items()}
        with (
            torch.inference_mode(),
            torch.autocast(self._device, torch.bfloat16, enabled=half),
            torch.backends.mkldnn.flags(enabled=self._onednn or not half),
        ):
            out = self.module(**given, output_hidden_states=layer != "last")
            if layer == "last":
                return out.last_hidden_state
            states = (*out.hidden_states[:-1], out.last_hidden_state)
            if some := layer_selection.named(layer):
                chosen = [states[i] for i in some]
                return torch.stack(chosen) if len(some) > 1 else chosen[0]
            states = torch.stack(states)
            return states if layer == "all" else states[-4:].mean(0)

    def batched(
        self, processor: processors.Processor, run: Callable, *, alone: bool = False
    ) -> BatchedEncoder:
        """The encoder; `alone` lets it take one window at a time."""
        budget = _CPU_BUDGET if alone or self._device == "cpu" else _BUDGET
        fetch = lambda made: made.float().cpu().numpy()
        return BatchedEncoder(
            processor, run, budget=budget, fetch=fetch, compiles=False
        )


def _read(torch: Any, folder: pathlib.Path) -> Any:
    """The model of a folder, whose files' code is not run, whatever their format."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        kind: Any = type(AutoModel.from_config(config))
    state = {n: torch.tensor(x) for n, x in weights.read_tensors(folder).items()}
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=torch.float32,
        output_loading_info=True,
    )
    # What is missing was drawn at random, which only an unused pooler may be.
    missing = [n for n in report["missing_keys"] if not n.startswith("pooler.")]
    if missing:
        raise ValueError(
            f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more of"
            f" a {kind.__name__}. They are of another model than config.json says."
        )
    return model
