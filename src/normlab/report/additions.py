"""What a section of a report shows besides arms and contrasts."""

from dataclasses import dataclass, field

import pandas as pd

from normlab.report.drawing import Drawing
from normlab.report.tables import Table


@dataclass
class Addition:
    """Tables, figures and sentences that are shown if the runs allow them.

    Attributes:
        tables: Shown after those of arms and contrasts.
        frames: The same with every digit, by the name of their CSV file.
        drawings: Figures.
        notes: Sentences, each of which is shown once a report.
        warnings: What a reader must know before believing it.
    """

    tables: list[Table] = field(default_factory=list)
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    drawings: list[Drawing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
