"""Makes a bundle of an ensemble or a run. docs/bundle.md."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from absl import logging
import jax
import numpy as np

from jser.config import Ensemble, Experiment
from jser.config_rules import NONE, is_sound
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.data.corpus import open_corpus
from jser.ensemble import combined_logits, run_config, stacking
from jser.ensemble.logits import Logits
from jser.ensemble.member_logits import MemberLogits
from jser.ensemble.out_of_fold import is_cross_validated
from jser.recognizer import frames, model_card
from jser.recognizer.bundle import Bundle, Calibration, Member
from jser.recognizer.frames import Weights
from jser.recognizer.network import calibrated, distance
from jser.report import comparison, heard
from jser.roots import Roots
from jser.statistics import bootstrap, conformal, metrics
from jser.statistics.calibration import fit_temperature
from jser.training import train, tuned
from jser.training.checkpoints import Checkpoints
from jser.training.predict import best_step

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_FAR = 0.99  # Quantile of the distances of what was trained on.
_READ = 1024  # Utterances that tell it.


def of_run(workdir: pathlib.Path) -> Ensemble:
    """A single run as an ensemble of one member.

    Raises:
      FileNotFoundError: if there is no run.
    """
    experiment, _ = run_config.read(workdir)
    data = dataclasses.replace(experiment.data, holdout=())
    member = dataclasses.replace(experiment, data=data)
    return Ensemble(name=f"{member.name}_alone", members=(member,), stacker="average")


def make(
    ensemble: Ensemble,
    roots: Roots,
    *,
    name: str,
    weights: Weights | None = None,
    told: Mapping[str, str] | None = None,
) -> Bundle:
    """A model of an ensemble that has run.

    In cross-validation every member is trained once more, on all utterances, and the
    stacker is fitted once more, on what is said of all of them out of fold. With train,
    dev and test the members and the stacker are those that were tested. Temperature and
    thresholds come from predictions of the whole ensemble about speakers that it had
    not heard: of cross-validation, or of dev.

    Args:
      ensemble: Trained, predicted and, if it has a stacker, stacked.
      roots: Where tables, features and runs lie.
      name: Of the model.
      weights: Checkpoints of front ends, where they are not the hub's.
      told: What the model card is to say: "license", "language", "caution".

    Raises:
      FileNotFoundError: if a run or its logits are not there.
      ValueError: if a member cannot be used on new sounds, with the reason.
    """
    roots = dataclasses.replace(roots, weights=weights or {})
    for member in ensemble.members:
        _refuse_unusable(member)
    if ensemble.stacker == "paper":
        raise ValueError(
            f"{ensemble.name}: stacker 'paper' learns from what its members were"
            " trained on, so that no confidence can be had of it. Combine otherwise:"
            " --config.stacker=average."
        )
    table = tables.read(roots.data / ensemble.members[0].data.corpus)
    held_out = _held_out(ensemble, roots, table)
    protocol = "cross-validation" if is_cross_validated(ensemble) else "dev"
    fitted_on = held_out[tables.CROSS_VALIDATED if protocol != "dev" else "dev"]
    fitted = _calibration(fitted_on)
    members = tuple(_trained(member, roots) for member in ensemble.members)
    described, far = _front_ends(members, roots, weights or {})
    encoders = _encoders(members, weights or {})
    about = {
        **_about(ensemble, table, protocol),
        "figures": {
            s: _figures(x, fitted) | _concordances(x, table)
            for s, x in held_out.items()
            if s != "dev" or len(held_out) == 1
        },
        **(told or {}),
    }
    made = Bundle(
        name=name,
        labels=table.labels,
        front_ends=described,
        encoders=encoders,
        members=members,
        stacker=_stacker(ensemble, roots, table),
        calibration=fitted,
        far=far,
        about=about,
    )
    return dataclasses.replace(made, card=model_card.of(made))


def _refuse_unusable(c: Experiment) -> None:
    if c.data.adapt != NONE:
        raise ValueError(
            f"{c.name}: trained on frames that each speaker's statistics scale, which"
            " one recording does not have. Bundle one with data.adapt=none; profiles"
            " adapt it."
        )
    if not c.model.mask_padding:
        raise ValueError(
            f"{c.name}: reads padding, so that an answer depends on batch mates. Train"
            " it with --config.model.mask_padding=True."
        )


def _held_out(ensemble: Ensemble, roots: Roots, table: Table) -> dict[str, Logits]:
    """The whole ensemble's combined logits by split, of utterances with labels."""
    members = MemberLogits(ensemble, roots, table)
    by_member = members.by_split()
    if ensemble.stacker == "average":
        splits = next(iter(by_member.values()))
        systems = {
            s: stacking.average(stacking.join({m: x[s] for m, x in by_member.items()}))
            for s in splits
        }
    else:
        systems = combined_logits.read(members, by_member)[ensemble.stacker]
    labelled = {s: x for s, x in systems.items() if (x.label >= 0).all()}
    if not {tables.CROSS_VALIDATED, "dev"} & set(labelled):
        raise ValueError(
            f"{table.folder}: neither cross-validated nor with a dev split, so that no"
            " confidence can be fitted. Prepare it with folds or with a dev split."
        )
    return labelled


def _calibration(logits: Logits) -> Calibration:
    """Temperature and thresholds, by utterances that the ensemble had not heard."""
    temperature = _temperature(logits)
    p = calibrated(logits.logits, temperature)
    speaker = _speakers(logits)
    score = conformal.scores(p, logits.label)
    return Calibration(
        temperature=temperature,
        unknown_below=conformal.least_confidence(p, logits.label, speaker),
        candidates={str(c): conformal.threshold(score, speaker, c) for c in COVERAGES},
        speakers=len(np.unique(speaker)),
    )


