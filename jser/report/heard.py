"""Systems against what raters said: distributions and attributes. No JAX here."""

from typing import Any

import numpy as np
from scipy import special

from jser.corpora.tables import Table
from jser.data import targets
from jser.ensemble.logits import ATTRIBUTES, Logits
from jser.statistics import attributes, distributions, paired
from jser.statistics.paired import Measure

Heard = dict[str, tuple[np.ndarray, Measure]]  # Which rows are scored, and by what.


def distribution(logits: Logits, table: Table) -> Heard:
    """Scores of the probabilities against the primary votes; {} if none are known.

    Of the utterances whose votes are known, if those have the label set of the logits.
    """
    labels = table.labels
    if tuple(logits.labels.tolist()) != labels:
        return {}
    row = {u.utt_id: u for u in table.utterances}
    said = [
        targets.raters(row[u], labels, mentions=False).sum(axis=0)
        for u in logits.utt_id.tolist()
    ]
    votes = np.array(said, float).reshape(-1, len(labels))
    known = np.flatnonzero(votes.sum(axis=1))
    if not len(known):
        return {}
    shares = votes[known] / votes[known].sum(axis=1, keepdims=True)
    p = special.softmax(logits.logits[known].astype(float), axis=1)
    found = distributions.measures(shares, p)
    return {name: (known, measure) for name, measure in found.items()}


def concordances(logits: Logits, table: Table) -> Heard:
    """The concordance of each attribute that is predicted, where it is known."""
    if not logits.attributes.shape[1]:
        return {}
    row = {u.utt_id: u for u in table.utterances}
    true = targets.attributes([row[u] for u in logits.utt_id.tolist()])
    found = {}
    for k, name in enumerate(ATTRIBUTES):
        known = np.flatnonzero(~np.isnan(true[:, k]))
        if len(known):
            said, rated = logits.attributes[known, k], true[known, k]
            found[name] = known, attributes.measure(said, rated)
    return found


def scores(heard: Heard, speakers: np.ndarray | None) -> dict[str, Any]:
    """By score its value, its 95 % interval and the number of utterances.

    Args:
      heard: Of one system.
      speakers: Of all its rows, drawn as a whole; None draws utterances.
    """
    return {
        name: {
            "value": measure.value,
            "interval": _interval(
                measure, None if speakers is None else speakers[rows]
            ),
            "utterances": len(rows),
        }
        for name, (rows, measure) in heard.items()
    }


def _interval(measure: Measure, cluster: np.ndarray | None) -> list[float] | None:
    """None where there are not two to draw."""
    units = measure.rows if cluster is None else set(cluster.tolist())
    if len(units) < 2:
        return None
    return list(paired.interval(measure, cluster=cluster))
