import dataclasses
import json

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn_metrics

from jser import files, pipeline, recipes
from jser.config import Ensemble
from jser.corpora import tables
from jser.ensemble import run_config
from jser.ensemble.logits import Logits
from jser.report import comparison, results, subjects
from jser.statistics import bootstrap, calibration
from tests.helpers import simulated_systems, tiny_corpus


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return simulated_systems.inputs(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def scores(inputs):
    return results.score(inputs)


def held_back(inputs, split: str):
    systems = {
        name: x | {split: dataclasses.replace(x[split], label=-1 - 0 * x[split].label)}
        for name, x in inputs.systems.items()
    }
    return dataclasses.replace(inputs, systems=systems)


def test_scores_are_scikit_learns(inputs, scores):
    for system, by_split in inputs.systems.items():
        for split, said in by_split.items():
            found = scores["systems"][system][split]
            label, predicted = said.label, said.logits.argmax(axis=1)
            p, r, f, n = sklearn_metrics.precision_recall_fscore_support(
                label, predicted, zero_division=np.nan
            )
            for name, values in zip(
                ("precision", "recall", "f1", "count"), (p, r, f, n), strict=True
            ):
                np.testing.assert_allclose(list(found[name].values()), values)
                assert list(found[name]) == list(simulated_systems.LABELS)
            assert found["macro_f1"] == pytest.approx(
                sklearn_metrics.f1_score(label, predicted, average="macro")
            )
            assert found["uar"] == pytest.approx(r.mean())
            assert found["accuracy"] == pytest.approx((label == predicted).mean())
            counts = sklearn_metrics.confusion_matrix(label, predicted)
            assert found["confusion"] == counts.tolist()


def test_intervals_are_over_speakers_where_there_are_enough(inputs, scores):
    found = scores["systems"]["forest"]
    assert found["dev"]["interval_by_speaker"] is None
    said = inputs.systems["forest"]["test"]
    predicted = said.logits.argmax(axis=1)
    assert found["test"]["interval"] == bootstrap.interval(said.label, predicted, 3)
    assert found["test"]["interval_by_speaker"] == bootstrap.interval(
        said.label, predicted, 3, cluster=said.speaker
    )
    unknown = dataclasses.replace(said, speaker=np.where(said.label, said.speaker, ""))
    assert comparison.cluster(unknown) is None


def test_balanced_subsets_say_how_many_they_drew(scores):
    found = scores["systems"]["forest"]["test"]["balanced_subsets"]
    assert found["per_class"] == 20
    assert len(found["scores"]) == 100
    assert found["mean"] == pytest.approx(np.mean(found["scores"]))
    assert (found["low"], found["high"]) == (
        min(found["scores"]),
        max(found["scores"]),
    )


def test_the_temperature_is_fitted_on_dev_and_applied_to_test(inputs, scores):
    by_split = inputs.systems["average"]
    dev, test = by_split["dev"], by_split["test"]
    found = scores["systems"]["average"]["test"]["calibration"]
    temperature = calibration.fit_temperature(dev.logits, dev.label)
    assert found["scaled"]["fitted_on"] == "dev"
    assert found["scaled"]["temperature"] == pytest.approx(temperature)
    p = np.exp(special.log_softmax(test.logits / temperature, axis=1))
    assert found["scaled"]["ece"] == pytest.approx(
        calibration.ece(p, test.label, 15), abs=1e-6
    )
    assert sum(b["count"] for b in found["bins"]) == 60
    # Dev would be scaled by itself, or by the split it is kept apart from.
    assert scores["systems"]["average"]["dev"]["calibration"]["scaled"] is None


def test_groups_are_those_of_the_table(inputs, scores):
    said = inputs.systems["forest"]["test"]
    right = said.logits.argmax(axis=1) == said.label
    found = scores["systems"]["forest"]["test"]["groups"]
    male = np.array([s.endswith("s0") for s in said.speaker])
    assert found["gender"]["male"]["n"] == male.sum()
    assert found["gender"]["male"]["accuracy"] == pytest.approx(right[male].mean())
    low, high = found["gender"]["female"]["interval"]["accuracy"]
    assert low < right[~male].mean() < high
    assert sum(g["n"] for g in found["length"].values()) == 60
    by_speaker = [right[said.speaker == s].mean() for s in set(said.speaker)]
    assert found["speaker"]["counted"] == 6
    assert found["speaker"]["lowest"] == pytest.approx(min(by_speaker))
    assert found["speaker"]["median"] == pytest.approx(np.median(by_speaker))


def test_what_the_table_does_not_know_is_no_group(inputs):
    rows = tuple(
        dataclasses.replace(u, gender="", seconds=None) for u in inputs.table.utterances
    )
    blank = dataclasses.replace(
        inputs, table=dataclasses.replace(inputs.table, utterances=rows)
    )
    found = results.score(blank)["systems"]["forest"]["test"]["groups"]
    assert set(found) == {"speaker"}


def test_the_system_meant_is_compared_with_its_best_member(inputs, scores):
    best = max(inputs.members, key=lambda m: scores["systems"][m]["test"]["macro_f1"])
    of_test = [c for c in scores["comparisons"] if c["split"] == "test"]
    assert [c["rival"] for c in of_test] == [best, "average"]
    a, b = inputs.systems[best]["test"], inputs.systems["forest"]["test"]
    direct = bootstrap.compare(
        a.label,
        a.logits.argmax(axis=1),
        b.logits.argmax(axis=1),
        3,
        cluster=a.speaker,
    )
    found = of_test[0]["scores"]["macro_f1"]
    assert found["difference"] == pytest.approx(direct["macro_f1"].difference)
    assert found["difference"] == pytest.approx(found["b"] - found["a"])
    assert found["p_bootstrap"] == direct["macro_f1"].p_bootstrap
    assert of_test[0]["drawn"] == "speakers"


def test_correlation_is_of_being_right(inputs, scores):
    right = np.array(
        [
            inputs.systems[m]["test"].logits.argmax(axis=1)
            == inputs.systems[m]["test"].label
            for m in inputs.members
        ]
    )
    np.testing.assert_allclose(scores["correlation"]["test"], np.corrcoef(right))
    said = inputs.systems["one_seed0"]["test"]
    perfect = dataclasses.replace(said, logits=np.eye(3, dtype=np.float32)[said.label])
    systems = inputs.systems | {"one_seed0": {"test": perfect}}
    systems = {m: {"test": x["test"]} for m, x in systems.items()}
    found = results.score(dataclasses.replace(inputs, systems=systems))
    assert found["correlation"]["test"][0] == [None, None]


def test_mean_and_deviation_over_seeds(scores):
    values = [scores["systems"][s]["test"]["uar"] for s in ("one_seed0", "one_seed1")]
    found = scores["seeds"]["one"]["splits"]["test"]["uar"]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))


