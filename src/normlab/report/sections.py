"""The part of a report about one comparison."""

from dataclasses import dataclass, field

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.report.drawing import Drawing
from normlab.report.tables import Table
from normlab.study.changes import BEFORE


@dataclass(frozen=True)
class Section:
    """The part of the report about one comparison.

    Attributes:
        heading: The claim, or what is compared.
        comparison: The numbers.
        tables: Tables in the order in which they are shown.
        drawings: Figures, shown after all tables.
        verdict: The verdict on the claim, in a word; empty if nothing was claimed.
        reason: What the verdict rests on.
        rule: When the claim would be supported, and when contradicted.
        rule_origin: What stands before the rule: whether it was written before the
            runs.
        control: What the baseline against itself showed; empty without a control.
        frames: The tables with every digit, by the name of their CSV file.
        notes: Sentences on the tables, each of which is shown once a report.
    """

    heading: str
    comparison: Comparison
    tables: list[Table]
    drawings: list[Drawing]
    verdict: str = ""
    reason: str = ""
    rule: str = ""
    rule_origin: str = "The rule"
    control: str = ""
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def rule_written_before(self) -> bool:
        """Whether all runs carry the plan as it is now."""
        return self.rule_origin == BEFORE
