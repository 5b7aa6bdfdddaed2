"""Runs as training and prediction leave them, made up; their states are not there."""

from collections.abc import Sequence
import json

import numpy as np

from jser import files
from jser.corpora.tables import Table
from jser.data.corpus import rows_of
from jser.ensemble import checkpoint_metrics, provenance, run_config
from jser.ensemble.logits import Logits
from jser.ensemble.out_of_fold import Run
from jser.roots import Roots


def make(
    runs: Sequence[Run], table: Table, roots: Roots, seed: int = 0
) -> dict[str, tuple[int, ...]]:
    """Writes configs, metrics, checkpoints' metrics and logits of some skill.

    Returns the folds that each run held out, by its name in `made_by`.
    """
    rng, held_out = np.random.default_rng(seed), {}
    for run in runs:
        data, workdir = run.experiment.data, roots.workdir(run.experiment)
        record = {
            "schema": run_config.SCHEMA,
            "table": table.fingerprint,
            "front_ends": {},
            "config": run.experiment.to_dict(),
        }
        files.write_json(workdir / "config.json", record)
        scores = {"macro_f1": rng.uniform()} if data.dev_split else {}
        metrics = checkpoint_metrics.made(workdir, 3, scores, "")
        path = workdir / "checkpoints" / "3" / "metrics" / "metrics"
        files.write_atomically(path, json.dumps(metrics))
        line = {"step": 3, **{f"dev/{k}": v for k, v in scores.items()}}
        files.write_atomically(workdir / "metrics.jsonl", json.dumps(line) + "\n")
        made_by = provenance.made_by(workdir)
        held_out[made_by] = data.holdout
        for split in run.splits:
            logits = _logits(run, split, table, made_by, rng)
            logits.save(workdir / "logits" / f"{split}.npz")
    return held_out


def _logits(run: Run, split: str, table: Table, made_by: str, rng) -> Logits:
    data = run.experiment.data
    train = table.select(data.train_split)
    trained_on = [u for u in train if u.fold not in data.holdout or not data.holdout]
    ids, heard = {u.utt_id for u in trained_on}, {u.speaker for u in trained_on}
    rows = rows_of(table, data, split)
    label = np.array([table.labels.index(u.emotion) for u in rows])
    noise = rng.standard_normal((len(rows), len(table.labels)))
    return Logits(
        utt_id=np.array([u.utt_id for u in rows]),
        logits=(2 * np.eye(len(table.labels))[label] + noise).astype(np.float32),
        label=label,
        fold=np.array([-1 if u.fold is None else u.fold for u in rows]),
        speaker=np.array([u.speaker for u in rows]),
        in_sample=np.array([u.utt_id in ids for u in rows]),
        speaker_seen=np.array([u.speaker in heard for u in rows]),
        labels=np.array(table.labels),
        made_by=np.array([made_by]),
    )
