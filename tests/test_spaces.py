"""What fields may be, in the trials of a sweep."""

import optuna
import pytest

from jser import spaces
from tests.helpers import tiny_corpus


def proposed(space: str, **params) -> list[str]:
    """The fields of a trial in which Optuna says these values."""
    return spaces.proposal(space, tiny_corpus.experiment())(
        optuna.trial.FixedTrial(params)
    )


def test_ranges_and_values_become_fields():
    space = "optim.lr=log:1e-5:1e-3, epochs=2:9,loss.kind=cross_entropy|focal"
    chosen = {"optim.lr": 1e-4, "epochs": 5, "loss.kind": "focal"}
    assert proposed(space, **chosen) == [
        "optim.lr=0.0001",
        "epochs=5",
        "loss.kind=focal",
    ]


def test_what_optuna_is_asked_for():
    study = optuna.create_study()
    trial = study.ask()
    space = (
        "optim.lr=log:1e-5:1e-3,augment.mixup=0:0.4,epochs=2:9,model.kind=fusion|probe"
    )
    spaces.proposal(space, tiny_corpus.experiment())(trial)
    of = study.trials[0].distributions
    assert of["optim.lr"] == optuna.distributions.FloatDistribution(
        1e-5, 1e-3, log=True
    )
    assert of["augment.mixup"] == optuna.distributions.FloatDistribution(0.0, 0.4)
    assert of["epochs"] == optuna.distributions.IntDistribution(2, 9)
    kinds = optuna.distributions.CategoricalDistribution(["fusion", "probe"])
    assert of["model.kind"] == kinds


FILE = """
def get_fields(trial):
    kind = trial.suggest_categorical("loss.kind", ["cross_entropy", "focal"])
    fields = [f"loss.kind={kind}"]
    if kind == "focal":
        fields.append(f"loss.focal_gamma={trial.suggest_float('gamma', 1, 3)}")
    return fields
"""


def test_a_file_may_ask_for_one_field_only_beside_another(tmp_path):
    path = tmp_path / "space.py"
    path.write_text(FILE)
    chosen = {"loss.kind": "focal", "gamma": 2.5}
    assert proposed(str(path), **chosen) == ["loss.kind=focal", "loss.focal_gamma=2.5"]
    chosen = {"loss.kind": "cross_entropy"}
    assert proposed(str(path), **chosen) == ["loss.kind=cross_entropy"]
    assert spaces.source(str(path)) == FILE


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("", "names no field, or one twice. Write --space as"),
        ("epochs=1:2,epochs=1:3", "names no field, or one twice"),
        ("epochs", "epochs=: no range, no values"),
        ("epochs=5", "epochs=5: no range, no values"),
        ("epochs=lin:1:2", "no range, no values"),
        ("epochs=9:2", "epochs=9:2 must be from low to high"),
        ("epochs=1.5:2", "--config.epochs: '1.5' must be a whole number"),
        ("optim.lr=log:0:1", "must be from low to high, above 0"),
        ("optim.rate=0:1", "--config.optim.rate: no such field"),
        ("loss.soft_labels=true|maybe", "'maybe' must be true or false"),
        ("loss.soft_labels=0:1", "loss.soft_labels has no range; give values"),
    ],
)
def test_a_slip_is_told(space, message):
    with pytest.raises(ValueError, match=message):
        proposed(space)


def test_a_file_that_fails_is_named(tmp_path):
    path = tmp_path / "space.py"
    with pytest.raises(FileNotFoundError, match=r"space.py: no such file. Write"):
        proposed(str(path))
    path.write_text("x = 1")
    with pytest.raises(ValueError, match=r"space.py: fails \(lacks 'get_fields'\)"):
        proposed(str(path))
    path.write_text("def get_fields(trial): return 1 / 0")
    with pytest.raises(ValueError, match=r"get_fields fails \(division by zero\)"):
        proposed(str(path))
