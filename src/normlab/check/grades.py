"""Examinations as autograders and spreadsheets read them."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normlab.check.findings import UNKNOWN, Examination, Finding
from normlab.check.properties import PROPERTIES
from normlab.check.submissions import Grade, reason_for_nothing
from normlab.descriptors import check_writable, descriptor_of
from normlab.results import written_whole
from normlab.spreadsheets import without_formula
from normlab.terminal import without_control

FORMATS = ("gradescope", "otter")


def as_json(grade: Grade, form: str) -> dict[str, Any]:
    """A grade in the format of an autograder.

    Args:
        grade: of one submission.
        form: "gradescope" or "otter".

    Raises:
        ValueError: there is no such format.
    """
    if form == "gradescope":
        return gradescope(grade)
    if form == "otter":
        return otter(grade)
    raise ValueError(f"--json must be one of {', '.join(FORMATS)}, got {form!r}")


def gradescope(grade: Grade) -> dict[str, Any]:
    """The content of `results.json` of Gradescope's autograder specification.

    Every property is a test with a score and the greatest possible score.
    """
    tests = []
    for name, earned, possible in grade.examination.points_by_property():
        tests.append(
            {
                "name": PROPERTIES[name].title,
                "score": earned,
                "max_score": possible,
                "status": "passed" if earned == possible else "failed",
                "output": property_text(grade.examination, name),
                "visibility": "visible",
            }
        )
    return {
        "execution_time": round(grade.seconds, 3),
        "output": summary(grade),
        "stdout_visibility": "hidden",
        "tests": tests,
    }


def otter(grade: Grade) -> dict[str, Any]:
    """Results as `GradingResults.from_ottr_json` of Otter-Grader reads them.

    Every property is a test file with one test case.
    """
    files = []
    for name, earned, possible in grade.examination.points_by_property():
        text = property_text(grade.examination, name)
        passed = earned == possible
        test_case = {
            "name": PROPERTIES[name].title,
            "code": "",
            "points": possible,
            "hidden": False,
            "success_message": text if passed else None,
            "failure_message": None if passed else text,
        }
        result = {
            "passed": passed,
            "error": None if passed else text,
            "test_case": test_case,
        }
        files.append(
            {
                "filename": f"{name}.py",
                "points": possible,
                "test_case_results": [result],
            }
        )
    return {"test_file_results": files}


def property_text(examination: Examination, name: str) -> str:
    """What is said about one property."""
    texts = [
        finding_text(finding)
        for finding in examination.findings
        if finding.property_name == name
    ]
    if texts:
        return "\n\n".join(texts)
    outcome = examination.outcomes[name]
    if outcome.status == UNKNOWN:
        because = f", because {outcome.note}" if outcome.note else ""
        return f"Not examined{because}."
    return outcome.note


def finding_text(finding: Finding) -> str:
    """A finding without its solution: the sentence, the likely line, the fix."""
    lines = [finding.sentence]
    if finding.line is not None:
        place = finding.place[:1].upper() + finding.place[1:]
        lines.append(f"{place}: {finding.text}")
    lines.append(finding.fix)
    return without_control("\n".join(lines))


def summary(grade: Grade) -> str:
    """A submission in a few sentences."""
    examination = grade.examination
    points = f"{examination.points} of {examination.possible} points"
    lines = [f"{examination.name}: {points}."]
    if grade.note:
        lines.append(f"{grade.note}.")
    lines += [finding_text(finding) for finding in examination.remarks]
    return without_control("\n".join(lines))


def check_csv(path: Path) -> None:
    """Refuse a file that could not be written when all submissions are graded.

    Raises:
        ValueError: it is a folder, or its folder does not exist or takes no files.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:
        check_writable(path, descriptor)
        return
    if path.exists() and not path.is_file() and not path.is_dir():
        return  # a device or a pipe
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(
            f"--csv must be a file in a folder that exists and can be written, got "
            f"{path}"
        )


def write_csv(path: Path, grades: Sequence[Grade]) -> None:
    """Write one row per submission, with a column for every property.

    Args:
        path: the file.
        grades: of the submissions.

    Raises:
        OSError: it cannot be written.
    """
    properties = [name for name, one in PROPERTIES.items() if one.points]
    header = ["submission", "status", "points", "possible", "percent", "faults", "note"]
    with (
        written_whole(path, follow_links=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([*header, "seconds", *properties])
        for grade in grades:
            writer.writerow([_cell(value) for value in _row(grade, properties)])


def _row(grade: Grade, properties: Sequence[str]) -> list[Any]:
    examination = grade.examination
    earned = {name: points for name, points, _ in examination.points_by_property()}
    percent = 100 * examination.points / max(examination.possible, 1)
    faults = "; ".join(finding.fault for finding in examination.faults)
    row = [grade.submission, grade.status, examination.points, examination.possible]
    row += [f"{percent:.1f}", faults, reason_for_nothing(grade), f"{grade.seconds:.1f}"]
    return [*row, *(earned.get(name, "") for name in properties)]


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, in one line."""
    if not isinstance(value, str):
        return value
    text = " ".join(without_control(value).split())
    return without_formula(text)
