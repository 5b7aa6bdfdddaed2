"""A model of the corpus of tones, by the whole road to it."""

from jser.config import Ensemble, Experiment, Model
from jser.recognizer import making
from jser.recognizer.bundle import Bundle
from jser.roots import Roots
from jser.training import predict, train
from tests.helpers import tiny_corpus


def members() -> tuple[Experiment, ...]:
    made = []
    for name in ("fusion", "probe"):
        member = tiny_corpus.experiment(speech="logmel")
        member.name, member.data.standardize = f"tiny_{name}", ("speech",)
        member.epochs, member.optim.lr = 12, 1e-2
        if name == "probe":
            member.model = Model(kind="probe", dropout=0.0)
        made.append(member)
    return tuple(made)


def ensemble() -> Ensemble:
    return Ensemble(name="tiny_model", members=members(), stacker="average").check()


def make(roots: Roots, **told: str) -> Bundle:
    """Trains two members, averages them and makes the bundle."""
    for member in members():
        train.train(member, roots)
        for split in ("dev", "test"):
            predict.predict(roots, roots.workdir(member), split)
    return making.make(ensemble(), roots, name="tiny", told=told)
