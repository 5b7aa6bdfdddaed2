"""What evaluate and report share: which runs they are of."""

import pathlib

from absl import flags

from jser.commands.shared_flags import ConfigFlags, RootFlags
from jser.commands.verb_flags import VerbFlags


class SubjectFlags:
    """A config, seeds of one, or a run; and the class prior to score under, too."""

    def __init__(self, where: VerbFlags):
        self._config = ConfigFlags(
            where, "An ensemble, or a member with --seeds.", seeds=True, required=False
        )
        self._workdir = where.optional("workdir", "Of a single run, in place of those.")
        self._prior = flags.DEFINE_enum(
            "target_prior",
            None,
            ["uniform"],
            "Score under this class prior, too.",
            flag_values=where,
        )
        self._roots = RootFlags(where)

    def inputs(self):
        """What is to be scored, and the folder it is written to."""
        if not (self._config.given or self._workdir.value):
            raise ValueError("give --config or --workdir.")
        config = None if self._workdir.value else self._config.ensemble()
        from jser.report import subjects

        roots = self._roots.value
        if config:
            folder = roots.runs / config.name
            arguments = [*self._config.arguments, *roots.arguments()]
            inputs = subjects.of_ensemble(config, roots, arguments)
        else:
            folder = pathlib.Path(self._workdir.value or "")
            inputs = subjects.of_run(folder, roots)
        if self._prior.value:
            inputs = subjects.with_uniform(inputs, folder)
        return inputs, folder
