from compare.helpers import write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.report.scope import scope_note

VALUES = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]


def test_the_fewest_runs_bound_what_was_missed(tmp_path):
    write_seeds(tmp_path, {"none": VALUES, "custom": VALUES[:5]})
    found = compare(load_runs(tmp_path))
    note = scope_note([found, found])
    assert note.startswith("Everything said here is about other seeds and the same ")
    assert note.endswith("5 runs per arm can miss what happens to up to 45% of runs.")


def test_folds_vary_the_data(tmp_path):
    for fold, value in enumerate(VALUES):
        for norm in ("none", "custom"):
            write_run(tmp_path, norm, 0, value, settings={"dataset.fold": fold})
    note = scope_note([compare(load_runs(tmp_path))])
    assert note.startswith(
        "Everything said here is about training on other folds of the same data. 6 "
    )


def test_one_arm_has_no_number_to_bound(tmp_path):
    write_seeds(tmp_path, {"none": VALUES})
    assert scope_note([compare(load_runs(tmp_path))]).endswith("differences too.")
