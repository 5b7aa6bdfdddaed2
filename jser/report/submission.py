"""The challenge's CSV, from logits or predictions. No JAX here. docs/submission.md."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import pathlib

from jser import emotions, files
from jser.corpora import csv_rows
from jser.ensemble import provenance

COLUMNS = ("FileName", "EmoClass")
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
    rows = sorted((f"{name}.wav", _LETTER[e]) for name, e in predicted.items())
    if sample:
        _refuse_others([name for name, _ in rows], sample)
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([COLUMNS, *rows])
    files.write_atomically(out, lines.getvalue())
    return len(rows)


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


def _refuse_others(names: Sequence[str], sample: pathlib.Path) -> None:
    wanted = [r["FileName"] for r in csv_rows.read_csv(sample, required=COLUMNS)]
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
