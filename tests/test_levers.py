"""Named changes of a config."""

import dataclasses

import pytest

from jser import levers
from jser.corpora import tables
from tests.helpers import tiny_corpus


@pytest.fixture
def table(corpus):
    return tables.read(corpus.data / "small")


def pulled(text: str, table, **fields):
    config = dataclasses.replace(tiny_corpus.experiment(), **fields)
    asked, _ = levers.read(text)
    names = [lever.name for lever in asked]
    return {x.name: levers.applied(x, config, table, names) for x in asked}


def test_levers_are_known_by_name_or_set_fields(table):
    text = "mixup; mine: optim.lr=*0.5, data.streams=text=char_ngrams, epochs=2"
    found = pulled(text, table)
    assert found["mixup"].name == "small+mixup"
    assert found["mixup"].augment.mixup == 0.2
    assert found["mine"].optim.lr == 5e-4
    assert found["mine"].data.streams == {"text": "char_ngrams"}
    assert found["mine"].epochs == 2


def test_a_file_has_one_a_line(tmp_path):
    path = tmp_path / "levers.txt"
    path.write_text("# Mine.\nfocal\n\nslow: optim.lr=1e-4, epochs=9  # Hours.\n")
    (focal, slow), may_skip = levers.read(str(path))
    assert focal in levers.LEVERS
    assert slow.fields == ("optim.lr=1e-4", "epochs=9")
    assert not may_skip


def test_a_second_stage_starts_with_the_run_of_its_seed(table):
    found = pulled("first: epochs=2; next: init_from=first; second_stage", table)
    names = ["small", *(e.name for e in found.values())]
    made = levers.over_seeds(found["second_stage"], (0, 5), names)
    assert [e.name for e in made] == [f"small+second_stage_seed{k}" for k in (0, 5)]
    assert [e.init_from for e in made] == ["small_seed0", "small_seed5"]
    assert [e.seed for e in made] == [0, 5]
    (after,) = levers.over_seeds(found["next"], (3,), names)
    assert after.init_from == "small+first_seed3"
    (elsewhere,) = levers.over_seeds(
        pulled("x: init_from=another", table)["x"], (3,), names
    )
    assert elsewhere.init_from == "another"


def test_every_known_lever_fits_a_plain_config_and_a_table_that_tells_all(table):
    told = {"ratings": "angry+sad angry", "arousal": 1.0, "gender": "female"}
    rows = (dataclasses.replace(table.utterances[0], **told), *table.utterances[1:])
    told_all = dataclasses.replace(table, utterances=rows)
    for lever in levers.LEVERS:
        levers.applied(lever, tiny_corpus.experiment(), told_all, [])
        assert lever.needs == "" or lever.needs in levers._TOLD
        if lever.needs:
            with pytest.raises(ValueError, match=f"tells no {lever.needs}"):
                levers.applied(lever, tiny_corpus.experiment(), table, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixpu", "no lever 'mixpu'; did you mean mixup"),
        (" ; ", "names none. Write levers as"),
        ("mixup; mixup", "'mixup' stands there twice"),
        ("a b: epochs=2", "name: 'a b' must be letters"),
        ("base: epochs=2", "'base' is the config itself"),
        ("mine:", "mine: sets no field"),
        ("mine: optim.learning_rate=1", "mine: --config.optim.learning_rate: no such"),
        ("mine: optim.lr=*x", "mine: 'optim.lr=\\*x' must be a number's field"),
        ("mine: data.streams=*2", "must be a number's field"),
        ("mine: epochs=0", "mine: epochs: 0 must be at least 1"),
        ("mine: epochs=3", "mine: changes nothing, small has it already"),
        ("mine: seed=1", "mine: seed is the same with and without"),
        ("mine: data.holdout=1", "data.holdout is the same with and without"),
        ("soft_labels", "soft_labels: .*small tells no votes"),
    ],
)
def test_a_slip_is_told(table, text, message):
    with pytest.raises(ValueError, match=message):
        pulled(text, table)


def test_a_missing_file_is_told():
    with pytest.raises(
        FileNotFoundError, match=r"none.txt: no such file. Write levers"
    ):
        levers.read("none.txt")
