"""The commands that a report says made its features."""

import pytest

from jser import roots
from jser.corpora import tables
from jser.report import extracting


@pytest.mark.parametrize(
    ("name", "context", "given"),
    [
        ("whisper_base", {"context": "short"}, ""),
        ("whisper_base", {}, " --context full"),  # Older than the choice, or chosen.
        ("whisper_large_v3", {"context": "short"}, " --context short"),
        ("whisper_large_v3", {}, ""),
    ],
)
def test_a_context_that_is_not_the_names_own_is_said(tmp_path, name, context, given):
    table = tables.Table(
        utterances=(), labels=("angry", "sad"), audio_root="", folder=tmp_path
    )
    spec = {"name": name, "layer": "last", **context}
    (line,) = extracting.commands(table, {name: spec}, roots.Roots())
    made = f"jser extract --table {tmp_path} --frontend {name} --layer last{given}"
    assert line == made


def test_a_layer_that_the_name_says_is_said_once(tmp_path):
    table = tables.Table(
        utterances=(), labels=("angry", "sad"), audio_root="", folder=tmp_path
    )
    spec = {"name": "wavlm", "layer": "3", "model": "mine"}
    specs = {"wavlm-mine@3.pooled": spec}
    (line,) = extracting.commands(table, specs, roots.Roots())
    assert line == (
        f"jser extract --table {tmp_path} --frontend wavlm-mine@3.pooled --weights mine"
    )
