"""Records read without a copy are what TFDS's own parser makes of them."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from jser.features.records import decode


def record_of(utt_id: str, frames: np.ndarray, *names: str) -> bytes:
    """As TFDS writes one; the order of its features is of no account."""
    example = tf_example_pb2.Example()
    given = {"utt_id": utt_id.encode(), "frames": frames.tobytes()}
    for name in names or given:
        example.features.feature[name].bytes_list.value.append(given[name])
    return example.SerializeToString()


@given(
    utt_id=st.text(min_size=1, max_size=200),
    shape=st.sampled_from([(0, 3), (1, 1), (7, 5), (90, 2, 40)]),
    names=st.permutations(["utt_id", "frames"]),
)
def test_a_record_is_read_as_it_was_written(utt_id, shape, names):
    frames = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
    found, read = decode(record_of(utt_id, frames, *names), shape[1:])
    assert found == utt_id
    np.testing.assert_array_equal(read, frames)
    assert read.dtype == np.float16
    assert not read.flags.owndata


@given(cut=st.integers(0, 200))
def test_one_that_breaks_off_is_refused(cut):
    record = record_of("u1", np.ones((9, 13), np.float16))
    with pytest.raises((ValueError, KeyError)):
        decode(record[: min(cut, len(record) - 1)], (13,))


@given(noise=st.binary(max_size=300))
def test_what_is_none_is_refused(noise):
    with pytest.raises((ValueError, KeyError)):
        decode(noise, (13,))


def test_features_of_other_kinds_are_refused():
    example = tf_example_pb2.Example()
    example.features.feature["frames"].float_list.value.append(1.0)
    example.features.feature["utt_id"].bytes_list.value.append(b"u1")
    with pytest.raises(ValueError, match="values to unpack"):
        decode(example.SerializeToString(), (1,))
