"""Images, arrays and tables are read for the run that predicts them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from normlab.predict.sources import open_source

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


def all_of(source):
    batches = list(source.batches())
    names = [name for batch in batches for name in batch.names]
    samples = torch.cat([batch.samples for batch in batches])
    truth = None
    if batches[0].truth is not None:
        truth = [value for batch in batches for value in batch.truth]
    return names, samples, truth


def test_images_of_class_folders_are_read_with_their_classes(
    photographs, pictures, predictor_of
):
    source = open_source(pictures / "test", predictor_of(photographs))
    names, samples, truth = all_of(source)
    assert samples.shape == (16, 3, 8, 8)
    assert samples.dtype == torch.uint8
    assert names[0] == "cat/0.png"
    assert truth == ["cat"] * 8 + ["dog"] * 8
    assert (source.unit, source.has_truth) == ("file", True)
    unlabelled = open_source(pictures / "test", predictor_of(photographs), True)
    assert all_of(unlabelled)[2] is None


def test_a_folder_of_images_has_no_classes(photographs, pictures, predictor_of):
    source = open_source(pictures / "test" / "cat", predictor_of(photographs))
    names, samples, truth = all_of(source)
    assert (names[0], len(samples), truth) == ("0.png", 8, None)


def test_other_class_folders_are_refused_by_name(photographs, tmp_path, predictor_of):
    predictor = predictor_of(photographs)
    for name in ("cat", "wolf"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "x.png")
    message = r"no classes of the run: wolf; the classes are cat, dog; add --unlabelled"
    with pytest.raises(ValueError, match=message):
        open_source(tmp_path, predictor)
    (tmp_path / "wolf").rename(tmp_path / "dog")
    Image.new("RGB", (4, 4)).save(tmp_path / "beside.png")
    with pytest.raises(ValueError, match=r"images beside its folders .* beside\.png"):
        open_source(tmp_path, predictor)
    assert len(all_of(open_source(tmp_path, predictor, True))[0]) == 3


def test_a_colour_image_becomes_gray_for_a_run_of_gray_images(
    digits, tmp_path, predictor_of
):
    path = tmp_path / "x.png"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    names, samples, _ = all_of(open_source(path, predictor_of(digits)))
    assert names == ["x.png"]
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(samples[0, 0].numpy(), expected)


def test_an_array_is_read_as_the_data_set_stores_it(digits, tmp_path, predictor_of):
    path = tmp_path / "x.npy"
    array = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8)).astype(np.uint8)
    np.save(path, array)
    source = open_source(path, predictor_of(digits))
    names, samples, truth = all_of(source)
    assert np.array_equal(samples.numpy(), array)
    assert (names[0], names[-1], truth) == ("1", "300", None)
    assert len(list(source.batches())) == 2


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), r"\(N, 1, 8, 8\), .* got \(2, 3, 8, 8\)"),
        (np.zeros((0, 1, 8, 8), np.uint8), r"got \(0, 1, 8, 8\)"),
        (np.zeros((2, 1, 8, 8)), "pixels from 0 to 255 as uint8, got float64"),
        (np.array([None]), "must be a .npy file of numbers: Array can't be memory"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(
    digits, tmp_path, predictor_of, array, message
):
    path = tmp_path / "x.npy"
    np.save(path, array)
    with pytest.raises(ValueError, match=message):
        open_source(path, predictor_of(digits))


def test_rows_of_a_table_are_encoded_as_in_training(table, predictor_of):
    path, folder = table("price")
    names, samples, truth = all_of(open_source(path, predictor_of(folder)))
    assert samples.shape == (60, 3)  # size, blue, red
    assert samples[0].tolist()[1:] == [0, 1]
    assert names[:2] == ["1", "2"]
    lines = path.read_text().splitlines()
    assert truth[0] == float(lines[1].rpartition(",")[2])


def test_a_table_needs_neither_target_nor_the_order_of_columns(
    table, tmp_path, predictor_of
):
    path = tmp_path / "new.csv"
    path.write_text("colour,size\nred,0.5\nblue,?\n")
    source = open_source(path, predictor_of(table("price")[1]))
    _, samples, truth = all_of(source)
    assert samples[:, 1:].tolist() == [[0, 1], [1, 0]]
    assert truth is None


def test_what_a_table_lacks_or_has_beside_is_named(
    table, tmp_path, predictor_of, capsys
):
    predictor = predictor_of(table("kind")[1])
    path = tmp_path / "new.csv"
    path.write_text("colour,length\nred,1\n")
    with pytest.raises(ValueError, match="it lacks size; it has colour, length"):
        open_source(path, predictor)
    path.write_text("colour,size,weight,id\ngreen,1,2,3\n")
    all_of(open_source(path, predictor))
    notes = capsys.readouterr().err
    assert "the run does not know these columns: weight\n" in notes
    assert "these categories of colour are in no training row" in notes
    assert notes.count("green") == 1


def test_other_classes_in_a_table_are_refused_by_name(table, tmp_path, predictor_of):
    predictor = predictor_of(table("kind")[1])
    path = tmp_path / "new.csv"
    path.write_text("colour,size,kind\nred,1,small\nred,1,huge\nblue,1,?\n")
    message = "classes that the run does not know: huge; it knows big, small"
    with pytest.raises(ValueError, match=message):
        open_source(path, predictor)
    assert all_of(open_source(path, predictor, True))[2] is None
    path.write_text(path.read_text().replace("huge", "big"))
    assert all_of(open_source(path, predictor))[2] == ["small", "big", None]


def test_vectors_are_a_table_whose_columns_have_numbers(table, tmp_path, predictor_of):
    predictor = predictor_of(table("price")[1])
    number = {"kind": "number", "fill": 5.0, "subtract": 1.0, "divide": 2.0}
    columns = [number | {"name": "2"}, number | {"name": "0"}, number | {"name": "1"}]
    inputs = replace(predictor.inputs, columns=columns)
    numbered = replace(predictor, inputs=inputs)
    path = tmp_path / "x.npy"
    np.save(path, np.array([[3.0, np.nan, 7.0], [1e-30, 2.0, 1.0]]))
    names, samples, _ = all_of(open_source(path, numbered))
    assert names == ["1", "2"]
    assert samples.tolist() == [[3, 1, 2], [0, -0.5, 0.5]]
    np.save(path, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"at least 3 columns, .* got \(4, 2\)"):
        open_source(path, numbered)


def test_an_input_of_another_kind_is_refused(digits, table, tmp_path, predictor_of):
    tabular = predictor_of(table("price")[1])
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match="input must be a table for this run"):
        open_source(tmp_path / "x.npy", tabular)
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match="input must be a folder of images, an image"):
        open_source(tmp_path / "x.csv", predictor_of(digits))
    with pytest.raises(ValueError, match="there is no "):
        open_source(tmp_path / "nothing", tabular)
