"""Prediction: checkpoint + split -> `<workdir>/logits/<split>.npz`. docs/logits.md."""

import pathlib
from typing import Any

from absl import logging
import numpy as np

from jser.data.corpus import Corpus, open_corpus
from jser.data.split import Split
from jser.ensemble import provenance, run_config
from jser.ensemble.logits import Logits, OutdatedError
from jser.roots import Roots
from jser.training import compilation
from jser.training.checkpoints import Checkpoints
from jser.training.inference import logits_of, make_predict_step
from jser.training.network import make_model


def predict(
    roots: Roots, workdir: pathlib.Path, split: str, *, batch_size: int = 0
) -> Logits:
    """Writes a run's logits on a split and returns them.

    They are of the run's best checkpoint: the best on the dev split, or the last where
    there is none. An utterance's depend on neither batch size nor batch mates. Logits
    that the same checkpoint left are not computed again, unless utterances came or
    went since; those that the run learned from must be the same.

    Args:
      roots: Where tables, features and runs lie.
      workdir: Of the run.
      split: A split of the table, or "heldout": the folds the run did not train on.
      batch_size: Utterances at a time; 0 for as many as in training.

    Raises:
      FileNotFoundError: if there is no run, or no finished checkpoint.
      ValueError: if table or features are not those the run was trained on, or logits
        or checkpoints that lie there are another run's.
    """
    compilation.enable_cache()
    experiment, metadata = run_config.read(workdir)
    corpus = open_corpus(roots, experiment.data)
    _refuse_others(workdir, metadata, corpus)
    provenance.refuse_other_table(workdir, corpus.table, roots)
    path = workdir / "logits" / f"{split}.npz"
    rows = corpus.split(split)
    with Checkpoints(workdir) as saved:
        step, made_by = best_step(saved), provenance.made_by(workdir)
        kept = _kept(path, workdir)
        if kept and kept.made_by.tolist() == [made_by] and _is_of(kept, rows):
            provenance.refuse_other_rows(path, kept, corpus.table, rows.utterances)
            return kept
        variables = saved.load_variables(step)
    model = make_model(experiment, len(corpus.table.labels))
    trained_on = corpus.train().utterances
    utt_ids = {u.utt_id for u in trained_on}
    speakers = {u.speaker for u in trained_on if u.speaker}
    Logits(
        utt_id=np.array([u.utt_id for u in rows.utterances]),
        logits=logits_of(make_predict_step(model), variables, rows, corpus, batch_size),
        label=rows.label,
        fold=np.array([-1 if u.fold is None else u.fold for u in rows.utterances]),
        speaker=np.array([u.speaker for u in rows.utterances]),
        in_sample=np.array([u.utt_id in utt_ids for u in rows.utterances]),
        speaker_seen=np.array([u.speaker in speakers for u in rows.utterances]),
        labels=np.array(corpus.table.labels),
        made_by=np.array([made_by]),
    ).save(path)
    return Logits.load(path)


def _kept(path: pathlib.Path, workdir: pathlib.Path) -> Logits | None:
    """The logits of the run that lie there, if they have all that is kept today."""
    if not path.exists():
        return None
    try:
        logits = Logits.load(path)
    except OutdatedError as e:
        logging.info("%s", e)
        return None
    provenance.refuse_other_run(path, logits, workdir)
    return logits


def _is_of(logits: Logits, rows: Split) -> bool:
    return set(logits.utt_id.tolist()) == {u.utt_id for u in rows.utterances}


def best_step(saved: Checkpoints) -> int:
    """The step of the checkpoint that a run is judged by.

    Raises:
      FileNotFoundError: if there is none.
    """
    step = saved.best_step()
    if step is None:
        raise FileNotFoundError(
            f"{saved.folder}: no checkpoint; run jser train to its end."
        )
    return step


def _refuse_others(
    workdir: pathlib.Path, metadata: dict[str, Any], corpus: Corpus
) -> None:
    for what, then, now in (
        ("label set", metadata["labels"], list(corpus.table.labels)),
        ("front ends", metadata["front_ends"], corpus.specs),
    ):
        if then != now:
            raise ValueError(
                f"{workdir}: trained with {what} {then}, but {corpus.table.folder} has"
                f" {now}. Train again, with another --workdir."
            )
