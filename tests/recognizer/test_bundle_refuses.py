"""A model from anywhere is used as it was made, or refused in one line."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from safetensors import numpy as safetensors

from jser import files
from jser.recognizer import bundle, models
from jser.recognizer.recognizer import Recognizer
from tests.helpers import tiny_corpus

FUNCTIONALS = models.find("emodb-functionals")
STREAM = "functionals.trimmed"
SPEC = ("front_ends", STREAM)
FITTED = ("calibration",)
MEMBER = ("members", 0)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A copy of a model that comes along."""
    return shutil.copytree(FUNCTIONALS, tmp_path / "model")


def change(folder: pathlib.Path, *path, to=None, without=False) -> None:
    """Sets a field of config.json, or takes it away."""
    record = json.loads((folder / bundle.CONFIG).read_text())
    *way, last = path
    at = record
    for step in way:
        at = at[step]
    if without:
        del at[last]
    else:
        at[last] = to
    (folder / bundle.CONFIG).write_text(json.dumps(record))


def change_tensors(folder: pathlib.Path, **changed) -> None:
    """Sets arrays, with their digest."""
    path = folder / bundle.TENSORS
    tensors = safetensors.load(path.read_bytes()) | changed
    path.write_bytes(
        safetensors.save({k: x for k, x in tensors.items() if x is not None})
    )
    digest = files.file_digest(path)
    change(folder, "files", bundle.TENSORS, to=digest)


def refused(folder: pathlib.Path, kind: type[Exception] = ValueError) -> str:
    """The line that ends it; a sound is heard unless it ends before."""
    with pytest.raises(kind) as e:
        Recognizer(bundle.load(folder))((tiny_corpus.tone(200, 0.5), 16_000))
    told = str(e.value)
    assert "\n" not in told
    assert len(told.replace(str(folder), "")) < 600
    return told


@pytest.mark.parametrize(
    ("path", "to", "told"),
    [
        (("schema",), 2, "made by a newer one: pip install --upgrade jser"),
        (("schema",), "x", "its schema is no number"),
        (("name",), "a\nb", "letters that cannot be shown"),
        (("sample_rate_hz",), 8_000, "sounds at 8000 Hz"),
        (("files", "../../other"), "0", "names a file '../../other' that no bundle"),
        (("files",), {}, "names no digest of model.safetensors"),
        (("files", bundle.TENSORS), "0" * 16, "not the file config.json names"),
        (("front_ends",), {}, "no front ends"),
        (("front_ends",), {"nonsense": {}}, "'nonsense' is not one that jser has"),
        (("front_ends",), {"../x": {}}, "front end '../x' does not read as"),
        (SPEC, 3, "no object"),
        (SPEC, {}, "lacks 'name'"),
        ((*SPEC, "backend"), "torch", "which no bundle may ask for"),
        ((*SPEC, "context"), [], "context is a list"),
        ((*SPEC, "name"), "logmel", "with name 'logmel', and this version"),
        ((*SPEC, "width"), 3, "emodb-functionals: cannot be used"),
        ((*SPEC, "width"), 10**12, "width 1000000000000"),
        (("members",), [], "no members"),
        (("members",), [3], "cannot be used"),
        ((*MEMBER, "data", "streams", "speech"), "logmel", "reads 'logmel', which"),
        ((*MEMBER, "model", "kind"), "nonsense", "model.kind: 'nonsense'"),
        ((*MEMBER, "model", "code"), "x", "unexpected keyword argument 'code'"),
        ((*MEMBER, "model", "hidden"), 10**9, "emodb-functionals: cannot be used"),
        (("labels",), [], "no labels"),
        (("labels", 0), "x" * 10**6, "is no text of 1 to 80 letters"),
        (("labels", 0), ["sad"], "is no text of 1 to 80 letters"),
        (("labels", 0), "sad", "a label stands there twice"),
        (("labels", 0), "\x1b[31mred", "letters that cannot be shown"),
        (("labels",), [str(i) for i in range(10**5)], "cannot be used"),
        (("combination",), "logistic", "config.json says 'logistic'"),
        ((*FITTED, "temperature"), float("nan"), "no finite number"),
        ((*FITTED, "temperature"), 0, "temperature 0"),
        ((*FITTED, "unknown_below"), None, "no finite number"),
        ((*FITTED, "candidates"), {}, "no candidates"),
        ((*FITTED, "candidates", "0.9"), "x", "candidates 'x' is no finite number"),
        ((*FITTED, "candidates", "1.5"), 0.5, "candidates of a coverage '1.5', which"),
        ((*FITTED, "candidates", "most"), 0.5, "candidates of a coverage 'most', "),
        ((*FITTED, "more"), 1, "unexpected keyword argument 'more'"),
        (("far", STREAM), "x", "is no finite number"),
        (("about", "caution"), "a\x1b", "letters that cannot be shown"),
    ],
)
def test_a_config_that_cannot_be(folder, path, to, told):
    change(folder, *path, to=to)
    assert told in refused(folder)


