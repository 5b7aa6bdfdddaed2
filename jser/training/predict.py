"""Prediction: checkpoint + split -> `<workdir>/logits/<split>.npz`. docs/logits.md."""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
from typing import Any

from absl import logging
import numpy as np

from jser.config import Experiment
from jser.config_rules import TARGET
from jser.corpora import tables
from jser.data import adaptation, other_table
from jser.data.corpus import Corpus, open_corpus
from jser.data.split import Split
from jser.ensemble import provenance, run_config
from jser.ensemble.logits import Logits, OutdatedError, path_of
from jser.roots import HELDOUT, Roots
from jser.training import compilation, standardization, tuned
from jser.training.checkpoints import Checkpoints
from jser.training.inference import logits_of, make_predict_step
from jser.training.network import make_model
from jser.training.step import Variables
from jser.training.tuned import ENCODER, FROZEN

_Run = tuple[Experiment, dict[str, Any]]  # What `run_config.read` gives.


def predict(
    roots: Roots,
    workdir: pathlib.Path,
    split: str,
    *,
    batch_size: int = 0,
    table: pathlib.Path | None = None,
    merge: Mapping[str, str] | None = None,
    adapt: str | None = None,
) -> Logits:
    """Writes a run's logits on a split and returns them.

    They are of the run's best checkpoint: the best on the dev split, or the last where
    there is none. An utterance's depend on neither batch size nor batch mates. Logits
    that the same checkpoint left are not computed again, unless utterances came or
    went since; those that the run learned from must be the same.

    Args:
      roots: Where tables, features and runs lie.
      workdir: Of the run.
      split: A split of the table, "heldout" for the folds the run did not train on, or
        "all".
      batch_size: Utterances at a time; 0 for as many as in training.
      table: Folder of another table than the run's. Utterances whose emotion is not
        among the run's have the label -1.
      merge: Emotions of that table to count as one of the run's.
      adapt: Whose unlabelled statistics scale the frames: "target", those of the
        utterances predicted; None as the run was trained. See `data.adaptation`.

    Raises:
      FileNotFoundError: if there is no run, or no finished checkpoint.
      ValueError: if table or features are not those the run was trained on, or logits
        or checkpoints that lie there are another run's; if the run cannot adapt so.
    """
    compilation.enable_cache()
    experiment, metadata = run = run_config.read(workdir)
    adapt = adaptation.chosen(experiment, adapt)
    adaptation.warn(experiment, adapt)
    if table:
        asked = _of_other_table(roots, workdir, run, split, table, merge or {})
    else:
        asked = _of_own_table(roots, workdir, run)
    path = path_of(workdir, split, table=asked.about["table"], adapt=adapt)
    corpus, rows = asked.corpus, asked.corpus.split(split)
    with Checkpoints(workdir) as saved:
        step, made_by = best_step(saved), provenance.made_by(workdir)
        kept = _kept(path, workdir)
        about: dict[str, Any] = {**asked.about, "adapt": adapt}
        if kept and kept.made_by.tolist() == [made_by] and _is_of(kept, rows, about):
            provenance.refuse_other_rows(path, kept, corpus.table, rows.utterances)
            return kept
        variables = saved.load_variables(step)
    run_step = _opened(roots, workdir, run, corpus, variables, rows, adapt)
    predicted = logits_of(run_step, variables, rows, corpus, batch_size)
    logits, attributes = np.split(predicted, [len(corpus.table.labels)], axis=1)
    Logits(
        utt_id=np.array([u.utt_id for u in rows.utterances]),
        logits=logits,
        attributes=attributes,
        label=rows.label,
        fold=np.array([-1 if u.fold is None else u.fold for u in rows.utterances]),
        speaker=np.array([u.speaker for u in rows.utterances]),
        in_sample=np.array([u.utt_id in asked.sounds for u in rows.utterances]),
        speaker_seen=np.array([u.speaker in asked.speakers for u in rows.utterances]),
        labels=np.array(corpus.table.labels),
        made_by=np.array([made_by]),
        trained_on=f"{experiment.data.corpus}@{metadata['table']}",
        **about,
    ).save(path)
    return Logits.load(path)


