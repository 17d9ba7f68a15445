"""Examinations as plain lists and dicts, which go from process to process."""

from dataclasses import asdict
from typing import Any

from normlab.check.faults import FAULTS
from normlab.check.findings import RIGHT, Examination, Finding, Outcome
from normlab.check.properties import PROPERTIES


def to_dict(examination: Examination) -> dict[str, Any]:
    """An examination as plain lists and dicts."""
    return asdict(examination)


def from_dict(content: Any) -> Examination:
    """An examination from plain lists and dicts, which may come from anybody.

    Raises:
        ValueError: it is none.
    """
    try:
        examination = Examination(
            name=str(content["name"]),
            path=str(content["path"]),
            kind=str(content["kind"]),
            inputs=[str(one) for one in content["inputs"]],
            outcomes={
                name: Outcome(str(one["status"]), str(one["note"]))
                for name, one in content["outcomes"].items()
            },
            findings=[Finding(**one) for one in content["findings"]],
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"this is no examination: {error}") from error
    for name in examination.outcomes:
        if name not in PROPERTIES:
            raise ValueError(f"there is no property {name!r}")
    for finding in examination.findings:
        known = FAULTS.get(finding.fault)
        if known is None or known.property != finding.property_name:
            raise ValueError(f"there is no fault {finding.fault!r}")
        outcome = examination.outcomes.get(finding.property_name)
        if outcome is None or outcome.status == RIGHT:
            raise ValueError(f"{finding.property_name!r} is right and has a fault")
    return examination
