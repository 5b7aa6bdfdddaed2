"""Tiny random checkpoints of Hugging Face, and what PyTorch makes of them."""

import json

import numpy as np
from safetensors.numpy import load_file, save_file

VOCAB = 50
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "initializer_range": 0.3,  # Wide, so that attention is far from uniform.
}


def save(model, folder):
    """Saves a model whose norms and biases, too, are random."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                p += 0.2 * torch.randn_like(p)
    model.eval().save_pretrained(folder)


def change(folder, out, config=None, tensors=None):
    """Writes the checkpoint with other entries (None: without) into another folder."""
    out.mkdir(exist_ok=True)
    kept = lambda entries: {k: v for k, v in entries.items() if v is not None}
    flags = json.loads((folder / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(kept(flags | (config or {}))))
    state = kept(load_file(folder / "model.safetensors") | (tensors or {}))
    save_file(state, out / "model.safetensors")
    return out


def states(model, ids, mask):
    """All hidden states of the PyTorch model, [L + 1, B, S, D]."""
    import torch

    with torch.no_grad():
        out = model(
            torch.tensor(ids, dtype=torch.long),
            attention_mask=torch.tensor(mask, dtype=torch.long),
            output_hidden_states=True,
        )
    list_ = [*out.hidden_states[:-1], out.last_hidden_state]
    return np.stack([h.numpy() for h in list_])


def windows(rng, lengths):
    """Ids as a tokenizer might give them: without padding's, whichever it is."""
    return [rng.integers(4, VOCAB, n).astype(np.int32) for n in lengths]
