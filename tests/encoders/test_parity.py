"""Every family's hidden states against PyTorch's, quickly; FACodec's in test_facodec.

The slow tests of each family go into its flags, padding, and what it refuses.
"""

import numpy as np
import pytest

from jser import encoders
from jser.encoders import families, tokens, wav2vec, whisper
from tests.helpers import tiny_checkpoints

pytest.importorskip("torch")
pytest.importorskip("transformers")

FAMILIES = ("whisper", "hubert", "wavlm", "wav2vec2", "bert", "roberta", "deberta")


def reference(model, folder, x):
    """[T, L + 1, D] of one utterance alone, by PyTorch."""
    if isinstance(x, str):
        ids = tokens.load(folder)(x)["input_ids"]
        return tiny_checkpoints.states(model, input_ids=[ids])
    if model.config.model_type == "whisper":
        mel = whisper.log_mel(x, model.config.num_mel_bins).T[None]
        states = tiny_checkpoints.states(model.get_encoder(), input_features=mel)
        return states[: whisper.frames(len(x))]
    return tiny_checkpoints.states(model, input_values=wav2vec.normalise(x)[None])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_of_a_batch_equals_pytorch_alone(tmp_path, rng, name):
    model = tiny_checkpoints.make(name, tmp_path)
    encode = encoders.load(tmp_path, layer="all")
    sounds = [0.1 * rng.standard_normal(n).astype(np.float32) for n in (5000, 2111)]
    inputs = ["so happy today", "I can't"] if encode.kind == "text" else sounds
    inputs = inputs[:1] if name == "whisper" else inputs  # Of 30 s, whatever it is.
    for x, frames in zip(inputs, encode(inputs), strict=True):
        want = reference(model, tmp_path, x)
        np.testing.assert_allclose(frames, want, atol=3e-5, rtol=0)


def test_every_family_is_here_or_in_its_own_test():
    kinds = {tiny_checkpoints.MODELS[name][0] for name in FAMILIES}
    assert kinds | {"facodec"} == set(families.FAMILIES)