def test_a_split_without_labels_is_named_not_scored(inputs, tmp_path):
    found = results.write(held_back(inputs, "test"), tmp_path)
    assert set(found["systems"]["forest"]) == {"dev"}
    assert found["held_back"] == ["test"]
    assert found["headline"]["split"] == "dev"
    nothing = held_back(held_back(inputs, "test"), "dev")
    with pytest.raises(ValueError, match="ensemble_mine: the labels of all"):
        results.score(nothing)


def test_the_files_hold_the_same(inputs, tmp_path):
    found = results.write(inputs, tmp_path)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored == json.loads(json.dumps(found))
    text = (tmp_path / "results.md").read_text()
    for by_split in stored["systems"].values():
        for split, of in by_split.items():
            assert f"{of['macro_f1']:.3f} [" in text
            b = of["balanced_subsets"]
            drawn = f"{b['mean']:.3f} [{b['low']:.3f}, {b['high']:.3f}] n=9 |"
            alone = f"{b['mean']:.3f} n=20, one subset |"
            assert (drawn if split == "dev" else alone) in text
    mean = stored["seeds"]["one"]["splits"]["test"]["uar"]["mean"]
    assert f"| test | one | 2 | {stored_mean(stored)}" in text
    assert f"{mean:.3f} ± " in text
    assert "* test: forest over average: " in text


def stored_mean(stored) -> str:
    found = stored["seeds"]["one"]["splits"]["test"]["macro_f1"]
    return f"{found['mean']:.3f} ± {found['sd']:.3f}"


def test_the_uniform_prior_is_a_system_of_its_own(inputs, tmp_path):
    """It is fitted on dev, and also written where labels are held back."""
    adjusted = subjects.with_uniform(held_back(inputs, "test"), tmp_path)
    names = list(adjusted.systems)
    assert names[-2:] == ["forest, uniform prior", "forest"]
    saved = Logits.load(tmp_path / "logits" / "uniform_prior" / "test.npz")
    known = subjects.with_uniform(inputs, tmp_path / "known")
    np.testing.assert_array_equal(
        saved.logits, known.systems["forest, uniform prior"]["test"].logits
    )
    found = results.score(known)
    assert set(found["systems"]["forest, uniform prior"]) == {"test"}
    assert found["headline"]["system"] == "forest"
    alone = {m: {"dev": x["dev"]} for m, x in inputs.systems.items()}
    with pytest.raises(ValueError, match="--target_prior: ensemble_mine has neither"):
        subjects.with_uniform(dataclasses.replace(inputs, systems=alone), tmp_path)


