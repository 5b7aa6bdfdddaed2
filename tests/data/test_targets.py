import dataclasses

import numpy as np
import pytest

from jser.config import Loss, Tasks
from jser.corpora import tables
from jser.corpora.utterances import Utterance
from jser.data import batches, targets
from jser.data.corpus import open_corpus
from jser.roots import ALL
from tests.helpers import rated_corpus, tiny_corpus

LABELS = ("angry", "sad", "neutral")


def utterance(**columns) -> Utterance:
    return Utterance(utt_id="u", file="u.wav", **columns)


def said(mentions: bool = False, **columns) -> list:
    return targets.raters(utterance(**columns), LABELS, mentions=mentions).tolist()


def test_both_definitions_of_what_a_rater_counts():
    ratings = "angry+sad angry +sad neutral+angry+sad"
    assert said(ratings=ratings) == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    want = [[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert said(True, ratings=ratings) == want


def test_sums_of_votes_are_a_rater_each():
    assert said(votes="angry:2 neutral:1") == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(
        said(votes="sad:0.5 neutral:2.5"), [[0, 0.5, 0], [0, 0, 2.5]]
    )
    assert said() == []


def test_ratings_come_before_sums():
    assert said(ratings="sad", votes="angry:3") == [[0, 1, 0]]


@pytest.fixture(scope="module")
def rated(corpus, tmp_path_factory):
    """The small corpus as raters have it, some utterances without a majority."""
    return rated_corpus.prepared(corpus, "small", tmp_path_factory.mktemp("rated"))


@pytest.fixture
def experiment():
    c = tiny_corpus.experiment()
    c.data.corpus, c.loss.soft_labels = "rated", True
    return c


def test_no_majority_is_trained_on_and_never_scored(rated, experiment):
    opened = open_corpus(rated, experiment.data)
    unsure = {u.utt_id for u in opened.table.utterances if tables.without_majority(u)}
    assert len(unsure) > 2
    ids = lambda split: {u.utt_id for u in split.utterances}
    assert ids(opened.train(soft=True)) == ids(opened.train()) | unsure
    assert not unsure & (ids(opened.train()) | ids(opened.split(ALL)))
    with pytest.raises(ValueError, match="no split 'nowhere'"):
        opened.split("nowhere")


def test_targets_are_shares(rated, experiment):
    split = open_corpus(rated, experiment.data).train(soft=True)
    found = targets.of(split, LABELS, experiment)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    for u, row in zip(split.utterances, found, strict=True):
        first = [token.partition("+")[0] for token in u.ratings.split()]
        want = [first.count(name) / len(first) for name in LABELS]
        np.testing.assert_allclose(row, want, rtol=1e-6)


def test_columns_of_tasks_lie_side_by_side(rated, experiment):
    experiment.tasks = Tasks(attributes=0.4, secondary=0.1, gender=0.1)
    split = open_corpus(rated, experiment.data).train(soft=True)
    unknown = dataclasses.replace(
        split.utterances[0], arousal=None, gender="", ratings=""
    )
    split = dataclasses.replace(split, utterances=[unknown, *split.utterances[1:]])
    found = targets.of(split, LABELS, experiment)
    assert found.shape == (len(split), 3 + 3 + 3 + 1)
    at = targets.columns(experiment.tasks, 3)
    assert at == {
        "emotion": slice(0, 3),
        "attributes": slice(3, 6),
        "secondary": slice(6, 9),
        "gender": slice(9, 10),
    }
    assert np.isnan(found[0, [3, 6, 7, 8, 9]]).all()
    assert np.isfinite(found[0, [0, 1, 2, 4, 5]]).all()
    assert set(found[1:, 9].tolist()) == {0.0, 1.0}
    second = [t.split("+")[1:] for t in split.utterances[1].ratings.split()]
    want = [sum(name in names for names in second) / len(second) for name in LABELS]
    np.testing.assert_allclose(found[1, 6:9], want, rtol=1e-6)


def test_a_task_of_which_nothing_is_known_is_refused(corpus):
    c = tiny_corpus.experiment()
    c.tasks.attributes = 1.0
    split = open_corpus(corpus, c.data).train()
    with pytest.raises(ValueError, match=r"tasks\.attributes: not known of any"):
        targets.of(split, LABELS, c)


def test_without_two_raters_none_can_be_left_out(corpus):
    c = tiny_corpus.experiment()
    c.augment.annotators, c.loss.soft_labels = 0.2, True
    split = open_corpus(corpus, c.data).train()
    with pytest.raises(ValueError, match=r"augment\.annotators: no utterance"):
        targets.AnnotatorDropout.of(split, LABELS, c)


def test_some_raters_are_left_out_anew_each_step(rated, experiment):
    experiment.augment.annotators = 0.4
    split = open_corpus(rated, experiment.data).train(soft=True)
    whole = targets.emotions(split, LABELS, Loss(soft_labels=True))
    dropout = targets.AnnotatorDropout.of(split, LABELS, experiment)
    rows, places = np.arange(20), np.arange(20)
    drawn = np.stack([dropout(i, rows, places, whole[rows]) for i in range(400)])
    np.testing.assert_allclose(drawn.sum(axis=2), 1, rtol=1e-6)
    split_votes = whole[:20].max(axis=1) < 1
    assert drawn.std(axis=0)[split_votes].max(axis=1).min() > 0
    np.testing.assert_allclose(drawn.mean(axis=0), whole[:20], atol=0.06)
    # Of 5 raters 3 stay on average: shares of fifths alone would be everyone's.
    counts = {round(float(x), 4) for x in drawn.reshape(-1)}
    assert counts > {0.3333, 0.6667, 0.25, 0.75}


def test_who_is_left_out_depends_on_step_and_place_alone(rated, experiment):
    experiment.augment.annotators = 0.4
    split = open_corpus(rated, experiment.data).train(soft=True)
    whole = targets.emotions(split, LABELS, experiment.loss)
    dropout = targets.AnnotatorDropout.of(split, LABELS, experiment)
    rows = np.arange(12)
    every = dropout(3, rows, rows, whole[rows])
    some = dropout(3, rows, np.array([2, 7]), whole[[2, 7]])
    np.testing.assert_array_equal(some, every[[2, 7]])


MSP_TRAIN = (6731, 6306, 16717, 2948, 1120, 1432, 2495, 29243)  # Neutral last.


def test_undersampling_keeps_the_rare_and_draws_the_rest(rng):
    label = np.repeat(np.arange(8), MSP_TRAIN)
    unsure = np.zeros(len(label) + 9000, bool)
    unsure[len(label) :] = True
    label = np.concatenate([label, rng.integers(0, 8, 9000)])
    draw = lambda seed: batches.epoch_order(
        *(label, label == 7),
        sampler="undersampled",
        rng=np.random.default_rng(seed),
        unsure=unsure,
    )[0]
    one, other = draw(0), draw(1)
    count = np.bincount(label[one][~unsure[one]])
    assert count.tolist() == [6306, 6306, 6306, 2948, 1120, 1432, 2495, 6306]
    assert len(one) == len(other) == count.sum() + count.sum() // 8
    assert len(set(one.tolist())) == len(one)
    rare = (label == 4) & ~unsure
    assert set(np.flatnonzero(rare)) <= set(one.tolist())
    assert set(one.tolist()) != set(other.tolist())
    assert np.ptp(np.flatnonzero(label[one] == 4)) > len(one) // 2  # In random order.


def test_an_undersampled_epoch_is_as_long_as_all(rated, experiment):
    experiment.data.sampler = "undersampled"
    opened = open_corpus(rated, experiment.data)
    split = opened.train(soft=True)
    source = batches.TrainBatches(
        *(split, targets.of(split, LABELS, experiment), opened.buckets),
        *(experiment.data, experiment.augment),
        seed=1,
        epochs=3,
    )
    drawn = [
        sum(
            len(source.rows(e * source.steps_per_epoch + k))
            for k in range(source.steps_per_epoch)
        )
        for e in range(3)
    ]
    assert len(set(drawn)) == 1
    assert len(source) == 3 * source.steps_per_epoch


def test_without_it_the_table_prepared_is_of_everyone(corpus):
    table = tables.read(corpus.data / "small")
    assert not any(tables.without_majority(u) or u.ratings for u in table.utterances)
    header = (table.folder / "table.csv").read_text().partition("\n")[0]
    assert "ratings" not in header.split(",")


def undecided(roots, home, split: str):
    """Roots of a table in which no utterance of a split has an emotion."""
    made = dataclasses.replace(roots, data=home / "data")
    table = tables.read(roots.data / "rated")
    rows = [
        dataclasses.replace(u, emotion="" if u.split == split else u.emotion)
        for u in table.utterances
    ]
    tables.write(
        dataclasses.replace(table, utterances=tuple(rows), audio_root="/"),
        made.data / "rated",
    )
    return made


def test_a_split_without_an_emotion_is_refused_by_name(rated, experiment, tmp_path):
    opened = open_corpus(undecided(rated, tmp_path, "dev"), experiment.data)
    with pytest.raises(ValueError, match=r"no utterance of 'dev' has an emotion"):
        opened.split("dev")


def test_undersampling_goes_by_emotions(rated, experiment, tmp_path):
    opened = open_corpus(undecided(rated, tmp_path, "train"), experiment.data)
    with pytest.raises(ValueError, match=r"no emotion of any .*soft_labels=true"):
        opened.train()
    split, c = opened.train(soft=True), experiment
    c.data.sampler = "undersampled"
    target = targets.of(split, LABELS, c)
    with pytest.raises(ValueError, match=r"data\.sampler: 'undersampled' goes by emo"):
        batches.TrainBatches(split, target, opened.buckets, c.data, seed=1, epochs=1)


def test_genders_in_other_spellings_are_told(caplog):
    spelled = ["M", "Female", "f", "male", "weiblich", ""]
    found = targets.genders([utterance(gender=g) for g in spelled])
    np.testing.assert_array_equal(found[:, 0], [0, 1, 1, 0, np.nan, np.nan])
    assert "tasks.gender: 'weiblich': not learned" in caplog.text


def test_attributes_off_the_scale_are_told(rated, experiment, caplog):
    experiment.tasks.attributes = 1.0
    split = open_corpus(rated, experiment.data).train()
    odd = dataclasses.replace(split.utterances[3], valence=-3.0)
    rows = [*split.utterances[:3], odd, *split.utterances[4:]]
    targets.of(dataclasses.replace(split, utterances=rows), LABELS, experiment)
    assert f"of 1 utterances, e.g. {odd.utt_id!r}, an attribute is not" in caplog.text
