"""Files as telephones and browsers write them, made by PyAV."""

import pathlib

import numpy as np

CODECS = {".m4a": "aac", ".mp4": "aac", ".webm": "libopus"}


def write(path: pathlib.Path, samples: np.ndarray, rate_hz: int, **options: str):
    """Writes samples [n] or [n, channels] in the format that the ending names."""
    import av

    channels = np.ascontiguousarray(np.atleast_2d(samples.T), np.float32)
    layout = "mono" if len(channels) == 1 else "stereo"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(
            CODECS[path.suffix], rate=rate_hz, layout=layout, bit_rate=128_000
        )
        frame = av.AudioFrame.from_ndarray(channels, "fltp", layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def write_film(path: pathlib.Path) -> None:
    """Writes pictures without a sound."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        for packet in [*stream.encode(picture), *stream.encode(None)]:
            container.mux(packet)
