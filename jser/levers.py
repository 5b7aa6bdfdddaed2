"""Levers: named changes of a config, one at a time, and which of them apply to a table.

`LEVERS` are those of published systems. docs/levers.md has them in words.
"""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib

from jser import config_files, config_rules, overrides, recipes
from jser.config import Experiment
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance

ALL = "all"
BASE = "base"  # The config without a lever; as `init_from` its run of the same seed.
_FORM = (
    "Write levers as 'mixup; mine: loss.soft_labels=true, optim.lr=*0.1': names of"
    " those that are known, or a name, a colon, and fields with ', ' between them."
)
_OF_PROTOCOL = (
    *("name", "seed", "data.corpus", "data.train_split", "data.dev_split"),
    "data.holdout",
)


@dataclasses.dataclass(frozen=True)
class Lever:
    """One change of a config."""

    name: str
    fields: tuple[str, ...]  # As `overrides.apply` takes them; "=*0.1" is a tenth.
    source: str = ""  # Who has it, where it is published.
    needs: str = ""  # What a table must tell: one of `_TOLD`.


_MEDUSA = "MEDUSA, Interspeech 2025"
_SAILER = "SAILER, arXiv 2505.22133"
_ABHINAYA = "Abhinaya, Interspeech 2025"
_SOFT = "loss.soft_labels=true"
LEVERS = (
    Lever("soft_labels", (_SOFT,), _MEDUSA, "votes"),
    Lever("mentions", (_SOFT, "loss.mentions=true"), _MEDUSA, "secondary emotions"),
    Lever("annotators", (_SOFT, "augment.annotators=0.2"), _SAILER, "votes"),
    Lever(
        "kl",
        ("loss.kind=kl", _SOFT, "loss.class_weights=false", "loss.weight_exponent=1"),
        *(_SAILER, "votes"),
    ),
    Lever("focal", ("loss.kind=focal",), "Lin et al., ICCV 2017"),
    Lever("half_weights", ("loss.weight_exponent=0.5",), _MEDUSA),
    Lever("no_weights", ("loss.class_weights=false", "loss.weight_exponent=1")),
    Lever("vs", ("loss.kind=vs",), f"Kini et al., NeurIPS 2021; {_ABHINAYA}"),
    Lever(
        "logit_adjustment",
        ("loss.kind=vs", "loss.vs_gamma=0"),
        "Menon et al., ICLR 2021",
    ),
    Lever("mixup", ("augment.mixup=0.2",), "Verma et al., ICML 2019"),
    Lever(
        "mixup_each",
        ("augment.mixup=0.2", "augment.mixup_chance=0.3", "augment.mixup_each=true"),
        _MEDUSA,
    ),
    Lever(
        "label_smoothing", ("loss.label_smoothing=0.1",), "Szegedy et al., CVPR 2016"
    ),
    Lever(
        "second_stage",
        (
            *(f"init_from={BASE}", "data.sampler=undersampled"),
            *("loss.class_weights=false", "loss.weight_exponent=1"),
            *("optim.lr=*0.1", "optim.final_lr=*0.1"),
        ),
        _MEDUSA,
    ),
    Lever("attributes_mse", ("tasks.attributes=0.4",), _MEDUSA, "attributes"),
    Lever(
        "attributes_ccc",
        ("tasks.attributes=0.4", "tasks.attribute_loss=ccc"),
        "MERaLiON-SER, arXiv 2511.04914",
        "attributes",
    ),
    Lever("secondary", ("tasks.secondary=0.1",), _SAILER, "secondary emotions"),
    Lever("gender", ("tasks.gender=0.1",), "SAILER, arXiv 2506.10930", "genders"),
    Lever("deep", ("model.kind=deep",), _MEDUSA),
    Lever("average", ("optim.average=0.99",), "Polyak and Juditsky, 1992"),
    Lever("per_utterance", ("loss.per_utterance=true",), _MEDUSA),
)
_KNOWN = {lever.name: lever for lever in LEVERS}
# What an utterance must have, somewhere in the table, for a lever to do anything.
_TOLD: dict[str, Callable[[Utterance], bool]] = {
    "votes": lambda u: bool(u.votes or u.ratings),
    "secondary emotions": lambda u: "+" in u.ratings,
    "attributes": lambda u: u.arousal is not None,
    "genders": lambda u: bool(u.gender),
}


