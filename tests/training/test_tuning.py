"""Twenty steps of AdamW through an encoder, all of it or an adapter, as in PyTorch.

The oracle is transformers' model, and PEFT for the adapter: losses to 1e-4, first
gradients to 1e-5, parameters after the last step to 1e-3.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jser.encoders import families, parameters
from jser.encoders.options import Options
from jser.training import adapter_files, lora
from tests.helpers import tiny_checkpoints

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

STEPS, RATE, DECAY, CLASSES = 20, 1e-3, 0.01, 4
# The gradient of a key's bias is rounding alone, which must not become whole steps.
EPSILON = 1e-5
NAMES = ("wavlm", pytest.param("whisper", marks=pytest.mark.full), "roberta")
TEXTS = ("so happy today", "I can't", "hello world, believe it")


class Case:
    """A tiny checkpoint, in both libraries, and three utterances of it."""

    def __init__(self, name, folder):
        torch.set_num_threads(1)  # More of them would only wait for each other.
        self.torch = tiny_checkpoints.make(name, folder)
        if name == "wavlm":
            # PyTorch trains magnitude and direction; here they are one kernel.
            torch.nn.utils.parametrize.remove_parametrizations(
                self.torch.encoder.pos_conv_embed.conv, "weight"
            )
        family = families.FAMILIES[name]
        self.naming, self.folder = family.naming, folder
        processor, module, self.variables = family.parts(folder, Options())
        self.module = module.clone(remat=True)
        rng = np.random.default_rng(0)
        sounds = [0.1 * rng.standard_normal(n) for n in (6000, 4100, 2000)]
        sounds = [x.astype(np.float32) for x in sounds]
        inputs = TEXTS if family.kind == "text" else sounds
        windows = [processor.cut(x)[0] for x in inputs]
        padded = max(processor.padded(w.frames) for w in windows)
        self.arguments = processor.batch(windows, padded)
        self.frames = np.array([w.keep.stop for w in windows])
        self.head = rng.standard_normal((tiny_checkpoints.WIDTH, CLASSES))
        self.head = (self.head / tiny_checkpoints.WIDTH**0.5).astype(np.float32)
        self.labels = np.array([0, 2, 3])

    def loss(self, states):
        """Cross-entropy of a fixed linear head on the mean of the real frames."""
        states = states[0] if isinstance(states, tuple) else states
        real = jnp.arange(states.shape[1]) < self.frames[:, None]
        logits = states.mean(1, where=real[..., None]) @ self.head
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, self.labels)
        return losses.mean()

    def torch_loss(self, model):
        first, *more = (torch.tensor(np.array(x)) for x in self.arguments)
        kind = self.torch.config.model_type
        if kind == "whisper":
            out = model.get_encoder()(input_features=first.swapaxes(1, 2))
        elif kind == "roberta":
            out = model(input_ids=first, attention_mask=more[0].long())
        else:
            mask = torch.arange(first.shape[1]) < more[0][:, None]
            out = model(input_values=first, attention_mask=mask.long())
        rows = zip(out.last_hidden_state, self.frames, strict=True)
        pooled = torch.stack([states[:n].mean(0) for states, n in rows])
        logits = pooled @ torch.tensor(self.head)
        return torch.nn.functional.cross_entropy(logits, torch.tensor(self.labels))

    def ours(self, values):
        """PyTorch's values of the encoder's parameters, as our tree of them."""
        cut = re.compile(self.naming.pattern)
        tensors = {
            cut.sub("", name, count=1): values(p).numpy().copy()
            for name, p in self.torch.named_parameters()
            if cut.match(name)
        }
        params, names = self.variables["params"], self.naming.names
        return parameters.fill(params, tensors, names, self.folder)


@pytest.fixture(params=NAMES)
def case(request, tmp_path):
    return Case(request.param, tmp_path)


def tune(loss, values):
    """Losses, the first gradient, and the values after the last step."""
    optimizer = optax.adamw(RATE, eps=EPSILON, weight_decay=DECAY)

    @jax.jit
    def step(values, state):
        value, gradient = jax.value_and_grad(loss)(values)
        updates, state = optimizer.update(gradient, state, values)
        return value, gradient, optax.apply_updates(values, updates), state

    state, losses, first = optimizer.init(values), [], None
    for _ in range(STEPS):
        value, gradient, values, state = step(values, state)
        first = gradient if first is None else first
        losses.append(float(value))
    return losses, first, values


def tune_torch(case, model, gradients):
    """Losses, and what `gradients` makes after the first gradient is taken."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE, eps=EPSILON, weight_decay=DECAY)
    losses, first = [], None
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = case.torch_loss(model)
        loss.backward()
        first = gradients() if first is None else first
        losses.append(loss.item())
        optimizer.step()
    return losses, first


def assert_equal(got, want):
    (losses, gradient, values), (their_losses, their_gradient, theirs) = got, want
    assert losses[-1] < 0.95 * losses[0]
    np.testing.assert_allclose(losses, their_losses, atol=1e-4, rtol=0)
    for ours, others, atol in (
        (gradient, their_gradient, 1e-5),
        (values, theirs, 1e-3),
    ):
        jax.tree.map(
            lambda x, y, atol=atol: np.testing.assert_allclose(x, y, atol=atol, rtol=0),
            ours,
            others,
        )


def test_tuning_all_of_an_encoder_equals_pytorch(case):
    params = dict(case.variables["params"])
    held = {}
    if case.torch.config.model_type == "whisper":
        # PyTorch does not train the table of positions, which are sines.
        held["position"] = params.pop("position")

    def loss(params):
        return case.loss(case.module.apply({"params": params | held}, *case.arguments))

    got = tune(loss, params)
    grad = lambda p: torch.zeros_like(p) if p.grad is None else p.grad
    losses, gradient = tune_torch(case, case.torch, lambda: case.ours(grad))
    without = lambda tree: {k: x for k, x in tree.items() if k not in held}
    theirs = without(case.ours(torch.Tensor.detach))
    assert_equal(got, (losses, without(gradient), theirs))


def test_tuning_an_adapter_equals_peft(case, tmp_path):
    peft = pytest.importorskip("peft", reason="pip install --no-deps peft accelerate")
    params = case.variables["params"]
    recipe = lora.Recipe(rank=4, alpha=8)
    adapter = lora.init(recipe, params, jax.random.key(0))
    folder = tmp_path / "adapter"
    adapter_files.write(folder, adapter, params, case.naming, str(tmp_path))
    model = peft.PeftModel.from_pretrained(case.torch, folder, is_trainable=True)

    def read():
        model.save_pretrained(folder)
        return adapter_files.read(folder, params, case.naming)

    def gradients():
        trained = [p for p in model.parameters() if p.requires_grad]
        kept = [p.data for p in trained]
        for p in trained:
            p.data = p.grad
        made = read()
        for p, x in zip(trained, kept, strict=True):
            p.data = x
        return made

    def loss(adapter):
        states = lora.apply(case.module, case.variables, adapter, *case.arguments)
        return case.loss(states)

    got = tune(loss, adapter)
    inner = model.base_model.model
    losses, gradient = tune_torch(case, inner, gradients)
    assert_equal(got, (losses, gradient, read()))
