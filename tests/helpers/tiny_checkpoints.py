"""Tiny random checkpoints in the flags of the real ones, with all files of a folder."""

import io
import json

import numpy as np

LAYERS = 3
WIDTH = 32
WORDS = ("I", "can", "not", "believe", "it", "so", "happy", "today", "hello", "world")
_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_WAVES = {**_SIZES, "conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 4}
_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
_WHISPER = {
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "vocab_size": 40,
    "pad_token_id": 0,
}
_ROBERTA = {
    **_SIZES,
    "vocab_size": 280,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-5,
    "initializer_range": 0.3,
}
_BERT = {**_ROBERTA, "max_position_embeddings": 512, "type_vocab_size": 2}
_BERT |= {"pad_token_id": 0, "layer_norm_eps": 1e-12}
_DEBERTA = {
    **_SIZES,
    "vocab_size": 80,
    "relative_attention": True,
    "position_buckets": 256,
    "max_position_embeddings": 512,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pad_token_id": 0,
    "conv_kernel_size": 3,
    "conv_act": "gelu",
    "initializer_range": 0.3,
}
MODELS = {
    "whisper": ("whisper", _WHISPER),
    "hubert": ("hubert", _WAVES | _LARGE | {"conv_bias": True}),
    "hubert_base": ("hubert", _WAVES | _BASE),
    "wavlm": ("wavlm", _WAVES | _LARGE),
    "wav2vec2": ("wav2vec2", _WAVES | _BASE),
    "bert": ("bert", _BERT),
    "roberta": ("roberta", _ROBERTA),
    "deberta": ("deberta-v2", _DEBERTA),
}


def make(name, folder):
    """Writes a checkpoint of that name; returns PyTorch's model."""
    import torch
    import transformers

    kind, flags = MODELS[name]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(
        transformers.AutoConfig.for_model(kind, **flags)
    ).eval()
    with torch.no_grad():  # Away from zero biases, unit scales, and small matrices.
        for p in model.parameters():
            spread = 0.1 if p.ndim == 1 else 0.5 / p[0].numel() ** 0.5
            p.add_(torch.randn_like(p) * spread)
    model.save_pretrained(folder)
    if name == "bert":
        word_pieces(folder)
    elif name == "roberta":
        byte_pairs(folder)
    elif name == "deberta":
        sentence_pieces(folder)
    elif name != "whisper":
        preprocessor = json.dumps({"do_normalize": True})
        (folder / "preprocessor_config.json").write_text(preprocessor)
    return model


def word_pieces(folder):
    """BERT's tokenizer, in the file that its folders have: letters, and a few words."""
    letters = [chr(i) for i in range(33, 127) if not chr(i).isupper()]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [word.lower() for word in WORDS if len(word) > 1]
    pieces = [*specials, *letters, *(f"##{x}" for x in letters), *words]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")


def byte_pairs(folder):
    """RoBERTa's tokenizer: every byte, and a few merges."""
    from tokenizers import pre_tokenizers
    import transformers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "a"), ("Ġ", "h"), ("p", "p"), ("ha", "pp")]
    pieces = [*letters, *("".join(pair) for pair in merges)]
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab = {piece: i for i, piece in enumerate([*specials, *pieces, "<mask>"])}
    made = transformers.RobertaTokenizer(vocab=vocab, merges=merges)
    made.save_pretrained(folder)


def sentence_pieces(folder):
    """DeBERTa's tokenizer, in the file that its folders have."""
    import sentencepiece

    rng = np.random.default_rng(0)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(rng.choice(WORDS, 8)) for _ in range(100)),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
        **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]"},
        **{"unk_piece": "[UNK]", "user_defined_symbols": ["[MASK]"]},
    )
    (folder / "spm.model").write_bytes(written.getvalue())


def states(model, **inputs):
    """All hidden states of one utterance in PyTorch, [T, L + 1, D]."""
    import torch

    with torch.no_grad():
        out = model(
            **{k: torch.tensor(np.array(x)) for k, x in inputs.items()},
            output_hidden_states=True,
        )
    return torch.stack([*out.hidden_states[:-1], out.last_hidden_state], 2)[0].numpy()
