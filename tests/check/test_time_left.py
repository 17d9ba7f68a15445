"""What is said of the time that grading takes, with times worked out by hand."""

from normlab.check.examination import broken
from normlab.check.submissions import Grade
from normlab.check.time_left import TimeLeft

EXAMINATION = broken("MyNorm", "the file cannot be imported", None, "batch")


def said(total, jobs, *grades):
    """What is said after each of these (status, seconds)."""
    time_left = TimeLeft(total, jobs)
    texts = [time_left()]
    made = [
        Grade(f"s{i}", status, EXAMINATION, seconds=seconds)
        for i, (status, seconds) in enumerate(grades)
    ]
    for _ in time_left.watching(made):
        texts.append(time_left())
    return texts


def test_the_time_left_is_that_of_the_submissions_that_ended():
    assert said(10, 2, ("examined", 3.0), ("examined", 5.0), ("crashed", 9.0)) == [
        "too early to say how long it takes",
        "about 14 s left",  # 9 are left, two at a time
        "about 16 s left",  # median 4, 8 are left
        "about 18 s left",  # median 5, 7 are left: 17.5
    ]


def test_endless_loops_that_come_first_do_not_count_for_the_others():
    loop = ("out of time", 130.0)
    assert said(5, 2, loop, loop, ("examined", 4.0), ("examined", 4.0)) == [
        "too early to say how long it takes",
        "too early to say how long it takes",
        "too early to say how long it takes",
        "about 4 s left if no more run out of time",
        "about 4 s left if no more run out of time",  # the last one is alone
    ]
