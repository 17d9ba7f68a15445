"""Names of metrics by task, and which direction is better."""

PARTS = ("train", "val", "test")

# What a task computes for every part; the first name decides which epoch is best.
METRICS = {
    "classification": ("accuracy", "loss"),
    "regression": ("loss", "rmse", "mae", "r2"),
}

# What is computed of validation and test besides, once training has ended, and after
# every epoch if the run monitors one of them: see `normlab.training.scores`.
SCORES = (
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "micro_f1",
    "top_5_accuracy",
    "auroc",
    "brier",
    "nll",
    "ece",
)

# A metric is recognized by the end of its name, so that `val/accuracy` counts too.
HIGHER_IS_BETTER = (
    "accuracy",
    "r2",
    "samples_per_second",
    "learning rate",
    "f1",
    "precision",
    "recall",
    "auroc",
    "auc",
    "iou",
    "dice",
)
LOWER_IS_BETTER = (
    "loss",
    "brier",
    "nll",
    "ece",
    "error",
    "error_rate",
    "mse",
    "rmse",
    "mae",
    "perplexity",
    "seconds",
    "milliseconds",
    "memory_mib",
)


def is_metric(name: str) -> bool:
    """Whether a name is that of a metric on a part of the data, such as `val/loss`.

    A slash alone does not make a metric: settings may have one in their key too.
    """
    part, slash, _ = name.partition("/")
    return part in PARTS and slash == "/"


def higher_is_better(metric: str) -> bool:
    """Whether a high value of the metric is good.

    True for accuracies, R², speed and the like. Losses, errors and times are better
    low, and so is taken to be every metric whose name does not say.
    """
    return metric.endswith(HIGHER_IS_BETTER)


def direction_is_known(metric: str) -> bool:
    """Whether the name of the metric tells which direction is better."""
    return metric.endswith((*HIGHER_IS_BETTER, *LOWER_IS_BETTER))
