"""The command `plan`: how many seeds a comparison needs."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normlab.command_lines import mistakes_end
from normlab.report.comparison_options import (
    OF_RUNS,
    add_level,
    add_run_options,
    compare_arguments,
)

if TYPE_CHECKING:
    from normlab.planning.experiments import Plan
    from normlab.planning.pilot import Pilot
    from normlab.planning.sizes import Powers

# Options that are arguments of `compare`, for the runs of a pilot.
OF_PILOT = (*OF_RUNS, "margin", "level")
OPTIONS = {name: f"--{name}" for name in (*OF_PILOT, "effect", "sd", "design")}
LARGEST = 1e100  # squares of more overflow
EXAMPLES = """examples:
  %(prog)s --effect 0.005 --sd 0.004
  %(prog)s outputs/pilot --by norm --baseline none --effect 0.005
  %(prog)s outputs/pilot --by norm --baseline torch --margin 0.005
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of the power by the number of seeds, and the number that is needed.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = parser().parse_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end(), mistakes_end(OPTIONS):
        _plan(options)


def parser() -> argparse.ArgumentParser:
    """The options of `plan`."""
    parser = argparse.ArgumentParser(
        description="Say how many seeds a comparison needs. Experiments with a known "
        "difference are simulated, and judged by the tests that judge real runs. Their "
        "spread is that of a pilot (a few runs of the arms) or a given number.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        help="folders that contain the runs of a pilot, at any depth",
    )
    _add_question(parser)
    add_run_options(parser)
    _add_numbers(parser)
    return parser


def _add_question(parser: argparse.ArgumentParser) -> None:
    """Add the options about what is to be shown."""
    add = parser.add_argument
    add(
        "--claim",
        choices=("different", "higher", "equal", "not_worse"),
        help="what is to be shown: different (the arm is better), higher (by more than "
        "the margin), equal (within the margin) or not_worse (worse by less than the "
        "margin); default: equal with a margin and no effect, higher with both, else "
        "different",
    )
    add(
        "--effect",
        type=float,
        metavar="D",
        help="the true difference to be found, in units of the metric (default for "
        "equal and not_worse: 0)",
    )
    add(
        "--margin",
        help="differences below this margin do not matter; a number, or a share of the "
        "baseline's mean in the pilot such as 5%%",
    )
    add_level(parser)
    add(
        "--contrasts",
        type=int,
        metavar="K",
        help="number of arms that are compared with the baseline (default: as in the "
        "pilot, or 1)",
    )
    add(
        "--simulations",
        type=int,
        default=1000,
        metavar="K",
        help="simulated experiments for each number of seeds (default: %(default)s)",
    )


