"""Checkpoints of the authors' kind, written by PyTorch on random weights."""

import pathlib

import jax
import numpy as np
import pytest

from jser import recipes
from jser.shapes import Stream
from jser.training import convert, predict, train
from jser.training.step import make_model
from tests.helpers import tiny_corpus
from tests.training.test_paper import torch_network

torch = pytest.importorskip("torch")
WIDTHS = {"speech": 80, "text": 512}  # Of logmel and char_ngrams.


@pytest.fixture
def member():
    member = tiny_corpus.experiment()
    member.loss.neutral_weight = 1.0
    member.model.hidden = 8
    return member.check()


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    found = torch_network(torch, 8, WIDTHS)
    found["classifier.3.weight"] = found["classifier.3.weight"][:3]  # Three emotions.
    found["classifier.3.bias"] = found["classifier.3.bias"][:3]
    return found


@pytest.mark.parametrize(
    "suffix", [".pt", pytest.param(".safetensors", marks=pytest.mark.slow)]
)
def test_there_and_back(corpus, tmp_path, member, state, suffix):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    theirs = tmp_path / f"ser{suffix}"
    if suffix == ".pt":
        torch.save({k: torch.from_numpy(x) for k, x in state.items()}, theirs)
    else:
        convert.write_state(theirs, state)
    workdir = tmp_path / "converted"
    scores = convert.to_run(member, roots, convert.read_state(theirs), workdir)
    back = convert.from_run(workdir)
    assert set(back) == set(state)
    for name, want in state.items():
        np.testing.assert_array_equal(back[name], want, err_msg=name)
    said = predict.predict(roots, workdir, "dev")
    right = (said.logits.argmax(1) == said.label).mean()
    assert scores["accuracy"] == pytest.approx(right)
    with pytest.raises(FileExistsError, match="a run already"):
        convert.to_run(member, roots, state, workdir)
    train.train(member, roots, workdir)  # It counts as finished.
    np.testing.assert_array_equal(
        convert.from_run(workdir)["text_norm.weight"], state["text_norm.weight"]
    )


def test_keys_are_named(state):
    del state["text_gru.bias_hh_l0"]
    state["extra.weight"] = np.zeros(3, np.float32)
    with pytest.raises(
        ValueError, match=r"missing text_gru\.bias_hh_l0; left over extra\.weight"
    ):
        convert.to_params(state, ("speech", "text"))
    with pytest.raises(ValueError, match="two or three streams"):
        convert.to_params(state, ("speech",))


def test_shapes_are_named(corpus, tmp_path, member, state):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    member.data.streams = {"text": "char_ngrams", "speech": "logmel"}  # Other order.
    with pytest.raises(ValueError, match=r"text_encoder/projection/kernel: \(80, 8\)"):
        convert.to_run(member, roots, state, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_three_streams_and_no_neutral_head():
    experiment = recipes.paper("x", epochs=1, speech="a", text="b", prosody="c")
    experiment.model.hidden = 4
    model = make_model(experiment, 8)
    streams = {
        s: Stream(x=np.zeros((1, 2, D), np.float32), mask=np.ones((1, 2), bool))
        for s, D in (("speech", 6), ("text", 5), ("prosody", 3))
    }
    params = model.init(jax.random.key(0), streams, train=False)["params"]
    names = tuple(streams)
    back = convert.to_params(convert.from_params(params, names), names)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    params["speech_input"] = {"layers": np.zeros(3)}
    with pytest.raises(ValueError, match="not the authors' network: speech_input/lay"):
        convert.from_params(params, names)


class Code:
    """Would run on unpickling."""

    def __reduce__(self):
        return pathlib.Path("jser_was_here").touch, ()


def test_a_file_that_holds_code_is_refused_and_none_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"speech_attn.bias": Code()}, "ser.pt")
    with pytest.raises(ValueError, match="where only tensors may be"):
        convert.read_state(pathlib.Path("ser.pt"))
    assert not pathlib.Path("jser_was_here").exists()
    pathlib.Path("ser.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a safetensors file"):
        convert.read_state(pathlib.Path("ser.safetensors"))
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        convert.write_state(pathlib.Path("ser.pt"), {})
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        convert.read_state(pathlib.Path("none.pt"))
