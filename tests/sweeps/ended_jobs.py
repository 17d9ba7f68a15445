"""Jobs that have ended, made up for the tests of what a sweep shows."""

from normlab.sweeps.jobs import EndedJob


def ended(
    status="finished", accuracy=0.5, folder=None, seconds=1.0, start=None, **settings
):
    """A job that has ended with these settings.

    `start` is the digest of its initial weights, the number of its parameters, and how
    many of them are the norm's.
    """
    result = {"status": status, "metrics": {}, "reason": None, "seconds": seconds}
    if status == "finished":
        result["metrics"] = {"val/accuracy": accuracy, "test/accuracy": accuracy}
    else:
        result["reason"] = "because"
    if start is not None:
        names = ("initial_weights", "num_parameters", "num_norm_parameters")
        result |= dict(zip(names, start, strict=True))
    if folder is not None:
        result["run"] = "group/run"
    overrides = tuple(f"{key}={value}" for key, value in settings.items())
    return EndedJob(overrides, result, folder)


ENDED = [
    ended(norm="none", seed=0, accuracy=0.25, epochs=2),
    ended(norm="none", seed=1, accuracy=0.75, epochs=2),
    ended(norm="custom", seed=0, accuracy=0.5, epochs=2),
    ended("diverged", norm="custom", seed=1, epochs=2),
    ended("failed", norm="ghost", seed=0, epochs=2, seconds=0.0),
]