def _add_numbers(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand in for a pilot."""
    add = parser.add_argument
    add(
        "--sd",
        type=float,
        help="the spread if there is no pilot: the standard deviation of the "
        "difference of two runs with the same seed (or fold), or of the runs of one "
        "arm with --design independent",
    )
    add(
        "--design",
        choices=("paired", "independent", "folds"),
        help="with --sd: common seeds, other seeds, or folds of a cross-validation "
        "(default: paired)",
    )


def _plan(options: argparse.Namespace) -> None:
    pilot = _pilot(options)
    _check_numbers(options)
    plan = _plan_of(options, pilot)
    _check(plan, options)
    from normlab.planning.sizes import Powers, seeds_for
    from normlab.report.output import make_console
    from normlab.report.table_formats import print_table

    powers = Powers(plan, options.simulations)
    found = {wanted: seeds_for(powers, wanted) for wanted in (0.8, 0.9)}
    console = make_console()
    console.print(f"{_title(plan)}\n", soft_wrap=True, markup=False)
    print_table(console, _table(powers, list(found.values())))
    for line in _lines(powers, found, pilot):
        console.print(line, soft_wrap=True, markup=False)


def _pilot(options: argparse.Namespace) -> "Pilot | None":
    """The pilot, if there are folders."""
    if bool(options.folders) == (options.sd is not None):
        raise ValueError(
            "the spread must come either from a pilot, a folder of runs, or from a "
            "number such as --sd 0.004"
        )
    if not options.folders:
        for name in OF_RUNS:
            if getattr(options, name) is not None:
                raise ValueError(
                    f"{name} must come with the runs of a pilot; name their folder, or "
                    "leave it out"
                )
        return None
    if options.design:
        raise ValueError("design must come with `sd`; a pilot has one of its own")
    from normlab.planning.pilot import read_pilot

    return read_pilot(options.folders, compare_arguments(options, OF_PILOT))


def _check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that no metric has; NaN is refused too."""
    for name in ("effect", "sd"):
        value = getattr(options, name)
        if value is not None and not abs(value) <= LARGEST:
            raise ValueError(
                f"{name} must be a number of at most {LARGEST:g} in size, got {value:g}"
            )


def _plan_of(options: argparse.Namespace, pilot: "Pilot | None") -> "Plan":
    """What the options ask, with what the pilot knows."""
    from normlab.planning.experiments import Plan, Spread

    if pilot is not None:
        spread, design, contrasts = pilot.spread, pilot.design, pilot.contrasts
        margin = pilot.margin
    else:
        design = options.design or "paired"
        # Arms that spread alike and correlate by one half differ as they spread.
        correlation = 0.0 if design == "independent" else 0.5
        spread = Spread(options.sd, options.sd, correlation)
        contrasts = 1
        margin = _number(options.margin)
    if options.contrasts is not None:
        contrasts = options.contrasts
    level = 0.05
    if options.level is not None:
        level = options.level
    return Plan(
        claim=_claim(options),
        effect=options.effect or 0.0,
        spread=spread,
        design=design,
        margin=margin or 0.0,
        level=level,
        contrasts=contrasts,
    )


def _number(margin: str | None) -> float | None:
    if margin is None:
        return None
    message = (
        f"margin must be a number such as 0.005 if there is no pilot, got {margin}"
    )
    try:
        number = float(margin)
    except ValueError:
        raise ValueError(message) from None
    if not abs(number) <= LARGEST:
        raise ValueError(message)
    return number


def _claim(options: argparse.Namespace) -> str:
    if options.claim:
        return options.claim
    if options.margin is None:
        return "different"
    return "higher" if options.effect else "equal"


def _check(plan: "Plan", options: argparse.Namespace) -> None:
    """Refuse a plan that no number of seeds answers."""
    from normlab.planning.experiments import true_room

    if plan.claim in ("different", "higher") and options.effect is None:
        raise ValueError(
            "effect must be given: the difference that is to be found, such as "
            "--effect 0.005; or give a margin to plan for equivalence"
        )
    if plan.claim != "different" and not plan.margin > 0:
        raise ValueError(f"margin must be above 0 for the claim {plan.claim}")
    if not 0 < plan.level < 1:
        raise ValueError(f"level must be between 0 and 1, got {plan.level}")
    if plan.contrasts < 1 or options.simulations < 1:
        raise ValueError("--contrasts and --simulations must be at least 1")
    if not plan.spread.of_differences > 0:
        raise ValueError("sd must be above 0: without a spread one seed suffices")
    if not true_room(plan) > 0:
        raise ValueError(
            f"effect must leave the claim {plan.claim} true: with a difference of "
            f"{plan.effect:g} and a margin of {plan.margin:g} no number of seeds "
            "shows it"
        )


def _table(powers: "Powers", found: Sequence[int | None]) -> Any:
    """The power by the number of seeds, as a table to print."""
    from normlab.planning.sizes import shown_sizes
    from normlab.report.tables import Table

    rows: list[Any] = []
    for n in shown_sizes(found, powers.plan):
        low, high = powers.interval(n)
        power = powers.at(n)
        rows.append(
            [(f"{n}", n), (f"{power:.2f}", power), (f"{low:.2f} to {high:.2f}", low)]
        )
    columns = [_unit(powers.plan), "power", "95% interval"]
    return Table("plan", "", columns, rows, [True, True, True])


def _unit(plan: "Plan") -> str:
    return {"paired": "seeds", "folds": "folds"}.get(plan.design, "runs per arm")


def _title(plan: "Plan") -> str:
    """What is to be shown, in words."""
    from normlab.compare.sentences import number

    margin = number(plan.margin)
    claims = {
        "different": "The arm is better",
        "higher": f"The arm is better by more than {margin}",
        "equal": f"The arms are equivalent within ±{margin}",
        "not_worse": f"The arm is worse by less than {margin}",
    }
    return f"{claims[plan.claim]}: power at a true difference of {number(plan.effect)}"


def _lines(
    powers: "Powers", found: dict[float, int | None], pilot: "Pilot | None"
) -> list[str]:
    """What the table means, and how sure it is."""
    from normlab.compare.sentences import number

    plan = powers.plan
    lines = []
    for wanted, n in found.items():
        lines.append(f"{wanted:.0%} power: {_needed(powers, n)}")
    test = {
        "paired": "the sign-flip test of pairs with the same seed",
        "independent": "Welch's test of independent runs",
        "folds": "the corrected t test of folds",
    }[plan.design]
    if plan.claim == "equal":
        test = 'two one-sided t tests, and the doubts that withhold "equivalent"'
    text = f"Simulated: {powers.simulations:,} experiments each, judged by {test}"
    if plan.contrasts > 1:
        text += f", after Holm's correction for {plan.contrasts} contrasts"
    lines.append(f"{text}, at level {plan.level:g}.")
    spread = number(plan.spread.of_differences)
    if plan.design == "independent":
        spread = f"{number(plan.spread.arm)} and {number(plan.spread.baseline)}"
    if pilot is None:
        lines.append(f"Spread: SD {spread}, taken as known.")
        return lines
    return [*lines, _uncertain_spread(plan, pilot, spread)]


def _needed(powers: "Powers", n: int | None) -> str:
    if n is None:
        return "more than 500"
    low, high = powers.interval(n)
    return (
        f"{n} {_unit(powers.plan)} (simulated {powers.at(n):.2f}, 95 % interval "
        f"{low:.2f} to {high:.2f})"
    )


def _uncertain_spread(plan: "Plan", pilot: "Pilot", spread: str) -> str:
    """How sure the number of seeds is, by the number of runs of the pilot."""
    from normlab.planning.sizes import approximate_seeds, with_upper_spread

    wider = with_upper_spread(plan, pilot.n)
    n = approximate_seeds(wider, 0.8)
    needed = "more than 500" if n is None else f"about {n}"
    larger, smaller = wider.spread.arm, plan.spread.arm
    if not smaller:  # the runs of one arm do not differ
        larger, smaller = wider.spread.baseline, plan.spread.baseline
    factor = larger / smaller if smaller else math.nan
    return (
        f"Spread: SD {spread}, from {pilot.n} {_unit(plan)} of the pilot "
        f"({pilot.names}). So few values measure it only roughly: with probability 0.8 "
        f"it is at most {factor:.2f} times as large, which needs {needed} for 80% "
        "power."
    )