@pytest.mark.parametrize(
    "field",
    ["name", "labels", "front_ends", "members", "combination", "calibration", "files"],
)
def test_a_config_that_lacks_a_field(folder, field):
    change(folder, field, without=True)
    assert f"lacks '{field}'" in refused(folder)


@pytest.mark.parametrize("name", ["hf_speech", "hf_text"])
def test_other_libraries_code_is_not_run_whatever_the_backend_is_called(folder, name):
    spec = json.loads((folder / bundle.CONFIG).read_text())["front_ends"][STREAM]
    change(folder, "front_ends", to={name: spec | {"name": name, "backend": "jax"}})
    assert "which no bundle may ask for" in refused(folder)


def test_weights_without_a_name_of_their_own_ask_for_consent(folder):
    spec = json.loads((folder / bundle.CONFIG).read_text())["front_ends"][STREAM]
    spec |= {"name": "whisper", "dtype": "float32", "weights": "0", "values": "0"}
    change(folder, *SPEC, without=True)
    for model, typed in (
        ("x/y", "whisper=x/y"),
        ("x/y; date", "'whisper=x/y; date'"),
    ):
        change(folder, "front_ends", "whisper", to=spec | {"model": model})
        change(folder, "members", to=[_reading(folder, "whisper")] * 2)
        told = refused(folder)
        assert told.endswith(
            f"If you trust them, say so: --weights {typed}, or a folder."
        )


def _reading(folder: pathlib.Path, features: str) -> dict:
    member = json.loads((folder / bundle.CONFIG).read_text())["members"][0]
    member["data"]["streams"] = {"speech": features}
    return member


def test_members_and_their_numbers_are_of_one_model(folder, rng):
    tensors = safetensors.load((folder / bundle.TENSORS).read_bytes())
    first = min(tensors)
    kept = tensors[first]
    for name, x, told in (
        (first, np.full_like(kept, np.nan), "is not finite"),
        (first, np.zeros((3, 3), np.float32), "expected to generate shape"),
        (first, None, "Could not find parameter"),
        ("9/params/x", kept, "'9/params/x' is of no member"),
        ("-1/params/x", kept, "'-1/params/x' is of no member"),
        ("x", kept, "'x' is of no member"),
    ):
        change_tensors(folder, **{name: x})
        assert told in refused(folder)
        change_tensors(folder, **{name: kept if name == first else None})
    members = json.loads((folder / bundle.CONFIG).read_text())["members"]
    change(folder, "members", to=members[:1])
    assert "is of no member" in refused(folder)
    change(folder, "members", to=[*members, members[0]])
    assert f"not {len(members) + 1} members" in refused(folder)
    change(folder, "members", to=members)
    assert Recognizer(bundle.load(folder)).digest == bundle.load(FUNCTIONALS).digest


def test_files_that_are_gone_or_no_json(folder):
    (folder / bundle.TENSORS).rename(folder / "kept")
    assert "Fetch the model again" in refused(folder, FileNotFoundError)
    for text in ("{", "[" * 100_000):
        (folder / bundle.CONFIG).write_text(text)
        assert "not valid JSON" in refused(folder)
    (folder / bundle.CONFIG).write_text("[]")
    assert "not a JSON object" in refused(folder)
    (folder / bundle.CONFIG).unlink()
    assert "jser bundle makes one" in refused(folder, FileNotFoundError)
