"""Checkpoint + split -> logits, in `<workdir>/logits/<split>.npz`. docs/logits.md."""

import pathlib
from typing import Any

import jax
import numpy as np

from jser import checkpoints, compilation, files, train, train_step
from jser import config as cfg
from jser import logits as logits_files
from jser.data import batches
from jser.data import corpus as corpora
from jser.data.corpus import Corpus
from jser.logits import Logits
from jser.roots import Roots


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
    experiment, record = train.read_record(workdir)
    corpus = corpora.open_corpus(roots, experiment.data)
    _refuse_others(workdir, record, corpus)
    with checkpoints.Checkpoints(workdir) as saved:
        step = saved.best_step()
        if step is None:
            raise FileNotFoundError(
                f"{saved.folder}: no checkpoint; run scripts/train.py to its end."
            )
        made_by = f"{files.digest(repr(record))}@{step}"
        path = workdir / "logits" / f"{split}.npz"
        if path.exists() and logits_files.load(path).made_by.tolist() == [made_by]:
            return logits_files.load(path)
        variables = _load(saved, step, experiment, corpus)
    rows = corpus.split(split)
    model = train_step.make_model(experiment, len(corpus.table.labels))
    trained_on = {u.utt_id for u in corpus.train().utterances}
    found = Logits(
        utt_id=np.array([u.utt_id for u in rows.utterances]),
        logits=train.logits_of(
            train_step.make_predict_step(model), variables, rows, corpus, batch_size
        ),
        label=rows.label,
        fold=np.array([-1 if u.fold is None else u.fold for u in rows.utterances]),
        speaker=np.array([u.speaker for u in rows.utterances]),
        in_sample=np.array([u.utt_id in trained_on for u in rows.utterances]),
        labels=np.array(corpus.table.labels),
        made_by=np.array([made_by]),
    )
    found.save(path)
    return logits_files.load(path)


def _load(
    saved: checkpoints.Checkpoints,
    step: int,
    experiment: cfg.Experiment,
    corpus: Corpus,
) -> train_step.Variables:
    """What a checkpoint's network computes with, laid out as a fresh state's."""
    split = corpus.train()
    source = batches.TrainBatches(
        split, corpus.levels, experiment.data, seed=experiment.seed, epochs=1
    )
    model = train_step.make_model(experiment, len(corpus.table.labels))
    tx = train_step.make_optimizer(experiment.optim, lambda step: 0.0)
    like = train_step.init_state(model, tx, source[0], jax.random.key(0))
    return saved.load(step, like).variables


def _refuse_others(
    workdir: pathlib.Path, record: dict[str, Any], corpus: Corpus
) -> None:
    for what, then, now in (
        ("label set", record["labels"], list(corpus.table.labels)),
        ("front ends", record["front_ends"], corpus.specs),
        ("table", record["table"], corpus.table.fingerprint),
    ):
        if then != now:
            raise ValueError(
                f"{workdir}: trained with {what} {then}, but {corpus.table.folder} has"
                f" {now}. Train again, with another --workdir."
            )
