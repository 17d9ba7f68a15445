"""The samples that the network is most wrong about."""

import pytest
import torch
from omegaconf import OmegaConf

from normlab.data.parts import load_parts
from normlab.training.mistakes import describe_mistakes, worst_samples

PROBABILITIES = torch.tensor(
    [[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.55, 0.45], [0.05, 0.95]]
)


def test_the_most_confident_of_the_wrong_predictions_come_first():
    targets = torch.tensor([1, 0, 1, 1, 0])
    assert worst_samples(PROBABILITIES, targets, 10).tolist() == [4, 1, 0, 3]
    assert worst_samples(PROBABILITIES, targets, 2).tolist() == [4, 1]
    right = PROBABILITIES.argmax(1)
    assert worst_samples(PROBABILITIES, right, 2).tolist() == []


def test_the_largest_errors_of_numbers_come_first():
    predictions = torch.tensor([1.0, 5.0, -4.0])
    targets = torch.tensor([1.5, 2.0, 1.0])
    assert worst_samples(predictions, targets, 2).tolist() == [2, 1]


@pytest.fixture
def table(compose, tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"{number},{'ab'[number % 2]},{10 * number}" for number in range(1, 11)]
    path.write_text("\n".join(["size,kind,price", *rows]) + "\n")

    def parts(*overrides):
        words = ("dataset=csv", f"dataset.root={path}", "dataset.num_folds=2")
        return load_parts(
            OmegaConf.to_container(compose(*words, *overrides), resolve=True), None
        )

    return parts


@pytest.mark.parametrize("part", ["val", "test"])
def test_mistakes_of_a_table_show_its_columns_as_they_were(table, part):
    parts = table("dataset.target=price")
    rows = parts.by_name[part].rows
    targets = parts.by_name[part].targets[rows]
    predictions = targets + torch.arange(len(rows))
    mistakes = describe_mistakes(part, parts, rows, predictions, targets, 1)
    (worst,) = mistakes
    assert worst["prediction"] - worst["target"] == len(rows) - 1
    assert worst["column size"] * 10 == worst["target"]
    assert worst["column kind"] == "ab"[int(worst["column size"]) % 2]
    assert (worst["part"], worst["row"]) == (part, int(rows[-1]))


def test_mistakes_name_the_classes(table):
    parts = table("dataset.target=kind", "dataset.task=classification")
    rows = parts.test.rows
    targets = parts.test.targets[rows]
    wrong = torch.eye(2)[1 - targets] * 0.8 + 0.1
    mistakes = describe_mistakes("test", parts, rows, wrong, targets, 3)
    assert len(mistakes) == 3
    for mistake in mistakes:
        assert {mistake["target"], mistake["prediction"]} == {"a", "b"}
        assert mistake["confidence"] == pytest.approx(0.9)
        assert mistake["target"] == "ab"[int(mistake["column size"]) % 2]


def test_a_missing_cell_of_a_table_is_an_empty_text(table):
    parts = table("dataset.target=price")
    parts.table.test_columns.loc[:, "size"] = float("nan")
    row = torch.tensor([0])
    target = parts.test.targets[row]
    (mistake,) = describe_mistakes("test", parts, row, target, target, 1)
    assert mistake["column size"] == ""
