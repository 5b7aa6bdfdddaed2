"""Provenance of logits: they must be of the run, system and table they stand for.

`made_by` names runs as `<digest of config.json>@<step of the best checkpoint>`. No JAX.
"""

from collections.abc import Iterable, Sequence
import pathlib

from jser.config import Experiment
from jser.config_rules import NONE, TARGET
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.data import other_table
from jser.data.corpus import rows_of
from jser.ensemble import checkpoint_metrics, run_config
from jser.ensemble.logits import Logits, path_of
from jser.features import store
from jser.roots import Roots

_AGAIN = "Remove it and run jser predict again."


def of_run(
    workdir: pathlib.Path,
    experiment: Experiment,
    split: str,
    table: Table,
    roots: Roots,
    adapt: str = NONE,
) -> Logits:
    """A run's logits on a split of its own table, or on the folds it held out.

    Args:
      workdir: Of the run.
      experiment: That it is of.
      split: Of the table.
      table: The run's own.
      roots: Where features lie.
      adapt: "target" for those by the target's statistics.

    Raises:
      FileNotFoundError: if there is no run, or it has not predicted the split yet.
      ValueError: if run, table or logits are not those of each other, naming the file.
    """
    run_config.refuse_other_config(workdir, experiment)
    refuse_other_table(workdir, table, roots)
    path = path_of(workdir, split, adapt=adapt)
    logits = load(path)
    _refuse_other_kind(path, logits, experiment, adapt)
    rows = rows_of(table, experiment.data, split)
    if len(rows) != len(logits):
        failed = failures(experiment, roots)
        rows = [u for u in rows if u.utt_id not in failed]
    refuse_other_rows(path, logits, table, rows)
    _refuse_other_training(path, logits, rows, experiment)
    return logits


def of_other_table(
    workdir: pathlib.Path, split: str, table: Table, roots: Roots, adapt: str = NONE
) -> Logits:
    """A run's logits on a split of another table than its own, or on all of that.

    Its own is the caller's to compare (`refuse_other_table`).

    Args:
      workdir: Of the run.
      split: Of the table.
      table: The other one, as it was read.
      roots: Where features lie.
      adapt: "target" for those by the target's statistics.

    Raises:
      FileNotFoundError: if there is no run, or it has not predicted the split yet.
      ValueError: if run, table or logits are not those of each other, naming the file.
    """
    experiment, metadata = run_config.read(workdir)
    name = table.folder.resolve().name
    path = path_of(workdir, split, table=name, adapt=adapt)
    logits = load(path)
    _refuse_other_kind(path, logits, experiment, adapt, table=name)
    if logits.fingerprint != table.fingerprint:
        raise ValueError(
            f"{path}: of table {logits.fingerprint}, but {table.folder} is"
            f" {table.fingerprint}. Run jser predict again."
        )
    merge = dict(m.split("=") for m in logits.merged.tolist())
    seen = other_table.under(table, metadata["labels"], merge)
    rows = rows_of(seen, experiment.data, split)
    if len(rows) != len(logits):
        failed = failures(experiment, roots, name)
        rows = [u for u in rows if u.utt_id not in failed]
    refuse_other_rows(path, logits, seen, rows)
    return logits


def _refuse_other_kind(
    path: pathlib.Path, logits: Logits, c: Experiment, adapt: str, table: str = ""
) -> None:
    """Raises ValueError if logits are of another table, or by other statistics."""
    want = TARGET if adapt == TARGET else c.data.adapt
    for what, then, now in (
        ("the table", logits.table, table),
        ("--adapt", logits.adapt, want),
    ):
        if then != now:
            raise ValueError(
                f"{path}: made with {what} {then!r}, but lies where those with {now!r}"
                f" do. {_AGAIN}"
            )


def refuse_other_table(workdir: pathlib.Path, table: Table, roots: Roots) -> None:
    """Raises ValueError if a run was trained on another table.

    Rows may have come, gone or changed that the run was neither trained on nor chosen
    by, unless its network reads padding, which depends on the longest of all rows.

    Raises:
      FileNotFoundError: if there is no run.
    """
    experiment, metadata = run_config.read(workdir)
    if metadata["table"] == table.fingerprint:
        return
    then = metadata.get("learned_from")  # Earlier versions did not keep it.
    if then and experiment.model.mask_padding:
        failed = failures(experiment, roots)
        now = run_config.learned_from(table, experiment, metadata["front_ends"], failed)
        if now == then and metadata["labels"] == list(table.labels):
            return
    raise ValueError(
        f"{workdir}: trained with table {metadata['table']}, but {table.folder} is"
        f" {table.fingerprint}. Train again, with another --workdir."
    )