def _opened(
    roots: Roots,
    workdir: pathlib.Path,
    run: _Run,
    corpus: Corpus,
    variables: Variables,
    rows: Split,
    adapt: str,
) -> Callable:
    """The prediction step of a run; `variables` get what no checkpoint holds."""
    experiment, metadata = run
    encoder = tuned.open(experiment, roots.weights, begins=False)
    if encoder:
        tuned.refuse_other(workdir, metadata["encoder"], encoder)
        encoder = dataclasses.replace(encoder, learned=variables["params"][ENCODER])
        variables[FROZEN] = encoder.frozen
    program = encoder.program if encoder else None
    model = make_model(experiment, len(corpus.table.labels), program)
    if adapt == TARGET:
        standard = standardization.statistics(corpus, rows, model, encoder)
        variables["standard"] = standard
    return make_predict_step(model)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a run is asked about, and what of that it was trained on."""

    corpus: Corpus
    sounds: set[str]  # By utt_id.
    speakers: set[str]
    about: dict[str, Any]  # Fields of the logits: of the table, where it is another.


def _of_own_table(roots: Roots, workdir: pathlib.Path, run: _Run) -> _Asked:
    experiment, metadata = run
    corpus = open_corpus(roots, experiment.data)
    _refuse_others(workdir, metadata, corpus)
    provenance.refuse_other_table(workdir, corpus.table, roots)
    trained_on = corpus.train(soft=experiment.loss.soft_labels).utterances
    return _Asked(
        corpus,
        {u.utt_id for u in trained_on},
        {u.speaker for u in trained_on if u.speaker},
        {"table": "", "fingerprint": "", "merged": np.array([], str)},
    )


def _of_other_table(
    roots: Roots,
    workdir: pathlib.Path,
    run: _Run,
    split: str,
    folder: pathlib.Path,
    merge: Mapping[str, str],
) -> _Asked:
    if split == HELDOUT:
        raise ValueError(
            f"--split {split}: those are folds of the run's own table. Of {folder} give"
            " a split, or --split all."
        )
    experiment, metadata = run
    c = experiment.data
    own, other = tables.read(roots.data / c.corpus), other_table.read(roots, c, folder)
    provenance.refuse_other_table(workdir, own, roots)
    seen = other_table.under(other, metadata["labels"], merge)
    # Folds held out are those of the run's own table.
    elsewhere = dataclasses.replace(c, holdout=())
    corpus = open_corpus(roots, elsewhere, table=seen)
    _refuse_other_front_ends(workdir, metadata, corpus)
    train = own.select(c.train_split)
    trained_on = [u for u in train if u.fold not in c.holdout]
    return _Asked(
        corpus,
        other_table.same_sounds(trained_on, other),
        other_table.same_speakers(own, trained_on, other),
        {
            "table": other.folder.resolve().name,
            "fingerprint": other.fingerprint,
            "merged": np.array([f"{a}={b}" for a, b in sorted(merge.items())], str),
        },
    )


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


def _is_of(logits: Logits, rows: Split, about: Mapping[str, Any]) -> bool:
    return set(logits.utt_id.tolist()) == {u.utt_id for u in rows.utterances} and all(
        np.array_equal(getattr(logits, field), now) for field, now in about.items()
    )


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


def _refuse_other_front_ends(
    workdir: pathlib.Path, metadata: dict[str, Any], corpus: Corpus
) -> None:
    for stream, features in corpus.streams.items():
        then, now = metadata["front_ends"][stream], features.spec
        differ = [k for k in {**then, **now} if then.get(k) != now.get(k)]
        if differ:
            was, is_ = (
                ", ".join(f"{k}={spec.get(k)!r}" for k in differ)
                for spec in (then, now)
            )
            raise ValueError(
                f"{features.folder}: made with {is_}, and {workdir} reads {was}. Remove"
                f" {features.folder.parent} and run jser extract as for the run's own"
                " table."
            )
