"""Rematerialisation: the same numbers in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.encoders import bert, deberta, parameters, roberta, wav2vec, whisper

SIZES = {"width": 16, "layers": 6, "heads": 2, "inner": 64}
TEXT = {"vocab": 30, "positions": 130, "pad": 1}
CONV = ((8, 10, 5), *((8, 3, 2),) * 4, *((8, 2, 2),) * 2)
WAVES = {"conv": CONV, "conv_bias": False, "group_norm": False, "normalise": True}
WAVES |= {"pos_kernel": 4, "pos_groups": 2, "buckets": 32, "max_distance": 80}


def modules():
    """By family, the module and arguments of 2 utterances."""
    ids, mask = np.full((2, 128), 5, np.int32), np.ones((2, 128), bool)
    text = bert.Config(**SIZES, **TEXT, types=1)
    far = deberta.Config(**SIZES, **TEXT, buckets=8, farthest=100, conv=0)
    mel = whisper.Config(**SIZES, bands=8, positions=128)
    samples = np.random.default_rng(0).standard_normal((2, 40_000), np.float32)
    return {
        "bert": (bert.Bert(text), (ids, mask)),
        "roberta": (roberta.Roberta(text), (ids, mask)),
        "deberta": (deberta.Deberta(far), (ids, mask)),
        "whisper": (whisper.WhisperEncoder(mel), (np.ones((2, 256, 8), np.float32),)),
        "wavlm": (
            wav2vec.Wav2Vec(wav2vec.Config(**SIZES, **WAVES)),
            (samples, np.array([40_000, 30_000])),
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", modules())
def test_a_gradient_is_the_same_in_less_memory(name):
    module, arguments = modules()[name]
    module = module.clone(layer="mean_last_4")
    params = parameters.shapes(module, *arguments)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape, "f"), params)
    weight = rng.standard_normal(SIZES["width"]).astype(np.float32)

    def loss(module, params):
        states = module.apply({"params": params}, *arguments)
        states = states[0] if isinstance(states, tuple) else states
        return jnp.mean(states @ weight)

    made = {}
    for remat in (False, True):
        one = functools.partial(loss, module.clone(remat=remat))
        program = jax.jit(jax.value_and_grad(one)).lower(params).compile()
        memory = program.memory_analysis().temp_size_in_bytes
        made[remat] = memory, program(params)
    # WavLM's convolutions are most of what is left of so few blocks.
    assert made[True][0] < 0.7 * made[False][0]
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6, rtol=1e-4),
        *(made[remat][1] for remat in (True, False)),
    )
