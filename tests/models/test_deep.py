"""Deep fusion is PyTorch's layers in MEDUSA's order, and padding is nothing to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser import recipes
from jser.models import deep
from jser.shapes import Stream
from jser.training import predict, train
from jser.training.network import make_model
from tests.helpers import tiny_corpus

C, H = 3, 12
WIDTH = {"speech": 5, "text": 6, "prosody": 3}
T = 9


def draw(count: int, names: tuple[str, ...], rng) -> list[dict[str, np.ndarray]]:
    """Utterances of 1 to T - 2 frames."""
    return [
        {
            s: rng.standard_normal((rng.integers(1, T - 1), WIDTH[s])).astype("f4")
            for s in names
        }
        for _ in range(count)
    ]


def batch(utterances: list[dict[str, np.ndarray]], **frames: int) -> dict[str, Stream]:
    """Pads utterances with rubbish, to T frames or to as many as are told."""
    streams = {}
    for s in utterances[0]:
        length, longest = np.array([len(u[s]) for u in utterances]), frames.get(s, T)
        x = np.full((len(utterances), longest, WIDTH[s]), 7.0, np.float32)
        for row, u in zip(x, utterances, strict=True):
            row[: len(u[s])] = u[s]
        streams[s] = Stream(x=x, mask=np.arange(longest) < length[:, None])
    return streams


def network(names: tuple[str, ...], **options) -> deep.DeepClassifier:
    return deep.DeepClassifier(streams=names, classes=C, hidden=H, **options)


def say(net: deep.DeepClassifier, variables, streams: dict[str, Stream]):
    apply = jax.jit(lambda v, b: net.apply(v, b, train=False)["emotion"])
    return apply(variables, streams)


def drawn(net: deep.DeepClassifier, streams: dict[str, Stream], rng):
    """Parameters at random, biases and norms too."""
    params = jax.eval_shape(
        lambda: net.init(jax.random.key(0), streams, train=False)["params"]
    )
    uniform = lambda x: rng.uniform(-1, 1, x.shape).astype(np.float32)
    return {"params": jax.tree.map(uniform, params)}


def linear(torch, params):
    """PyTorch's layer of our parameters."""
    module = torch.nn.Linear(*params["kernel"].shape)
    fill(torch, module, {"weight": params["kernel"].T, "bias": params["bias"]})
    return module


def fill(torch, module, state) -> None:
    module.load_state_dict(
        {k: torch.from_numpy(np.array(x, copy=True)) for k, x in state.items()}
    )


def transformer_layer(torch, params):
    """`torch.nn.TransformerEncoderLayer` of our parameters."""
    width, inner = params["up"]["kernel"].shape
    module = torch.nn.TransformerEncoderLayer(width, 1, inner, batch_first=True)
    module.to(torch.from_numpy(np.array(params["up"]["bias"])).dtype)
    a, norms = params["attention"], {"norm1": "norm", "norm2": "final_norm"}
    stacked = [a[n] for n in ("query", "key", "value")]
    state = {
        "self_attn.in_proj_weight": np.concatenate([p["kernel"].T for p in stacked]),
        "self_attn.in_proj_bias": np.concatenate([p["bias"] for p in stacked]),
    }
    dense = {"self_attn.out_proj": a["out"], "linear1": params["up"]}
    for theirs, p in (dense | {"linear2": params["down"]}).items():
        state |= {f"{theirs}.weight": p["kernel"].T, f"{theirs}.bias": p["bias"]}
    for theirs, ours in norms.items():
        p = params[ours]
        state |= {f"{theirs}.weight": p["scale"], f"{theirs}.bias": p["bias"]}
    fill(torch, module, state)
    return module.eval()