def load(path: pathlib.Path) -> Logits:
    """Logits that are of the run, or the system, in whose folder they lie.

    Raises:
      FileNotFoundError: if they are not there.
      ValueError: if they are not, or as `Logits.load`.
    """
    logits = Logits.load(path)
    folder = path.parent.parent if logits.table else path.parent
    workdir, system = folder.parent, logits.system.partition("@")[0]
    if folder.name == "logits" and (workdir / "config.json").exists():
        refuse_other_run(path, logits, workdir)
        if not are_of(logits.made_by, [workdir]):
            raise ValueError(
                f"{path}: of another checkpoint ({', '.join(logits.made_by)}) than the"
                f" best of its run today ({made_by(workdir)}). Run jser predict again."
            )
    elif system and folder.parent.name == "logits" and folder.name != system:
        raise ValueError(
            f"{path}: of the system {system!r}, not {folder.name!r}. Run jser"
            " stack again."
        )
    return logits


def made_by(workdir: pathlib.Path) -> str:
    """What names a run and its best checkpoint; nothing after the @ if it has none."""
    best = checkpoint_metrics.best(workdir)
    return f"{run_config.digest(workdir)}@{best['step'] if best else ''}"


def are_of(made: Iterable[str], workdirs: Iterable[pathlib.Path]) -> bool:
    """Whether logits were made by exactly these runs.

    Of a run whose checkpoints were removed, any step will do.
    """
    now = {made_by(w) for w in workdirs}
    then = {m if m in now else f"{m.partition('@')[0]}@" for m in made}
    return then == now


def refuse_other_run(path: pathlib.Path, logits: Logits, workdir: pathlib.Path) -> None:
    """Raises ValueError if logits in a run's folder are of another run, or a system."""
    runs = {m.partition("@")[0] for m in logits.made_by.tolist()}
    here = run_config.digest(workdir)
    if logits.system or runs != {here}:
        raise ValueError(
            f"{path}: of {logits.system or 'the run'} {', '.join(sorted(runs))}, and"
            f" the config.json that lies there is {here}: the logits are another run's,"
            f" or config.json was edited. {_AGAIN}"
        )


def refuse_other_rows(
    path: pathlib.Path, logits: Logits, table: Table, rows: Sequence[Utterance]
) -> None:
    """Raises ValueError unless logits are of these utterances as the table has them."""
    if logits.labels.tolist() != list(table.labels):
        raise ValueError(
            f"{path}: the labels are {', '.join(logits.labels)}, and {table.folder} has"
            f" {', '.join(table.labels)}. {_AGAIN}"
        )
    by_id, ids = {u.utt_id: u for u in rows}, logits.utt_id.tolist()
    if odd := sorted(set(ids) ^ by_id.keys()):
        raise ValueError(
            f"{path}: not the utterances that {table.folder} has in this split, or that"
            f" could be encoded: {len(odd)} are in one alone, e.g. {odd[0]!r}. {_AGAIN}"
        )
    if len(ids) != len(rows):
        raise ValueError(f"{path}: utterances are in it twice. {_AGAIN}")
    index = {name: i for i, name in enumerate(table.labels)}
    ordered = [by_id[i] for i in ids]
    now = {
        "label": [index.get(u.emotion, -1) for u in ordered],
        "fold": [-1 if u.fold is None else u.fold for u in ordered],
        "speaker": [u.speaker for u in ordered],
    }
    for column, values in now.items():
        _refuse_other_values(path, logits, column, values)


def _refuse_other_training(
    path: pathlib.Path, logits: Logits, rows: Sequence[Utterance], c: Experiment
) -> None:
    by_id = {u.utt_id: u for u in rows}
    trained_on = [
        by_id[i].split == c.data.train_split and by_id[i].fold not in c.data.holdout
        for i in logits.utt_id.tolist()
    ]
    _refuse_other_values(path, logits, "in_sample", trained_on)


def _refuse_other_values(
    path: pathlib.Path, logits: Logits, column: str, now: Sequence
) -> None:
    then = getattr(logits, column).tolist()
    for utt_id, was, is_ in zip(logits.utt_id.tolist(), then, now, strict=True):
        if was != is_:
            raise ValueError(
                f"{path}: {column} of {utt_id!r} is {was!r}, and by table and config"
                f" {is_!r}. {_AGAIN}"
            )


def failures(experiment: Experiment, roots: Roots, corpus: str = "") -> set[str]:
    """The utterances that one of its front ends could not encode.

    Args:
      experiment: Names the front ends.
      roots: Where features lie.
      corpus: The name of another table than the experiment's.
    """
    folders = [
        store.dataset_folder(roots.features, corpus or experiment.data.corpus, f)
        for f in experiment.data.streams.values()
    ]
    return {u for f in folders for u in store.read_manifest(f)["failures"]}
