"""The challenge's CSV, from logits or predictions. No JAX here. docs/submission.md."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import pathlib

from jser import emotions, files
from jser.corpora import csv_rows
from jser.corpora.utterances import ATTRIBUTES
from jser.ensemble import provenance

COLUMNS = ("FileName", "EmoClass")
ATTRIBUTE_COLUMNS = ("FileName", "EmoAct", "EmoVal", "EmoDom")  # As `ATTRIBUTES`.
_LETTER = {emotion: letter for letter, emotion in emotions.MSP_PODCAST.items()}
_NAMED = 3  # Names that an error gives of many.


def write(
    predicted: Mapping[str, str],
    out: pathlib.Path,
    *,
    sample: pathlib.Path | None = None,
) -> int:
    """Writes `FileName,EmoClass`, sorted by FileName; returns the number of rows.

    Args:
      predicted: Emotion by utt_id, as `read` gives it.
      out: The CSV to write; not touched if anything is refused.
      sample: The organisers' sample submission. Its rows must name the same files, in
        the same order; its EmoClass is not looked at.

    Raises:
      ValueError: if an emotion has no letter in the challenge, or the files are not the
        sample's, naming those that differ.
    """
    if strange := sorted(set(predicted.values()) - set(_LETTER)):
        raise ValueError(
            f"the challenge has no letter for {', '.join(strange)}; its emotions are"
            f" {', '.join(_LETTER)}."
        )
    cells = {name: (_LETTER[e],) for name, e in predicted.items()}
    return _write(cells, COLUMNS, out, sample)


def write_attributes(
    predicted: Mapping[str, Sequence[float]],
    out: pathlib.Path,
    *,
    sample: pathlib.Path | None = None,
) -> int:
    """Writes `FileName,EmoAct,EmoVal,EmoDom`, as `write` does emotions.

    Args:
      predicted: Arousal, valence and dominance by utt_id, as `read_attributes` gives
        them.
      out: As `write`.
      sample: As `write`; of the organisers' task of attributes.

    Raises:
      ValueError: if the files are not the sample's, naming those that differ.
    """
    cells = {name: [f"{x:.4f}" for x in row] for name, row in predicted.items()}
    return _write(cells, ATTRIBUTE_COLUMNS, out, sample)


def read(path: pathlib.Path) -> dict[str, str]:
    """Emotion by utt_id, from logits (.npz) or predictions (.csv).

    Raises:
      FileNotFoundError: if there is no file.
      ValueError: if it is neither, or names an utterance twice.
    """
    if path.suffix == ".npz":
        logits = provenance.load(path)
        best = logits.labels[logits.logits.argmax(axis=1)]
        pairs = list(zip(logits.utt_id.tolist(), best.tolist(), strict=True))
    elif path.suffix == ".csv":
        rows = csv_rows.read_csv(path, required=("utt_id", "predicted"))
        pairs = [(r["utt_id"], r["predicted"]) for r in rows]
    else:
        raise ValueError(f"{path}: neither logits (.npz) nor predictions (.csv).")
    predicted = dict(pairs)
    if len(predicted) < len(pairs):
        twice = _repeated(name for name, _ in pairs)
        raise ValueError(f"{path}: twice there: {_some(twice)}.")
    return predicted


def read_attributes(path: pathlib.Path) -> dict[str, list[float]]:
    """Arousal, valence and dominance by utt_id, from logits (.npz).

    Raises:
      FileNotFoundError: if there is no file.
      ValueError: if it is none, or of members that predict no attributes.
    """
    if path.suffix != ".npz":
        raise ValueError(
            f"{path}: no logits (.npz), which alone hold attributes:"
            " runs/<name>/logits/<split>.npz of a run,"
            " runs/<ensemble>/logits/<stacker>/<split>.npz of an ensemble."
        )
    logits = provenance.load(path)
    if not logits.attributes.shape[1]:
        raise ValueError(
            f"{path}: its members predict no {', '.join(ATTRIBUTES)}. Train with"
            " --config.tasks.attributes=0.4, and run jser predict again."
        )
    return dict(zip(logits.utt_id.tolist(), logits.attributes.tolist(), strict=True))


def _write(
    cells: Mapping[str, Sequence[str]],
    columns: Sequence[str],
    out: pathlib.Path,
    sample: pathlib.Path | None,
) -> int:
    rows = sorted((f"{name}.wav", *row) for name, row in cells.items())
    if sample:
        _refuse_others([name for name, *_ in rows], columns, sample)
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([columns, *rows])
    files.write_atomically(out, lines.getvalue())
    return len(rows)


def _refuse_others(
    names: Sequence[str], columns: Sequence[str], sample: pathlib.Path
) -> None:
    wanted = [r["FileName"] for r in csv_rows.read_csv(sample, required=columns)]
    missing, extra = set(wanted) - set(names), set(names) - set(wanted)
    if missing or extra or len(wanted) != len(set(wanted)):
        faults = [f"{len(names)} files, and the sample has {len(wanted)} rows"]
        if missing:
            faults.append(f"no prediction for {_some(sorted(missing))}")
        if extra:
            faults.append(f"not in the sample: {_some(sorted(extra))}")
        if twice := _repeated(wanted):
            faults.append(f"the sample has these twice: {_some(twice)}")
        raise ValueError(
            f"{sample}: {'; '.join(faults)}. Predict the split the sample is of, with"
            " jser predict --split."
        )
    for line, (ours, theirs) in enumerate(zip(names, wanted, strict=True), 2):
        if ours != theirs:
            raise ValueError(
                f"{sample}: line {line} is {theirs!r}, and sorted by FileName it would"
                f" be {ours!r}. Is this the organisers' file, unchanged?"
            )


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
