"""Checkpoint + split -> logits, in `<workdir>/logits/<split>.npz`. docs/logits.md."""

import pathlib
from typing import Any

import numpy as np

from jser import files
from jser.data.corpus import Corpus, open_corpus
from jser.ensemble.logits import Logits
from jser.roots import Roots
from jser.training import checkpoints, compilation, run_config, train
from jser.training.step import make_model, make_predict_step


def predict(
    roots: Roots, workdir: pathlib.Path, split: str, *, batch_size: int = 0
) -> Logits:
    """Writes a run's logits on a split and returns them.

    The run's best checkpoint speaks: the best on the dev split, or the last where there
    is none. What it says of an utterance depends on neither batch size nor batch mates.
    Logits that the same checkpoint left are not computed again.

    Args:
      roots: Where tables, features and runs lie.
      workdir: Of the run.
      split: A split of the table, or "heldout": the folds the run did not train on.
      batch_size: Utterances at a time; 0 for as many as in training.

    Raises:
      FileNotFoundError: if there is no run, or no finished checkpoint.
      ValueError: if table or features are not those the run was trained on.
    """
    compilation.enable_cache()
    experiment, made_of = run_config.read(workdir)
    corpus = open_corpus(roots, experiment.data)
    _refuse_others(workdir, made_of, corpus)
    with checkpoints.Checkpoints(workdir) as saved:
        step = best_step(saved)
        made_by = f"{files.digest(repr(made_of))}@{step}"
        path = workdir / "logits" / f"{split}.npz"
        if path.exists() and Logits.load(path).made_by.tolist() == [made_by]:
            return Logits.load(path)
        variables = saved.load_variables(step)
    rows = corpus.split(split)
    model = make_model(experiment, len(corpus.table.labels))
    trained_on = {u.utt_id for u in corpus.train().utterances}
    heard = {u.speaker for u in corpus.train().utterances if u.speaker}
    found = Logits(
        utt_id=np.array([u.utt_id for u in rows.utterances]),
        logits=train.logits_of(
            make_predict_step(model), variables, rows, corpus, batch_size
        ),
        label=rows.label,
        fold=np.array([-1 if u.fold is None else u.fold for u in rows.utterances]),
        speaker=np.array([u.speaker for u in rows.utterances]),
        in_sample=np.array([u.utt_id in trained_on for u in rows.utterances]),
        speaker_seen=np.array([u.speaker in heard for u in rows.utterances]),
        labels=np.array(corpus.table.labels),
        made_by=np.array([made_by]),
    )
    found.save(path)
    return Logits.load(path)


def best_step(saved: checkpoints.Checkpoints) -> int:
    """The step of the checkpoint that speaks for a run.

    Raises:
      FileNotFoundError: if there is none.
    """
    step = saved.best_step()
    if step is None:
        raise FileNotFoundError(
            f"{saved.folder}: no checkpoint; run scripts/train.py to its end."
        )
    return step


def _refuse_others(
    workdir: pathlib.Path, made_of: dict[str, Any], corpus: Corpus
) -> None:
    for what, then, now in (
        ("label set", made_of["labels"], list(corpus.table.labels)),
        ("front ends", made_of["front_ends"], corpus.specs),
        ("table", made_of["table"], corpus.table.fingerprint),
    ):
        if then != now:
            raise ValueError(
                f"{workdir}: trained with {what} {then}, but {corpus.table.folder} has"
                f" {now}. Train again, with another --workdir."
            )