def made(corpus, workdir, **splits):
    """A run's folder as training and prediction leave it, less its checkpoints."""
    table = tables.read(corpus.data / "small")
    rng = np.random.default_rng(0)
    files.write_json(
        workdir / "config.json",
        {
            "schema": run_config.SCHEMA,
            "table": table.fingerprint,
            "front_ends": {},
            "config": tiny_corpus.experiment().to_dict(),
        },
    )
    for split, in_sample in splits.items():
        rows = table.select(split)
        Logits(
            utt_id=np.array([u.utt_id for u in rows]),
            logits=rng.standard_normal((len(rows), 3)).astype(np.float32),
            label=np.array([table.labels.index(u.emotion) for u in rows]),
            fold=np.array([-1 if u.fold is None else u.fold for u in rows]),
            speaker=np.array([u.speaker for u in rows]),
            in_sample=np.full(len(rows), in_sample),
            speaker_seen=np.full(len(rows), in_sample),
            labels=np.array(table.labels),
            made_by=np.array([f"{run_config.digest(workdir)}@1"]),
        ).save(workdir / "logits" / f"{split}.npz")
    return workdir


def test_a_run_is_scored_where_it_was_not_trained(corpus, tmp_path):
    workdir = made(corpus, tmp_path / "mine", train=True, dev=False, test=False)
    inputs = subjects.of_run(workdir, corpus)
    found = results.write(inputs, workdir)
    assert list(found["systems"]) == ["mine"]
    assert set(found["systems"]["mine"]) == {"dev", "test"}
    assert any(note.startswith("train is not scored") for note in found["notes"])
    assert found["comparisons"] == []
    adjusted = subjects.with_uniform(inputs, workdir)
    assert list(adjusted.systems) == ["mine, uniform prior", "mine"]
    with pytest.raises(FileNotFoundError, match="jser predict"):
        subjects.of_run(made(corpus, tmp_path / "other", train=True), corpus)


def test_a_run_on_another_table_is_refused(corpus, tmp_path):
    workdir = made(corpus, tmp_path / "mine", test=False)
    record = files.read_json(workdir / "config.json")
    files.write_json(workdir / "config.json", record | {"table": "another"})
    with pytest.raises(ValueError, match="trained with table another"):
        subjects.of_run(workdir, corpus)


def test_importance_is_of_the_stacker_that_the_config_names(tmp_path):
    files.write_json(tmp_path / "stack.json", {"stacker": "logistic"})
    config = Ensemble(name="e", members=(tiny_corpus.experiment(),))
    with pytest.raises(ValueError, match=r"another stacker than 'chosen'.*jser stack"):
        subjects._stacker(config, tmp_path)


def test_seeds_of_a_config():
    member = tiny_corpus.experiment()
    config = recipes.over_seeds(member, ["3", "4"]).check()
    assert config.name == "small_seeds"
    assert [(m.name, m.seed) for m in config.members] == [
        ("small_seed3", 3),
        ("small_seed4", 4),
    ]
    other = dataclasses.replace(member, name="other", epochs=9)
    alike = subjects.seeds_of([*config.members, other])
    assert alike == {"small": ["small_seed3", "small_seed4"]}

    whole = Ensemble(name="e", members=(*recipes.seeds(member, (0, 1)), other))
    assert recipes.over_seeds(whole.check(), []) is whole


def test_an_ensemble_has_no_seeds_of_its_own():
    whole = Ensemble(name="e", members=(tiny_corpus.experiment(),))
    with pytest.raises(ValueError, match="--seeds: e is an ensemble"):
        recipes.over_seeds(whole, ["0", "1"])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([], "is one member; give two seeds"),
        (["1"], "is one member; give two seeds"),
        (["1", "1"], "is one member; give two seeds"),
        (["1", "x"], "--seeds: 1,x must read as 0,1,2"),
    ],
)
def test_seeds_that_are_none(numbers, message):
    with pytest.raises(ValueError, match=message):
        recipes.over_seeds(tiny_corpus.experiment(), numbers)


@pytest.mark.slow
def test_seeds_are_trained_scored_and_averaged(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    member = tiny_corpus.experiment(text="char_ngrams")
    member.epochs = 1
    config = recipes.over_seeds(member, (0, 1, 2)).check()
    given = ["--config", "small.py", "--seeds", "0,1,2"]
    page = pipeline.run(config, roots, jobs=1, arguments=given)
    found = json.loads((tmp_path / "small_seeds" / "results.json").read_text())
    seeds = ["small_seed0", "small_seed1", "small_seed2"]
    assert list(found["systems"]) == [*seeds, "average"]
    said = [Logits.load(tmp_path / s / "logits" / "test.npz").logits for s in seeds]
    assert np.ptp(np.stack(said), axis=0).max() > 1e-3
    of_test = [found["systems"][s]["test"]["macro_f1"] for s in seeds]
    over = found["seeds"]["small"]["splits"]["test"]["macro_f1"]
    assert over["mean"] == pytest.approx(np.mean(of_test))
    assert over["sd"] == pytest.approx(np.std(of_test, ddof=1))
    assert found["commands"][-1] == "jser run --config small.py --seeds 0,1,2"
    assert "±" in page.read_text()