def read(text: str) -> tuple[list[Lever], bool]:
    """The levers of `--levers`.

    Args:
      text: Levers with ";" between them, or a file (.txt) with one a line, in which #
        begins a comment. "all" is all of `LEVERS`.

    Returns:
      The levers, and whether they were asked for as "all": then those that do not apply
      may be left out.

    Raises:
      ValueError: if one cannot be read, or two have one name.
      FileNotFoundError: if there is no such file.
    """
    if text.strip() == ALL:
        return list(LEVERS), True
    items = text.split(";")
    if text.endswith(".txt"):
        path = pathlib.Path(text)
        if not path.exists():
            raise FileNotFoundError(f"--levers: {path}: no such file. {_FORM}")
        lines = path.read_text(encoding="utf-8").splitlines()
        items = [line.partition("#")[0] for line in lines]
    levers = [_parse(item.strip()) for item in items if item.strip()]
    names = [lever.name for lever in levers]
    if not levers:
        raise ValueError(f"--levers: {text!r} names none. {_FORM}")
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ValueError(f"--levers: {twice[0]!r} stands there twice. Rename one.")
    return levers, False


def _parse(item: str) -> Lever:
    name, colon, fields = (part.strip() for part in item.partition(":"))
    if not colon:
        if name not in _KNOWN:
            near = config_files.near(name, [ALL, *_KNOWN])
            raise ValueError(f"--levers: no lever {name!r}{near} {_FORM}")
        return _KNOWN[name]
    try:
        config_rules.check_name(name)
    except ValueError as e:
        raise ValueError(f"--levers: {e}") from None
    if name == BASE:
        raise ValueError(f"--levers: {BASE!r} is the config itself. Rename the lever.")
    assigned = tuple(f.strip() for f in fields.split(", ") if f.strip())
    if not assigned:
        raise ValueError(f"--levers {name}: sets no field. {_FORM}")
    return Lever(name, assigned)


def applied(
    lever: Lever, config: Experiment, table: Table, names: Sequence[str]
) -> Experiment:
    """The config with a lever, named `<name>+<lever>`.

    Args:
      lever: To pull.
      config: Stays as it is.
      table: Of the config.
      names: Of all levers of the ablation, which `init_from` may name.

    Raises:
      ValueError: if the lever does not fit the config, or does nothing on the table.
    """
    where = f"--levers {lever.name}"
    if lever.needs and not any(map(_TOLD[lever.needs], table.utterances)):
        raise ValueError(f"{where}: {table.folder} tells no {lever.needs}.")
    fields = [_resolved(field, config, names, where) for field in lever.fields]
    try:
        changed = overrides.apply(config, fields)
        before = changed.to_dict()
        changed.name = _name(config, lever.name)
        changed.check()
    except ValueError as e:
        raise ValueError(f"{where}: {e}") from None
    if before == config.to_dict():
        raise ValueError(f"{where}: changes nothing, {config.name} has it already.")
    return changed


def _resolved(
    assignment: str, config: Experiment, names: Sequence[str], where: str
) -> str:
    """A field and its value, with what they say of the base put in."""
    field, _, value = (part.strip() for part in assignment.partition("="))
    if field in _OF_PROTOCOL:
        raise ValueError(
            f"{where}: {field} is the same with and without a lever. Set"
            f" --config.{field}, or --seeds and --folds."
        )
    if field == "init_from" and value in (BASE, *names):
        return f"init_from={_name(config, value)}"
    if not value.startswith("*"):
        return assignment
    try:
        return f"{field}={config_rules.value(config, field) * float(value[1:])!r}"
    except (ValueError, TypeError, AttributeError):
        raise ValueError(
            f"{where}: {assignment!r} must be a number's field, =* and a factor, as"
            " optim.lr=*0.1."
        ) from None


def _name(config: Experiment, lever: str) -> str:
    return config.name if lever == BASE else f"{config.name}+{lever}"


def over_seeds(
    experiment: Experiment, numbers: Sequence[int], others: Sequence[str]
) -> tuple[Experiment, ...]:
    """The experiment once for each seed; one that starts with another, with its seed's.

    Args:
      experiment: With or without a lever.
      numbers: The seeds.
      others: The names of all experiments that have these seeds.
    """
    made = recipes.seeds(experiment, numbers)
    if experiment.init_from in others:
        for one in made:
            one.init_from += f"_seed{one.seed}"
    return made
