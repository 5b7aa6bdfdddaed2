"""Features of one's own: arrays by utt_id that become a stream like any other.

A source is a folder with `<utt_id>.npy`, in subfolders where ids have a "/"; or one
`.npz` that `numpy.savez` wrote, or one `.safetensors`, keyed by utt_id.
"""

from collections.abc import Callable, Mapping
import functools
import pathlib
import re
from typing import NoReturn

from absl import logging
import numpy as np
import safetensors

from jser import archives, audio, files
from jser.corpora.tables import Table
from jser.features import frontends
from jser.features.frontends import FrontEnd, Spec
from jser.features.shards import Stored

KINDS = ("speech", "text")
_REMEDY = "Write it again: arrays [T, D] or [T, L, D] of floating point, by utt_id."
_Read = Callable[[], np.ndarray]


def front_end(
    table: Table, source: pathlib.Path | str, *, name: str, kind: str
) -> FrontEnd:
    """What makes the features `name` of arrays that lie in `source`.

    Each is [T, D], or [T, L, D] of L layers, alike in all but T. One that is missing or
    another is a failure of its utterance, as a broken sound is of other front ends.

    Args:
      table: Whose utterances they are of.
      source: A folder or a file, as above.
      name: Of the features: letters, digits and _, and no front end's.
      kind: What the arrays were made of: "speech" for sound, "text" for transcripts. A
        change of that is told, as it is for other features.

    Raises:
      FileNotFoundError: if there is no such source.
      ValueError: if it is damaged or has no array of the table's, or if name or kind
        are none.
    """
    _refuse_names(name, kind)
    source = pathlib.Path(source).expanduser()
    arrays = _arrays(source)
    ids = {u.utt_id for u in table.utterances}
    if not (mine := [u for u in arrays if u in ids]):
        have = next(iter(arrays), None)
        raise ValueError(
            f"{source}: no array of an utterance of {table.folder}; it has"
            f" {'none at all' if have is None else repr(have)}. Name them by utt_id."
        )
    if others := len(arrays) - len(mine):
        logging.warning("%s: %d arrays of no utterance, not used", source, others)
    with files.reading(source, _REMEDY):
        shape = arrays[mine[0]]().shape
        if len(shape) not in (2, 3) or 0 in shape[1:]:
            raise ValueError(f"the array of {mine[0]!r} has shape {shape}")
    spec = Spec(
        name=frontends.ARRAY,
        kind=kind,
        width=shape[-1],
        layers=1 if len(shape) == 2 else shape[1],
        model=source.name,
        weights=_digest(source),
    )
    read = functools.partial(_read, source, arrays, shape[1:])
    load = functools.partial(frontends.EachAlone, _encode)
    return FrontEnd(spec, load, name, stored=read)


def _refuse_names(name: str, kind: str) -> None:
    taken = {*frontends.FRONT_ENDS, *frontends.PRETRAINED, frontends.ARRAY}
    if not re.fullmatch(r"\w+", name) or name in taken:
        raise ValueError(
            f"name={name!r}: give these features a name of letters, digits and _ that"
            " no front end has."
        )
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(KINDS)}.")


def _encode(x: object) -> NoReturn:
    raise AssertionError("arrays are read, not encoded")


def _read(
    source: pathlib.Path,
    arrays: Mapping[str, _Read],
    shape: tuple[int, ...],
    utt_id: str,
) -> Stored | audio.AudioError:
    if utt_id not in arrays:
        return audio.AudioError(source, "missing", f"no array named {utt_id!r}")
    try:
        with files.reading(source, _REMEDY):
            array = arrays[utt_id]()
            if array.shape[1:] != shape or array.dtype.kind != "f":
                raise ValueError(
                    f"the array of {utt_id!r} is {array.dtype} {array.shape}; others"
                    f" end in {shape}"
                )
    except (ValueError, OSError) as e:
        return audio.AudioError(source, "unreadable", str(e))
    return Stored(array)


def _arrays(source: pathlib.Path) -> dict[str, _Read]:
    """How to read each array, by utt_id."""
    if source.is_dir():
        paths = sorted(source.rglob("*.npy"))
        return {
            path.relative_to(source).with_suffix("").as_posix(): functools.partial(
                archives.read_npy, path
            )
            for path in paths
        }
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder.")
    with files.reading(source, _REMEDY):
        if source.suffix == ".safetensors":
            opened = safetensors.safe_open(source, "numpy")
            keys = opened.keys()
            return {k: functools.partial(opened.get_tensor, k) for k in keys}
        return archives.open_npz(source)


def _digest(source: pathlib.Path) -> str:
    if source.is_file():
        return files.file_digest(source)
    paths = sorted(source.rglob("*.npy"))
    return files.digest(
        *(f"{p.relative_to(source).as_posix()} {files.file_digest(p)}" for p in paths)
    )
