"""Sound in M4A, MP4 and WebM, which libsndfile does not read; by PyAV, if it is there.

PyAV's wheels bring FFmpeg with codecs under the GPL, so jser neither needs nor ships
it: `pip install "jser[av]"`.
"""

from collections.abc import Iterator
import pathlib

import numpy as np

SUFFIXES = frozenset({".m4a", ".mp4", ".webm"})
_LACKING_S = 0.25  # What a whole file's sound may be shorter than stated.


def demuxer(path: pathlib.Path) -> str:
    """FFmpeg's name of the format by the first bytes, "" for one that is not ours."""
    with path.open("rb") as f:
        head = f.read(8)
    if head[4:] == b"ftyp":
        return "mov"
    return "matroska" if head[:4] == b"\x1a\x45\xdf\xa3" else ""


class Stream:
    """The first stream of sound in a file, from one end to the other.

    It is read as the given format and no other, and nothing that it names is opened:
    FFmpeg knows formats that play other files and addresses.
    """

    def __init__(self, path: pathlib.Path, form: str):
        """Opens the file.

        Raises:
          ValueError: without PyAV; if FFmpeg cannot read it or finds no sound in it.
        """
        try:
            import av
        except ImportError as e:
            raise ValueError(
                "M4A, MP4 and WebM are read by PyAV, which is not there:"
                ' pip install "jser[av]", or convert the file to FLAC'
            ) from e
        self._file = path.open("rb")
        closed = {"protocol_whitelist": "none"}
        try:
            self._container = av.open(self._file, "r", format=form, options=closed)
            if not self._container.streams.audio:
                raise ValueError("there is no sound in it")
        except ValueError:
            self._file.close()
            raise
        stream = self._container.streams.audio[0]
        self.samplerate, self.channels = stream.sample_rate, stream.channels
        self._resampler = av.AudioResampler("fltp", stream.layout, stream.sample_rate)
        self._stated_s = None
        if stream.duration and stream.time_base:
            self._stated_s = float(stream.duration * stream.time_base)
        elif self._container.duration and len(self._container.streams) == 1:
            self._stated_s = self._container.duration / av.time_base

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_) -> None:
        self._container.close()
        self._file.close()

    def pieces(self) -> Iterator[np.ndarray]:
        """The samples, [n, channels] float32 at a time.

        Raises:
          ValueError: if less sound is there than the file states.
        """
        end_s = 0.0
        for frame in self._container.decode(audio=0):
            end_s = (frame.time or end_s) + frame.samples / frame.sample_rate
            for even in self._resampler.resample(frame):
                yield np.ascontiguousarray(even.to_ndarray().T, np.float32)
        if self._stated_s and end_s < self._stated_s - _LACKING_S:
            raise ValueError(f"{end_s:.2f} of {self._stated_s:.2f} s are there")
