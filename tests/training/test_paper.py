"""The paper's system in numbers that need no data."""

import jax
import numpy as np
import pytest

from jser import recipes
from jser.shapes import Batch, Stream
from jser.training.class_weights import weights_of
from jser.training.network import make_model
from jser.training.optimizer import make_optimizer
from jser.training.step import init_state
from tests.helpers.paths import CONFIGS

WIDTH = {
    "whisper_large_v3": 1280,
    "hubert_xlarge": 1280,
    "wavlm_large": 1024,
    "roberta_large": 1024,
    "deberta_xxlarge": 1536,
    "facodec_prosody": 256,
}
# REFERENCE 3.4.
PARAMETERS = {
    "wavlm_roberta": 16_811_530,
    "hubert_roberta": 16_942_602,
    "whisper_roberta": 16_942_602,
    "whisper_deberta": 17_204_746,
    "hubert_whisper": 17_073_674,
    "whisper_roberta_facodec": 24_952_843,
    "wavlm_roberta_sml": 17_861_131,
    "hubert_roberta_sml": 17_992_203,
    "whisper_roberta_sml": 17_992_203,
    "whisper_deberta_sml": 18_254_347,
    "hubert_whisper_sml": 18_123_275,
    "whisper_roberta_facodec_sml": 26_526_732,
}
# REFERENCE 4: experiment folders 0 to 11, epochs.
ORDER = (
    ("hubert_roberta", 30),
    ("whisper_roberta", 20),
    ("wavlm_roberta", 30),
    ("whisper_deberta", 20),
    ("hubert_whisper", 30),
    ("whisper_roberta_facodec", 20),
    ("hubert_roberta_sml", 30),
    ("whisper_deberta_sml", 20),
    ("whisper_roberta_sml", 20),
    ("wavlm_roberta_sml", 30),
    ("hubert_whisper_sml", 30),
    ("whisper_roberta_facodec_sml", 20),
)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_counts(name):
    experiment = recipes.load(CONFIGS / f"{name}.py").check()
    streams = {
        s: Stream(x=np.zeros((1, 2, WIDTH[f]), np.float16), mask=np.ones((1, 2), bool))
        for s, f in experiment.data.streams.items()
    }
    model = make_model(experiment, 8)
    shapes = jax.eval_shape(
        lambda key: model.init(key, streams, train=False), jax.random.key(0)
    )
    assert sum(x.size for x in jax.tree.leaves(shapes)) == PARAMETERS[name]


def test_the_members_are_the_papers_in_its_order():
    members = recipes.load_ensemble(CONFIGS / "ensemble_paper.py").check().members
    assert [(m.name, m.epochs) for m in members] == list(ORDER)
    for m in members:
        assert (m.optim.lr, m.optim.final_lr, m.optim.weight_decay) == (
            1e-5,
            1e-6,
            1e-6,
        )
        assert (m.optim.schedule, m.data.batch_size, m.model.hidden) == (
            "epoch",
            64,
            512,
        )
        sml = m.name.endswith("_sml")
        assert m.loss.neutral_weight == float(sml)
        assert m.data.sampler == ("neutral_balanced" if sml else "shuffle")
        assert m.model.heads == ({"prosody": 2} if "facodec" in m.name else {})
        assert m.augment == type(m.augment)()
    assert sum(PARAMETERS[m.name] for m in members) == 226_677_888


def test_initial_leaves_spread_as_pytorchs():
    """Every leaf's standard deviation within its sampling error."""
    torch = pytest.importorskip("torch")
    from jser.training import convert

    H, widths = 64, {"speech": 48, "text": 40}
    theirs = torch_network(torch, H, widths)
    experiment = recipes.paper("x", epochs=1, soft_margin=True, speech="a", text="b")
    experiment.model.hidden = H
    streams = {
        s: Stream(x=np.zeros((1, 2, D), np.float32), mask=np.ones((1, 2), bool))
        for s, D in widths.items()
    }
    model = make_model(experiment, 8)
    tx = make_optimizer(experiment.optim, lambda step: 0.0)
    batch = Batch(streams=streams, target=np.eye(8)[:1], weight=np.ones(1))
    state = init_state(model, tx, batch, jax.random.key(0))
    ours = convert.from_params(state.params, ("speech", "text"))
    assert set(ours) == set(theirs)
    for name, want in theirs.items():
        got = ours[name]
        assert got.shape == want.shape, name
        if want.size > 1 and want.std() == 0:
            np.testing.assert_array_equal(got, want, err_msg=name)
        elif want.size > 8:
            # A uniform's is known to 0.45 / sqrt(n); four of that, for both.
            tolerance = 4 * 0.45 * np.sqrt(2 / got.size)
            assert got.std() == pytest.approx(want.std(), rel=tolerance), name


def torch_network(torch, H: int, widths: dict[str, int]) -> dict[str, np.ndarray]:
    """The state dict of the authors' bimodal network, built from its description."""
    from benchmarks import peer

    torch.manual_seed(0)
    network = peer.Network(tuple(widths.values()), H, neutral=True)
    return {name: x.numpy() for name, x in network.state_dict().items()}


def test_class_weights_of_msp_podcast():
    """REFERENCE 1: N / (8 n) of the 66,992 training utterances."""
    count = np.array([6731, 6306, 16717, 2948, 1120, 1432, 2495, 29243])
    want = [1.2441, 1.3279, 0.5009, 2.8406, 7.4768, 5.8478, 3.3563, 0.2864]
    np.testing.assert_allclose(weights_of(count), want, atol=5e-5)
