"""Combination of the members' logits into the ensemble's predictions."""

import csv
import dataclasses
import io
import pathlib

from absl import logging
import numpy as np
from scipy import special

from jser import files
from jser.config import Ensemble
from jser.corpora import tables
from jser.ensemble import combined_logits, stacker_store, stacking
from jser.ensemble.logits import Logits
from jser.ensemble.member_logits import MemberLogits
from jser.ensemble.out_of_fold import is_cross_validated
from jser.roots import Roots


def combine(ensemble: Ensemble, roots: Roots) -> None:
    """Combines the members' logits and writes the ensemble's predictions.

    Raises:
      FileNotFoundError: if a member has not predicted yet.
      ValueError: if logits are not of the run they lie in, or not of the table.
    """
    table = tables.read(roots.data / ensemble.members[0].data.corpus)
    folder = roots.runs / ensemble.name
    members = MemberLogits(ensemble, roots, table)
    logging.info("%s: combining %d members", ensemble.name, len(ensemble.members))
    joined = _joined(members)
    systems = {"average": {s: stacking.average(x) for s, x in joined.items()}}
    if ensemble.stacker != "average":
        systems[ensemble.stacker], fitted = _stack(ensemble, members, joined)
        stacker_store.save(folder, fitted)
    record = combined_logits.read_stack(ensemble, folder)
    for kind, by_split in systems.items():
        system = combined_logits.made_as(kind, record)
        for split, logits in by_split.items():
            path = folder / "logits" / kind / f"{split}.npz"
            dataclasses.replace(logits, system=system).save(path)
    for split, logits in systems[ensemble.stacker].items():
        _write_predictions(logits, folder / "predictions" / f"{split}.csv")


def _joined(members: MemberLogits) -> dict[str, stacking.Joined]:
    """All members' logits by split."""
    by_member = members.by_split()
    splits = next(iter(by_member.values()))
    return {s: stacking.join({m: x[s] for m, x in by_member.items()}) for s in splits}


def _stack(
    ensemble: Ensemble, members: MemberLogits, joined: dict[str, stacking.Joined]
) -> tuple[dict[str, Logits], dict[int, stacking.Stacker]]:
    """The stacker's predictions by split, and the stackers by fold."""
    kind, seed = ensemble.stacker, ensemble.seed
    if is_cross_validated(ensemble):
        by_fold = members.by_fold()
        outer = {
            k: stacking.join({m: x[k] for m, x in by_fold.items()})
            for k in next(iter(by_fold.values()))
        }
        logits, fitted = stacking.cross_validate(
            kind, outer, members.known_by_fold(), seed
        )
        return {tables.CROSS_VALIDATED: logits}, fitted
    stacker = stacking.fit(kind, members.known(), seed)
    return {s: stacking.apply(stacker, x) for s, x in joined.items()}, {-1: stacker}


def _write_predictions(logits: Logits, path: pathlib.Path) -> None:
    """`utt_id,label,predicted,p_<emotion>...`; the label is empty where held back."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    names = [str(name) for name in logits.labels]
    table.writerow(["utt_id", "label", "predicted", *(f"p_{n}" for n in names)])
    for utt_id, label, log_p in zip(
        logits.utt_id,
        logits.label,
        special.log_softmax(logits.logits, axis=1),
        strict=True,
    ):
        true = names[label] if label >= 0 else ""
        p = [f"{x:.4f}" for x in np.exp(log_p)]
        table.writerow([utt_id, true, names[int(log_p.argmax())], *p])
    files.write_atomically(path, out.getvalue())
