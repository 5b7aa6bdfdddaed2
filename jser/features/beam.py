"""Shards encoded on a cluster, by Apache Beam (extra `beam`)."""

from collections.abc import Iterator, Sequence
import shlex

import apache_beam as beam  # pyright: ignore[reportMissingImports]
from apache_beam.options import pipeline_options  # pyright: ignore

from jser.features.frontends import FrontEnd
from jser.features.shards import Shard


def encode(shards: Sequence[Shard], front_end: FrontEnd, options: str) -> None:
    """Encodes the shards whose part is not there yet, and waits for the end.

    Args:
      shards: Their paths must mean the same file on every worker. A part that is
        written twice, as Beam may do, is the same part.
      front_end: Loaded once in each worker.
      options: Those of Beam, as on a command line; "" runs it on this machine.
    """
    todo = [shard for shard in shards if not shard.path.exists()]
    if not todo:
        return
    flags = pipeline_options.PipelineOptions(shlex.split(options))
    with beam.Pipeline(options=flags) as pipeline:
        _ = (
            pipeline
            | beam.Create(todo)
            | beam.Reshuffle()
            | beam.ParDo(_Encode(front_end))
        )


class _Encode(beam.DoFn):
    """One shard after the other, by an encoder that stays loaded."""

    def __init__(self, front_end: FrontEnd):
        self._front_end = front_end

    def setup(self):
        self._encoder = self._front_end.load()

    def process(self, shard: Shard) -> Iterator[int]:
        if not shard.path.exists():
            yield shard.run(self._encoder)
