import pytest

from jser import config_files, overrides, recipes
from jser.config import Ensemble, Experiment


def member(*assignments: str) -> Experiment:
    return overrides.apply(recipes.load("whisper_roberta_facodec_sml"), assignments)


def ensemble(*assignments: str) -> Ensemble:
    return overrides.apply(recipes.load_ensemble("ensemble_demo"), assignments)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("optim.lr=3e-4", 3e-4),
        ("optim.lr=1", 1.0),
        ("epochs=3", 3),
        ("name=x", "x"),
        ("data.dev_split=", ""),
        ("model.mask_padding=False", False),
        ("model.mask_padding=1", True),
        ("loss.soft_labels", True),
        ("data.holdout=(0,)", (0,)),
        ("data.holdout=(1)", (1,)),
        ("data.holdout=[0, 2]", (0, 2)),
        ("data.holdout=0,2", (0, 2)),
        ("data.holdout=", ()),
        ("data.standardize=speech, text", ("speech", "text")),
        ("data.standardize=('speech',)", ("speech",)),
        ("model.heads=speech=1,prosody=4", {"speech": 1, "prosody": 4}),
        ("model.heads={'prosody': 4}", {"prosody": 4}),
        ("model.heads=", {}),
        (
            "data.streams={'speech': 'logmel', 'text': 'char_ngrams'}",
            {"speech": "logmel", "text": "char_ngrams"},
        ),
        (
            "data.streams=speech=logmel,text=char_ngrams",
            {"speech": "logmel", "text": "char_ngrams"},
        ),
    ],
)
def test_values_are_read_by_the_type_of_their_field(assignment, expected):
    found = member(assignment)
    for part in assignment.partition("=")[0].split("."):
        found = getattr(found, part)
    assert found == expected
    assert type(found) is type(expected)


def test_one_stream_is_set_or_added():
    streams = member().data.streams
    found = member("data.streams.prosody=prosody", "data.streams.words=char_ngrams")
    assert found.data.streams == {
        **streams,
        "prosody": "prosody",
        "words": "char_ngrams",
    }
    assert member("model.heads.text=2").model.heads == {"prosody": 2, "text": 2}


def test_every_field_can_be_set():
    """Each has a type that is known, so that its error can say what it takes."""
    for field in (*overrides.fields(Experiment), "stacker"):
        with pytest.raises(ValueError, match=rf"{field}: give it a value|must be"):
            ensemble(field, "data.holdout=x")


def test_what_is_given_stays_as_it_is():
    config = recipes.load_ensemble("ensemble_demo")
    overrides.apply(config, ["name=x", "epochs=1", "data.streams.new=logmel"])
    assert config == recipes.load_ensemble("ensemble_demo")


def test_an_ensembles_members_are_set_together():
    found = ensemble("data.corpus=mine", "epochs=3", "seed=1", "members.seed=2").check()
    assert {m.data.corpus for m in found.members} == {"mine"}
    assert {m.epochs for m in found.members} == {3}
    assert {m.seed for m in found.members} == {2}
    assert found.seed == 1
    assert ensemble("stacker=average").stacker == "average"
    assert ensemble("members.optim.lr=1e-3") == ensemble("optim.lr=1e-3")


def test_members_carry_the_name_that_is_set():
    """Or those that were changed would meet the runs of those that were not."""
    before, found = ensemble(), ensemble("name=x", "optim.lr=1e-3")
    assert found.name == "x"
    assert [m.name for m in found.members] == [f"x_{m.name}" for m in before.members]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.learning_rate=1", r"did you mean --config\.optim\.lr\?"),
        ("lr=1", r"did you mean --config\.optim\.lr\?"),
        ("optim.lrr=1", r"did you mean --config\.optim\.lr"),
        ("data.stream=1", r"did you mean --config\.data\.streams"),
        ("kind=1", r"did you mean --config\.model\.kind or --config\.loss\.kind\?"),
        ("zzz=1", r"no such field; there are --config\..*--config\.data\.streams,"),
        ("data.=1", r"--config\.data\.: no such field"),
        ("optim.lr.x=1", r"--config\.optim\.lr\.x: no such field"),
        ("optim=1", r"optim has fields; set one of --config\.optim\.lr, --config"),
        ("epochs=3.5", r"--config\.epochs: '3\.5' must be a whole number, as 20\."),
        ("epochs", r"--config\.epochs: give it a value, a whole number, as 20\."),
        ("optim.lr=fast", r"optim\.lr: 'fast' must be a number, as 3e-4\."),
        ("loss.soft_labels=maybe", "must be true or false"),
        ("data.streams=logmel", "must be pairs, as speech=logmel,text=char_ngrams"),
        ("data.streams={'a'", "must be pairs"),
        ("data.streams={'a'}", "must be pairs"),
        ("model.heads=speech=two", "must be pairs, as speech=1,text=2"),
        ("data.holdout=(0, 'x')", "must be whole numbers, as 0,1"),
        ("data.holdout={0: 1}.x", "must be whole numbers, as 0,1"),
    ],
)
def test_what_cannot_be_set_names_what_can(assignment, message):
    for config in (member, ensemble):
        with pytest.raises(ValueError, match=message) as e:
            config(assignment)
        assert "\n" not in str(e.value)


def test_a_member_has_no_stacker_and_an_ensemble_names_its_members():
    with pytest.raises(ValueError, match=r"--config\.stacker: no such field"):
        member("stacker=average")
    with pytest.raises(ValueError, match=r"did you mean --config\.stacker\?"):
        ensemble("staker=average")
    with pytest.raises(ValueError, match=r"set --config\.name; theirs follow"):
        ensemble("members.name=x")


def test_old_names_are_refused_by_the_new_ones(monkeypatch):
    monkeypatch.setitem(config_files.RENAMED, "optim.speed", "optim.lr")
    monkeypatch.setitem(
        config_files.RENAMED, "data.sampler=odd", "data.sampler=shuffle"
    )
    with pytest.raises(ValueError, match=r"optim\.speed is called --config\.optim\.lr"):
        member("optim.speed=1")
    with pytest.raises(ValueError, match=r"speed is called --config\.optim\.lr now"):
        ensemble("members.optim.speed=1")
    with pytest.raises(ValueError, match=r"=odd is called --config.*=shuffle now"):
        member("data.sampler=odd")
    assert member("data.sampler=shuffle").data.sampler == "shuffle"


def test_a_field_has_one_name():
    known = overrides.fields(Experiment)
    for old, new in config_files.RENAMED.items():
        if "=" not in old:
            assert (old in known) != (new in known)
