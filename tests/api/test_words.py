"""Arguments of Python calls become the words of a command."""

import numpy as np
import pytest
import torch

from normlab.api.words import sweep_words_of, words_of


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"seed": 3}, ["seed=3"]),
        ({"model": "lenet5"}, ["model=lenet5"]),
        ({"optimizer": {"lr": 0.1}}, ["++optimizer.lr=0.1"]),
        ({"optimizer.lr": 1e-05}, ["++optimizer.lr=1e-05"]),
        ({"gradient_clip": None}, ["gradient_clip=null"]),
        ({"rerun": True}, ["rerun=true"]),
        ({"target": "Null"}, ["target='Null'"]),
        ({"missing": ["NA", "nan", "true"]}, ["missing=[NA,'nan','true']"]),
        ({"target": "Größe"}, ["target='Größe'"]),
        ({"target": "nullable"}, ["target=nullable"]),
        ({"paths": {"outputs": "my runs"}}, ["++paths.outputs='my runs'"]),
        ({"model": {"hidden": [64, 32]}}, ["++model.hidden=[64,32]"]),
        ({"seed": np.int64(2)}, ["seed=2"]),
        ({"optimizer.lr": torch.tensor(0.5)}, ["++optimizer.lr=0.5"]),
    ],
)
def test_settings_are_words(settings, expected):
    assert words_of((), settings) == expected


def test_texts_may_hold_several_overrides():
    texts = ("model=lenet5 dataset=mnist", "group='a b'")
    assert words_of(texts, {}) == ["model=lenet5", "dataset=mnist", "group=a b"]


def test_lists_are_axes_of_a_sweep():
    words = sweep_words_of(
        ("model=mlp",), {"norm": ["none", "torch"], "seed": range(3)}
    )
    assert words == ["model=mlp", "norm=none,torch", "seed=0,1,2"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"trusted_packages": ["mine"]}, ["trusted_packages=[mine]"]),
        ({"trusted_packages": []}, ["trusted_packages=[]"]),
        ({"logger": ["tensorboard", "csv"]}, ["logger=[tensorboard,csv]"]),
        ({"callbacks": [["mine"], []]}, ["callbacks=[mine],[]"]),
        ({"model": {"hidden": [64, 32]}}, ["++model.hidden=[64,32]"]),
        (
            {"model.hidden": [64, 32], "model": "recurrent"},
            ["++model.hidden=64,32", "model=recurrent"],
        ),
        (
            {"model": ["mlp", "recurrent"], "model.hidden": [64, 32]},
            ["model=mlp,recurrent", "++model.hidden=64,32"],
        ),
        (
            {"experiment": "recurrent_mnist", "model.hidden": [64, 32]},
            ["experiment=recurrent_mnist", "++model.hidden=64,32"],
        ),
        (
            {"+experiment": "recurrent_mnist", "model.hidden": [64, 32]},
            ["+experiment=recurrent_mnist", "++model.hidden=64,32"],
        ),
        (  # a recipe of one's own may pick any model
            {"experiment": "of_mine", "model.hidden": [64, 32]},
            ["experiment=of_mine", "++model.hidden=64,32"],
        ),
        (
            {"experiment": "of_mine", "model": "mlp", "model.hidden": [64, 32]},
            ["experiment=of_mine", "model=mlp", "++model.hidden=[64,32]"],
        ),
        ({"model.hidden": (np.int64(64),)}, ["++model.hidden=[64]"]),
        ({"model.hidden": [[64], [64, 32]]}, ["++model.hidden=[64],[64,32]"]),
        ({"task.class_weights": [1.0, 2.0]}, ["++task.class_weights=[1.0,2.0]"]),
        (
            {"task.class_weights": ["balanced", None]},
            ["++task.class_weights=balanced,null"],
        ),
        ({"dataset.normalize": [0.5, 0.25]}, ["++dataset.normalize=[0.5,0.25]"]),
        (
            {"hydra.sweeper.zip": [["norm", "seed"]]},
            ["++hydra.sweeper.zip=[[norm,seed]]"],
        ),
        ({"model.my_widths": [64, 32]}, ["++model.my_widths=64,32"]),
    ],
)
def test_a_list_is_one_value_if_the_values_are_lists(settings, expected):
    assert sweep_words_of((), settings) == expected


def test_a_class_is_an_option_of_norm():
    class Same(torch.nn.Identity):
        pass

    assert words_of((), {"norm": Same}) == ["norm=test_words.Same"]
    assert sweep_words_of((), {"norm": ["none", Same]}) == ["norm=none,test_words.Same"]


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        ((torch.nn.Identity,), {}, r"overrides must be texts .* norm=Identity"),
        ((), {"model": torch.nn.Identity}, "only norm may be a class"),
    ],
)
def test_what_is_no_setting_is_refused(texts, settings, message):
    with pytest.raises(ValueError, match=message):
        words_of(texts, settings)


def test_an_axis_needs_a_value():
    with pytest.raises(ValueError, match="seed must have at least one value"):
        sweep_words_of((), {"seed": []})


def test_a_file_in_a_text_is_an_option_of_norm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "from torch import nn\n\nclass Mine(nn.Identity):\n    pass\n"
    (tmp_path / "my_file.py").write_text(source)
    assert words_of(["norm=my_file.py:Mine seed=1"], {}) == [
        "norm=my_file.Mine",
        "seed=1",
    ]


def test_two_norms_of_one_name_are_refused():
    def scaled_by(factor):
        class Scaled(torch.nn.Module):
            def forward(self, x):
                return factor * x

        return Scaled

    with pytest.raises(ValueError, match=r"two are called test_words\.Scaled"):
        sweep_words_of((), {"norm": ["none", scaled_by(2), scaled_by(3)]})


@pytest.mark.parametrize("norm", [None, 3, ["none"]])
def test_what_names_no_norm_is_refused(norm):
    with pytest.raises(ValueError, match=r"norm must be .*norm='none'"):
        words_of((), {"norm": norm})