def medusa(torch, params, utterance: dict[str, np.ndarray]) -> np.ndarray:
    """Its network as its authors write it, of one utterance without padding."""

    def leg(name, x_TD):
        p = params[name]
        h = torch.relu(linear(torch, p["input"])(x_TD))
        h = linear(torch, p["projection"])(h)[None]
        first = transformer_layer(torch, p["first"])(h)
        second = transformer_layer(torch, p["second"])(first)
        return first[0], second[0], second[0].mean(0)

    with torch.no_grad():
        legs = [leg(f"{s}_leg", torch.from_numpy(x)) for s, x in utterance.items()]
        _, second, _ = leg("first_fusion", torch.cat([h1 for h1, _, _ in legs]))
        rows = torch.cat([*(h2 for _, h2, _ in legs), second])
        _, _, last = leg("second_fusion", rows)
        z = linear(torch, params["joint"])(torch.cat([*(h3 for *_, h3 in legs), last]))
        return linear(torch, params["emotion"])(torch.relu(z)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_is_pytorchs(dtype, rng):
    torch = pytest.importorskip("torch")
    with jax.enable_x64(dtype == "float64"):
        x = rng.standard_normal((2, 7, 6)).astype(dtype)
        mask = np.arange(7) < np.array([7, 4])[:, None]
        layer = deep.Layer(0.3, dtype)
        params = jax.eval_shape(
            lambda: layer.init(jax.random.key(0), x, mask, train=False)["params"]
        )
        params = jax.tree.map(
            lambda p: rng.uniform(-1, 1, p.shape).astype(dtype), params
        )
        got = layer.apply({"params": params}, x, mask, train=False)
    theirs = transformer_layer(torch, params)
    with torch.no_grad():
        given = torch.from_numpy(x)
        want = theirs(given, src_key_padding_mask=torch.from_numpy(~mask)).numpy()
    tolerance = {"float32": 1e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(got[mask], want[mask], rtol=1e-6, atol=tolerance)


def test_a_layer_begins_as_pytorchs_does(rng):
    """Standard deviations and bounds of 128 columns' leaves."""
    torch = pytest.importorskip("torch")
    D = 128
    x, mask = np.zeros((1, 1, D), np.float32), np.ones((1, 1), bool)
    init = jax.jit(lambda key: deep.Layer(0.1).init(key, x, mask, train=False))
    ours = init(jax.random.key(0))["params"]
    torch.manual_seed(0)
    theirs = torch.nn.TransformerEncoderLayer(D, 1, 4 * D).state_dict()
    filled = transformer_layer(torch, ours).state_dict()
    assert filled.keys() == theirs.keys()
    for name, want in theirs.items():
        got = filled[name]
        assert got.std() == pytest.approx(float(want.std()), rel=0.15), name
        assert got.abs().max() == pytest.approx(float(want.abs().max()), rel=0.15), name


@pytest.mark.parametrize("names", [("speech",), ("speech", "text"), tuple(WIDTH)])
def test_padded_batches_say_what_medusas_network_says_of_each(names, rng):
    torch = pytest.importorskip("torch")
    net, utterances = network(names), draw(4, names, rng)
    variables = drawn(net, batch(utterances), rng)
    want = [medusa(torch, variables["params"], u) for u in utterances]
    got = say(net, variables, batch(utterances))
    assert np.ptp(got, axis=0).max() > 0.1  # They do differ.
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("learns", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_neither_padding_nor_mates_are_seen_under_dropout(learns, rng):
    """Nor in gradients; padding of a stream is followed by frames of the next one."""
    names = ("speech", "text")
    net, utterances = network(names, dropout=0.4), draw(4, names, rng)
    variables = drawn(net, batch(utterances), rng)
    weight = rng.standard_normal((4, C)).astype(np.float32)

    def loss(params, streams, key):
        rngs = {"dropout": key}
        said = net.apply(params, streams, train=True, rngs=rngs)["emotion"]
        return (said * weight[: len(said)]).sum(), said

    result = jax.jit(jax.grad(loss, has_aux=True) if learns else loss)
    some = utterances if learns else utterances[:2]
    padded = batch(some, speech=T + 5, text=T - 2)
    for number in range(3):
        key = jax.random.key(number)
        want, said = result(variables, batch(utterances), key)
        got, said_of_some = result(variables, padded, key)
        np.testing.assert_allclose(said_of_some, said[: len(some)], atol=1e-5)
        if learns:
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
                got,
                want,
            )
            assert all(map(np.any, _moved(want).values()))
    exact = say(net, variables, batch(utterances))
    assert np.abs(exact - said).max() > 0.05


def _moved(gradients):
    """Gradients but those of the biases of keys, which no softmax sees."""
    leaves = jax.tree_util.tree_leaves_with_path(gradients["params"])
    paths = {jax.tree_util.keystr(path): np.asarray(g) for path, g in leaves}
    assert all(np.isfinite(g).all() for g in paths.values())
    return {p: g for p, g in paths.items() if "['key']['bias']" not in p}


def test_order_changes_no_logit(rng):
    net, utterances = network(tuple(WIDTH)), draw(5, tuple(WIDTH), rng)
    variables = drawn(net, batch(utterances), rng)
    want = say(net, variables, batch(utterances))
    backwards = say(net, variables, batch(utterances[::-1]))[::-1]
    np.testing.assert_allclose(backwards, want, atol=1e-5)


def test_parts_stand_in_a_row():
    """By hand: [1, 2, -] and [3, -] and [4, 5] are 1 2 3 4 5 and padding."""
    column = lambda *x: np.array([[[n] for n in x], [[-n] for n in x]], np.float32)
    real = lambda *x: np.array([x, [True] * len(x)])
    x, mask = deep.in_a_row(
        [
            (column(1, 2, 9), real(True, True, False)),
            (column(3, 9), real(True, False)),
            (column(4, 5), real(True, True)),
        ]
    )
    assert mask.tolist() == [[True] * 5 + [False] * 2, [True] * 7]
    assert x[0, :5, 0].tolist() == [1, 2, 3, 4, 5]
    assert x[1, :, 0].tolist() == [-1, -2, -9, -3, -9, -4, -5]


def test_mixup_acts_on_the_joint_vector_before_its_relu(rng):
    """Less than 0 everywhere, nothing of it is left but the last layer's bias."""
    net, utterances = network(("speech", "text")), draw(3, ("speech", "text"), rng)
    variables = drawn(net, batch(utterances), rng)

    @jax.jit
    def said(streams):
        found = []

        def below(joint):
            found.append(joint)
            return joint - jnp.abs(joint) - 1

        say = net.apply(variables, streams, train=False, on_joint=below)
        return say["emotion"], found[0]

    logits, joint = said(batch(utterances))
    bias = variables["params"]["emotion"]["bias"]
    np.testing.assert_array_equal(logits, np.broadcast_to(bias, (3, C)))
    assert joint.shape == (3, H)
    assert joint.min() < 0 < joint.max()


def test_products_in_bfloat16_move_logits_a_little(rng):
    utterances = draw(4, ("text",), rng)
    variables = drawn(network(("text",)), batch(utterances), rng)
    exact, rounded = (
        say(network(("text",), dtype=d), variables, batch(utterances))
        for d in ("float32", "bfloat16")
    )
    assert rounded.dtype == np.float32
    assert 1e-5 < np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()


def test_layers_of_an_encoder_and_scaled_columns_are_read(rng):
    names = ("speech",)
    frames = rng.standard_normal((2, T, 3, 5)).astype(np.float16)
    streams = {"speech": Stream(x=frames, mask=np.ones((2, T), bool))}
    net = network(names, standardize=names)
    variables = jax.eval_shape(
        lambda: net.init(jax.random.key(0), streams, train=False)
    )
    assert variables["standard"]["speech_input"]["mean"].shape == (3, 5)
    assert variables["params"]["speech_input"]["layers"].shape == (3,)


def test_other_streams_are_refused(rng):
    with pytest.raises(ValueError, match=r"reads \['speech', 'text'\], got"):
        network(("speech", "text")).init(
            jax.random.key(0), batch(draw(1, ("speech",), rng)), train=False
        )


def test_it_trains_and_predicts(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    c = tiny_corpus.experiment()
    c.model.kind, c.model.dropout = "deep", 0.1
    c.optim.lr, c.epochs = 1e-2, 8
    state = train.train(c.check(), roots)
    legs = {"speech_leg", "text_leg", "first_fusion", "second_fusion"}
    assert set(state.params) == legs | {"joint", "emotion"}
    logits = predict.predict(roots, roots.workdir(c), "dev")
    assert (logits.logits.argmax(axis=1) == logits.label).mean() > 0.6


def test_the_config_is_of_it_and_as_large_as_medusas():
    """By hand: a layer has 12 H^2 + 13 H parameters, a leg of D columns two of them."""
    c = recipes.load("whisper_roberta_deep").check()
    assert (c.model.kind, c.model.hidden, c.model.dropout) == ("deep", 512, 0.1)
    frame = lambda D: Stream(np.zeros((1, 1, D), np.float32), np.ones((1, 1), bool))
    streams = {"speech": frame(1280), "text": frame(1024)}
    init = lambda key: make_model(c, 8).init(key, streams, train=False)["params"]
    params = jax.eval_shape(init, jax.random.key(0))
    leg = lambda D: D * 512 + 512 + 512 * 513 + 2 * (12 * 512**2 + 13 * 512)
    want = leg(1280) + leg(1024) + 2 * leg(512) + 1536 * 512 + 512 + 512 * 8 + 8
    want += 512 * 3 + 3  # The attributes' head.
    assert sum(x.size for x in jax.tree.leaves(params)) == want == 28_768_267