def _temperature(logits: Logits) -> float:
    """The temperature, as if each class had one utterance more than were seen.

    So few that are all right do not make it sure of everything (Platt 1999, section
    2.2: targets of (N + 1) / (N + C) and 1 / (N + C) in place of 1 and 0).
    """
    N, C = logits.logits.shape
    label = np.tile(np.arange(C), N)
    true = label == np.repeat(logits.label, C)
    return fit_temperature(
        np.repeat(logits.logits.astype(np.float64), C, axis=0),
        label,
        weight=np.where(true, N + 1, 1) / (N + C),
    )


def _speakers(logits: Logits) -> np.ndarray:
    """Speakers; utterances where nobody is named."""
    return logits.speaker if (logits.speaker != "").any() else logits.utt_id


def _figures(logits: Logits, fitted: Calibration) -> dict[str, Any]:
    """Scores with intervals, and what candidates keep of their promise."""
    classes, predicted = len(logits.labels), logits.logits.argmax(axis=1)
    speaker = _speakers(logits)
    named = len(set(logits.speaker.tolist()) - {""})
    several = named >= 5
    by = bootstrap.interval(
        logits.label, predicted, classes, cluster=speaker if several else None
    )
    scores = metrics.scores(logits.label, predicted, classes)
    p = calibrated(logits.logits, fitted.temperature)
    recall = metrics.recall(metrics.confusion(logits.label, predicted, classes))
    return {
        "utterances": len(logits),
        "speakers": named,
        "interval_over": "speakers" if several else "utterances",
        "scores": {
            s: {"value": round(v, 4), "interval": [round(x, 4) for x in by[s]]}
            for s, v in scores.items()
        },
        "recall": {
            str(n): round(float(r), 4)
            for n, r in zip(logits.labels, recall, strict=True)
            if np.isfinite(r)
        },
        "coverage": {
            c: [
                round(x, 4)
                for x in conformal.held_out_coverage(p, logits.label, speaker, float(c))
            ]
            for c in fitted.candidates
        },
    }


def _concordances(logits: Logits, table: Table) -> dict[str, Any]:
    """Of predicted attributes, their concordance with the raters'; none of others."""
    found = heard.scores(heard.concordances(logits, table), comparison.cluster(logits))
    scores = {
        name: {
            "value": round(x["value"], 4),
            "interval": [round(end, 4) for end in x["interval"] or ()],
        }
        for name, x in found.items()
    }
    return {"attributes": scores} if scores else {}


def _trained(member: Experiment, roots: Roots) -> Member:
    """A member, trained on all of its train split unless it was before."""
    workdir = roots.workdir(member)
    logging.info("%s: on all utterances", member.name)
    train.train(member, roots)
    with Checkpoints(workdir) as saved:
        variables = saved.load_variables(best_step(saved))
    return Member(member, jax.device_get(variables))


def _front_ends(
    members: tuple[Member, ...], roots: Roots, weights: Weights
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """By name of features, the front end and the distance that few trained at."""
    described: dict[str, dict[str, Any]] = {}
    far: dict[str, float] = {}
    for member in members:
        corpus = open_corpus(roots, member.experiment.data)
        split = corpus.train()
        rows = np.unique(np.linspace(0, len(split) - 1, _READ).astype(int))
        for stream, name in member.experiment.data.streams.items():
            if name not in described:
                spec = corpus.streams[stream].spec
                described[name] = frames.describe(name, spec, weights)
            standard = member.variables.get("standard", {}).get(f"{stream}_input")
            if standard and name not in far and not is_sound(name):
                read = split.read(rows)[stream]
                distances = [distance(x, **standard) for x in read]
                far[name] = float(np.quantile(distances, _FAR))
    return described, far


def _encoders(
    members: tuple[Member, ...], weights: Weights
) -> dict[str, dict[str, Any]]:
    """By name, the encoders that learned, as they were before."""
    described = {}
    for member in members:
        encoder = tuned.open(member.experiment, weights, begins=False)
        if encoder is None:
            continue
        name, made = member.experiment.tune.encoder, encoder.spec.described()
        if name in described and described[name] != described[name] | made:
            raise ValueError(
                f"{member.experiment.name}: reads {name} in another precision than a"
                " member before it. Train both in one."
            )
        if name not in described:
            described[name] = frames.describe_encoder(encoder, weights)
    return described


def _stacker(ensemble: Ensemble, roots: Roots, table: Table) -> stacking.Stacker | None:
    if ensemble.stacker == "average":
        return None
    known = MemberLogits(ensemble, roots, table).known()
    return stacking.fit(ensemble.stacker, known, ensemble.seed)


def _about(ensemble: Ensemble, table: Table, protocol: str) -> dict[str, Any]:
    train_split = ensemble.members[0].data.train_split
    rows = [u for u in table.utterances if u.split == train_split]
    return {
        "ensemble": ensemble.name,
        "corpus": table.folder.resolve().name,
        "table": table.fingerprint,
        "protocol": protocol,
        "utterances": len(rows),
        "speakers": len({u.speaker for u in rows if u.speaker}),
        "seconds": round(sum(u.seconds or 0.0 for u in rows)),
        "per_emotion": {n: sum(u.emotion == n for u in rows) for n in table.labels},
    }
