"""Systems against what raters said: distributions and attributes. No JAX here."""

from typing import Any

import numpy as np
from scipy import special

from jser.corpora.tables import Table
from jser.corpora.utterances import ATTRIBUTES
from jser.data import targets
from jser.ensemble.logits import Logits
from jser.statistics import attributes, distributions, paired
from jser.statistics.paired import Measure

# By name the rows that are scored, and by what; names of one system.
Heard = dict[str, tuple[np.ndarray, Measure]]
_RESAMPLES = 2_000  # Utterances cannot be told by cells, as those of confusions.


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
    alike: dict[bytes, list[str]] = {}
    for name, (rows, _) in heard.items():
        alike.setdefault(rows.tobytes(), []).append(name)
    found = {}
    for names in alike.values():
        rows, _ = heard[names[0]]
        measures = {name: heard[name][1] for name in names}
        cluster = None if speakers is None else speakers[rows]
        intervals = _intervals(measures, rows if cluster is None else cluster)
        for name, measure in measures.items():
            about = {"interval": intervals.get(name), "utterances": len(rows)}
            found[name] = {"value": measure.value, **about}
    return {name: found[name] for name in heard}


def _intervals(
    measures: dict[str, Measure], cluster: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Nothing where there are not two to draw."""
    if len(np.unique(cluster)) < 2:
        return {}
    return paired.intervals(measures, cluster=cluster, resamples=_RESAMPLES)
