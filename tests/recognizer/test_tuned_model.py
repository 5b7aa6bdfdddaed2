"""A model whose encoder learned: bundled, used on a sound, and handed on."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors
from scipy import special

from jser import audio
from jser.config import Ensemble, Model, Tune
from jser.corpora import tables
from jser.features import frontends, trimming
from jser.features.extract import extract
from jser.recognizer import bundle, export, export_peft, making
from jser.recognizer.recognizer import Recognizer
from jser.training import adapter_files, predict, train, tuned
from jser.training.network import make_model
from tests.helpers import tiny_checkpoints, tiny_corpus

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["lora", "full"])
def made(request, corpus, tmp_path_factory):
    """Roots, the run's config, and the bundle as it was saved."""
    home = tmp_path_factory.mktemp(request.param)
    tiny_checkpoints.make("wavlm", home / "wavlm")
    roots = dataclasses.replace(
        corpus,
        features=home / "features",
        runs=home / "runs",
        weights={"wavlm": home / "wavlm"},
    )
    table = tables.read(corpus.data / "small")
    extract(table, frontends.get("waveform.trimmed"), roots.features, workers=1)
    c = tiny_corpus.experiment(speech="logmel")
    c.name, c.data.streams, c.epochs = "learned", {"speech": "waveform.trimmed"}, 2
    c.data.longest_s, c.data.standardize = 0.7, ("speech",)
    c.model = Model(kind="pooling", hidden=8, dropout=0.0)
    c.optim.lr = c.optim.final_lr = 1e-2
    c.tune = Tune(encoder="wavlm", how=request.param)
    train.train(c.check(), roots)
    for split in ("dev", "test"):
        predict.predict(roots, roots.workdir(c), split)
    ensemble = Ensemble(name="one", members=(c,), stacker="average").check()
    weights = dict(roots.weights)
    making.make(ensemble, roots, name="m", weights=weights).save(home / "m")
    return roots, c, home / "m"


def test_a_sound_is_heard_as_in_prediction(made):
    roots, c, folder = made
    model = bundle.load(folder)
    use = Recognizer(model, weights=roots.weights)
    table = tables.read(roots.data / "small")
    said = predict.predict(roots, roots.workdir(c), "test")
    rows = {u.utt_id: u for u in table.select("test")}
    told = set()
    for i, utt_id in enumerate(said.utt_id.tolist()):
        answer = use(table.audio_path(rows[utt_id]))
        temperature = model.calibration.temperature
        want = special.softmax(said.logits[i].astype(float) / temperature)
        got = [answer.scores[str(n)] for n in said.labels]
        np.testing.assert_allclose(got, want, atol=1e-4)
        sound = audio.load(table.audio_path(rows[utt_id]))
        start, stop = trimming.speech_span(sound)
        is_long = stop - start > 0.7 * audio.SAMPLE_RATE_HZ
        note = any(w.startswith("long: the model hears 0.7 s") for w in answer.warnings)
        assert note == is_long
        told.add(note)
    assert told == {True, False}


def test_other_weights_are_refused_in_a_line(made, tmp_path):
    roots, _, folder = made
    model = bundle.load(folder)
    for path in roots.weights["wavlm"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    other = {k: x + 0.01 for k, x in tensors.items()}
    safetensors.save_file(other, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"not the weights of wavlm.*trained"):
        Recognizer(model, weights={"wavlm": tmp_path})
    with pytest.raises(ValueError, match="weights of 'whisper': the model takes those"):
        Recognizer(model, weights={**roots.weights, "whisper": tmp_path})
    with pytest.raises(ValueError, match="scales no stream"):
        Recognizer(model, weights=roots.weights).adapt(
            [(np.ones(16_000), 16_000)], "room"
        )


def test_a_bundle_of_an_encoder_that_it_does_not_name_is_refused(made, tmp_path):
    _, _, folder = made
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = json.loads((tmp_path / "config.json").read_text())
    record["encoders"] = {}
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="a member reads 'wavlm', which none makes"):
        bundle.load(tmp_path)


def test_its_network_is_not_exported_alone(made, tmp_path):
    _, _, folder = made
    with pytest.raises(ValueError, match="--to peft"):
        export.save(bundle.load(folder), tmp_path)


def test_what_it_learned_is_a_checkpoint_for_transformers(made, tmp_path):
    import torch
    import transformers

    roots, c, folder = made
    model = bundle.load(folder)
    written = export_peft.save(model, tmp_path, roots.weights)
    assert tmp_path / "learned" / "merged" / "model.safetensors" in written
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "learned" / "merged")
    sound = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    x = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    with torch.no_grad():
        want = theirs.eval()(torch.tensor(x[None])).last_hidden_state[0].numpy()
    encoder = tuned.open(c, roots.weights)
    network = make_model(c, 3, encoder.program)
    variables = {**model.members[0].variables, tuned.FROZEN: encoder.frozen}
    real = np.ones((1, len(sound)), bool)
    run = jax.jit(lambda v, x, real: network.frames(v, x, real, train=False))
    frames, _ = run(variables, sound[None], real)
    np.testing.assert_allclose(frames[0], want, atol=3e-5 * np.abs(want).max())
    if c.tune.how == "lora":
        read = adapter_files.read(tmp_path / "learned", encoder.frozen, encoder.naming)
        jax.tree.map(
            np.testing.assert_array_equal,
            read.factors,
            model.members[0].variables["params"][tuned.ENCODER],
        )
