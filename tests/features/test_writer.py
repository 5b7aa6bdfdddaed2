"""How a dataset is cut on disk changes nothing of what is read."""

import os

import numpy as np

from jser.corpora import tables
from jser.features import writer
from jser.features.extract import extract
from jser.features.store import FeatureSet


def open_files_below(folder) -> int:
    links = [os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return sum(target.startswith(str(folder)) for target in targets)


def test_many_parts_become_few_shards(corpus, tmp_path, monkeypatch):
    table = tables.read(corpus.data / "small")
    monkeypatch.setattr(writer, "_MAX_SHARDS", 3)
    few = extract(table, "char_ngrams", tmp_path, workers=1)
    assert len(list(few.folder.glob("*.array_record*"))) == 3
    many = FeatureSet(corpus.features / "small" / "char_ngrams" / "1.0.0")
    assert len(list(many.folder.glob("*.array_record*"))) > 3
    assert few.utt_id == many.utt_id
    records = np.arange(len(few.utt_id))[::-1]
    for one, other in zip(few.read(records), many.read(records), strict=True):
        np.testing.assert_array_equal(one, other)
    assert open_files_below(few.folder) <= 3
