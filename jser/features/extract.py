"""Table x front end -> features, shard by shard; resumes where it was cut."""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import shutil

from absl import logging

from jser import audio
from jser.corpora.tables import Table
from jser.features import frontends, reuse, shards, store, workers, writer
from jser.features.frontends import FrontEnd
from jser.features.shards import Shard
from jser.features.store import FeatureSet


class TooManyFailures(Exception):
    """More utterances could not be encoded than were allowed."""


class PartsMissing(Exception):
    """This run did its share; other shards have yet to be made before the dataset."""


def extract(
    table: Table,
    front_end: FrontEnd | str,
    root: pathlib.Path,
    *,
    workers: int | None = None,
    max_failures: int = 0,
    max_hours: float = audio.MAX_HOURS,
    share: tuple[int, int] = (1, 1),
    beam: str | None = None,
) -> FeatureSet:
    """Encodes every utterance of the table, unless that was done before.

    Done before is also what a dataset of the same front end holds of the same sound or
    transcript, of this corpus or another; it is copied from there, bit for bit. Where
    the table has changed, a new dataset takes the place of the old one, without the
    utterances that the table has no more; the failed are tried again.

    Each finished shard is kept in `<corpus>/<features>/parts-*` until the dataset is
    complete, so that a run that was killed loses no more than the shards in flight.
    Any number of runs may work on one dataset at once, each on its share of the shards
    and on any machine that sees the folder, or whose parts are copied there. The one
    that finds all parts joins them; should two try, the dataset of one stands.

    Args:
      table: The utterances; the corpus is named as the table's folder.
      front_end: From `frontends.open`, or a name of features without weights.
      root: Folder of all features.
      workers: Processes, or threads that read sound; all cores when None.
      max_failures: How many utterances may fail. They are listed in `failures.csv`
        and left out of training, counted. A rerun tries the failed again, unless so
        many may fail.
      max_hours: The longest sound; one that is longer fails.
      share: (i, n) for the i-th, from 1, of n runs that share the shards.
      beam: Options of an Apache Beam pipeline that is to encode, as on its command
        line ("--runner=FlinkRunner ..."); None to encode here.

    Raises:
      TooManyFailures: if more fail; what was encoded is kept for the next run.
      PartsMissing: if this share is done and others are not.
      ValueError: if features are there that were made otherwise, or that are damaged.
    """
    if isinstance(front_end, str):
        front_end = frontends.get(front_end)
    spec = front_end.spec
    if front_end.stored and beam is not None:
        raise ValueError(f"{front_end.name} is read, not encoded: leave beam out.")
    folder = store.dataset_folder(root, table.folder.resolve().name, front_end.name)
    found = _complete(table, folder, spec)
    if found is None:
        try:
            cut = shards.cut(table, spec, folder.parent, max_hours=max_hours)
            mine = cut[share[0] - 1 :: share[1]]
            _forget_failed(mine, max_failures)
            _encode(_plan(mine, front_end, root), front_end, workers, beam)
            _join(cut, share, max_failures, folder)
        except Exception:
            found = _complete(table, folder, spec)
            if found is None:  # Else another run joined and took the parts.
                raise
    _clear(folder)
    return found or FeatureSet(folder)


def parse_share(text: str) -> tuple[int, int]:
    """The share (i, n) that "i/n" names.

    Raises:
      ValueError: unless i and n are numbers and i is from 1 to n.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ValueError(f"--shard={text}: it reads i/n, with i from 1 to n.")
    return int(number), int(of)


def _complete(
    table: Table, folder: pathlib.Path, spec: frontends.Spec
) -> FeatureSet | None:
    """Opens the dataset if it is whole and of this very table; None if not.

    Raises:
      ValueError: if it is of another front end, or not what we wrote.
    """
    if not folder.exists():
        return None
    if not (folder / "manifest.json").exists():  # It appears as a whole.
        raise ValueError(
            f"{folder}: there is no manifest.json in it. Remove {folder} and run"
            " jser extract again."
        )
    features = FeatureSet(folder)
    store.refuse_other_spec(features, spec)
    return features if store.is_of_table(features, table) else None


def _clear(folder: pathlib.Path) -> None:
    """Removes what is not needed where there is a dataset."""
    for pattern in ("parts-*", "incomplete*"):
        for leftover in folder.parent.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)  # Another run may do so too.
    (folder.parent / "failures.csv").unlink(missing_ok=True)


def _plan(
    mine: Sequence[Shard], front_end: FrontEnd, root: pathlib.Path
) -> list[Shard]:
    """The shards, each with how to read what need not be encoded."""
    if (stored := front_end.stored) is None:
        return reuse.plan(mine, root)
    return [
        dataclasses.replace(
            shard,
            stored={u.utt_id: functools.partial(stored, u.utt_id) for u in shard.rows},
        )
        for shard in mine
    ]


def _encode(
    mine: Sequence[Shard], front_end: FrontEnd, count: int | None, options: str | None
) -> None:
    todo = [s for s in mine if not s.path.exists()]
    reused = sum(len(s.stored) for s in todo)
    rest = sum(len(s.rows) for s in todo) - reused
    if options is None:
        workers.encode(mine, front_end, workers=count)
    else:
        from jser.features import beam

        beam.encode(mine, front_end, options)
    if reused and not front_end.stored:
        logging.info(
            "%s: frames of %d utterances reused, %d encoded",
            *(front_end.name, reused, rest),
        )


def _failures(some: Sequence[Shard]) -> dict[str, str]:
    return {u: why for s in some for u, why in s.load().failures.items()}


def _forget_failed(mine: Sequence[Shard], max_failures: int) -> None:
    """Removes the parts that hold failures, if too many: they may go well this time."""
    made = [s for s in mine if s.path.exists()]
    if len(_failures(made)) > max_failures:
        for shard in made:
            if shard.load().failures:
                shard.path.unlink()


def _join(
    cut: Sequence[Shard],
    share: tuple[int, int],
    max_failures: int,
    folder: pathlib.Path,
) -> None:
    """Writes the dataset if all parts are there; else says which are not."""
    i, n = share
    missing = [k % n + 1 for k, s in enumerate(cut) if not s.path.exists()]
    failures = _failures(cut[i - 1 :: n] if missing else cut)
    if len(failures) > max_failures:
        listed = folder.parent / "failures.csv"
        writer.write_failures(listed, failures)
        utt_id, reason = next(iter(failures.items()))
        raise TooManyFailures(
            f"{len(failures)} utterances could not be encoded, e.g. {utt_id}: {reason}."
            f" All are listed in {listed}. Mend the files and prepare the table again,"
            f" or go on without them: --max_failures={len(failures)}."
        )
    if missing:
        others = ", ".join(f"--shard={k}/{n}" for k in sorted(set(missing)))
        raise PartsMissing(
            f"{len(missing)} of {len(cut)} parts are missing in {cut[0].path.parent}."
            f" They are those of {others}; run each with the other flags the same. The"
            " run that finds all parts writes the dataset."
        )
    if len(failures) == sum(len(s.rows) for s in cut):
        raise TooManyFailures(f"not one of {len(failures)} utterances was encoded.")
    former = FeatureSet(folder).utt_id if folder.exists() else ()
    failed = {
        u.utt_id: s.digest(u) for s in cut for u in s.rows if u.utt_id in failures
    }
    writer.write(folder, cut[0].spec, [s.path for s in cut], failed)
    if gone := len({*former} - {u.utt_id for s in cut for u in s.rows}):
        logging.info("%s: %d went that the table has no more", folder, gone)
