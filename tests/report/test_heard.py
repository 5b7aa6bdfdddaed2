import dataclasses

import numpy as np
import pytest
from scipy import special
from scipy.spatial import distance

from jser.data import targets
from jser.report import heard, markdown, page, results
from jser.statistics import attributes
from tests.helpers import simulated_systems


@pytest.fixture
def inputs(tmp_path):
    """Simulated systems whose test split has raters, and one that rates itself."""
    rng = np.random.default_rng(1)
    made = simulated_systems.inputs(tmp_path)
    rows = []
    for k, u in enumerate(made.table.utterances):
        votes = f"{u.emotion}:2 {simulated_systems.LABELS[k % 3]}:1"
        known = k % 4 and u.split == "test"
        rated = {"votes": votes, "arousal": float(rng.uniform(1, 7))} if known else {}
        rows.append(dataclasses.replace(u, **rated))
    systems = {
        name: {
            s: dataclasses.replace(x, attributes=rng.uniform(1, 7, (len(x), 3)))
            if name == "forest"
            else x
            for s, x in by_split.items()
        }
        for name, by_split in made.systems.items()
    }
    table = dataclasses.replace(made.table, utterances=tuple(rows))
    return dataclasses.replace(made, table=table, systems=systems)


def test_scores_are_of_the_utterances_whose_votes_are_known(inputs):
    said = inputs.systems["forest"]["test"]
    found = results.score(inputs)["systems"]["forest"]["test"]
    row = {u.utt_id: u for u in inputs.table.utterances}
    divergences, predicted, rated = [], [], []
    for utt_id, logits, values in zip(
        said.utt_id.tolist(), said.logits, said.attributes, strict=True
    ):
        votes = targets.raters(row[utt_id], simulated_systems.LABELS, mentions=False)
        if len(votes):
            shares, p = votes.mean(axis=0), special.softmax(logits.astype(float))
            divergences.append(distance.jensenshannon(shares, p, base=2) ** 2)
            predicted.append(values[0])
            rated.append(row[utt_id].arousal)
    of = found["distribution"]["jensen_shannon"]
    assert of["utterances"] == len(divergences) < len(said)
    assert of["value"] == pytest.approx(np.mean(divergences), rel=1e-6)
    assert of["interval"][0] < of["value"] < of["interval"][1]
    want = attributes.concordance(np.array(predicted), np.array(rated))
    assert found["attributes"]["arousal"]["value"] == pytest.approx(want)
    assert set(found["attributes"]) == {"arousal"}


def test_nothing_is_said_of_what_is_not_known(inputs):
    found = results.score(inputs)["systems"]
    for by_split in found.values():
        assert by_split["dev"]["distribution"] == by_split["dev"]["attributes"] == {}
    rivals = [x for name, x in found.items() if name != "forest"]
    assert all(x["test"]["attributes"] == {} for x in rivals)


def test_a_label_set_that_is_another_has_no_votes_here(inputs):
    said = inputs.systems["forest"]["test"]
    fewer = said.among(simulated_systems.LABELS[:2])
    assert heard.distribution(fewer, inputs.table) == {}


def test_tables_and_page_show_them(inputs):
    found = results.score(inputs)
    text = markdown.of(found)
    assert "| split | system | Jensen-Shannon | Kullback-Leibler | several" in text
    assert "Attributes: concordance" in text
    value = found["systems"]["forest"]["test"]["attributes"]["arousal"]["value"]
    shown = page.page(found, inputs.curves)
    assert f"{value:.3f}" in text
    assert f"{value:.3f}" in shown
    assert '<section id="distribution">' in shown
    assert shown.count("Not known here.") >= 2


def test_without_raters_there_are_no_such_tables(tmp_path):
    found = results.score(simulated_systems.inputs(tmp_path))
    assert "Jensen-Shannon" not in markdown.of(found)
    assert '<section id="distribution">' not in page.page(found, {})
