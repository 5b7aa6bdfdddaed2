"""What evaluate and report share: which runs they are of."""

import pathlib

from jser.commands.shared_flags import ConfigFlags, RootFlags, adapt_flag
from jser.commands.verb_flags import VerbFlags


class SubjectFlags:
    """A config, seeds of one, or a run; what it is scored on, and how."""

    def __init__(self, where: VerbFlags):
        self._config = ConfigFlags(
            where, "An ensemble, or a member with --seeds.", seeds=True, required=False
        )
        self._workdir = where.optional("workdir", "Of a single run, in place of those.")
        self._table = where.optional(
            "table", "With --workdir: another table than the run's, of jser predict."
        )
        self._adapt = adapt_flag(where)
        self._prior = where.choice(
            "target_prior", ["uniform"], "Score under this class prior, too."
        )
        self._roots = RootFlags(where)

    def inputs(self):
        """What is to be scored, and the folder it is written to."""
        if not (self._config.given or self._workdir.value):
            raise ValueError("give --config or --workdir.")
        self._refuse_without_run()
        config = None if self._workdir.value else self._config.ensemble()
        from jser.ensemble.logits import path_of
        from jser.report import other_tables, subjects

        roots = self._roots.value
        if config:
            folder = roots.runs / config.name
            arguments = [*self._config.arguments, *roots.arguments()]
            inputs = subjects.of_ensemble(config, roots, arguments)
        elif self._table.value:
            workdir, table = map(
                pathlib.Path, (self._workdir.value or "", self._table.value)
            )
            folder = path_of(workdir, "", table=table.resolve().name).parent
            inputs = other_tables.of_run(workdir, roots, table, self._adapt.value)
        else:
            folder = pathlib.Path(self._workdir.value or "")
            inputs = subjects.of_run(folder, roots, self._adapt.value)
        if self._prior.value:
            inputs = subjects.with_uniform(inputs, folder)
        return inputs, folder

    def _refuse_without_run(self) -> None:
        """Raises ValueError where flags do not go together."""
        table, workdir = self._table.value, self._workdir.value
        if not workdir and (table or self._adapt.value):
            which = "--table" if table else "--adapt"
            raise ValueError(f"{which}: of a single run, which --workdir names.")
        if table and self._prior.value:
            raise ValueError(
                "--target_prior: it is fitted on labels, and those of another table are"
                " there to score alone. Leave it out with --table."
            )
