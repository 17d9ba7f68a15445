"""All figures of a comparison."""

from normlab.compare.comparison import Comparison
from normlab.report.arm_figures import draw_arms, draw_pairs, draw_response
from normlab.report.budget_figures import draw_budgets
from normlab.report.confusion_figures import draw_confusions
from normlab.report.drawing import Drawing, figure_style
from normlab.report.layer_figures import draw_layers
from normlab.report.learning_curves import draw_learning_curves
from normlab.report.setting_figures import draw_heatmap, draw_sensitivity


def draw_figures(
    comparison: Comparison, heatmap_keys: tuple[str, str] | None = None
) -> list[Drawing]:
    """Draw every figure that the runs of a comparison allow.

    Args:
        comparison: The comparison whose runs are drawn.
        heatmap_keys: The two settings of the heatmap; by default those that vary.
    """
    with figure_style():
        drawings = [
            draw_arms(comparison),
            draw_response(comparison),
            draw_pairs(comparison),
            draw_learning_curves(comparison),
            draw_sensitivity(comparison),
            draw_budgets(comparison),
            draw_heatmap(comparison, heatmap_keys),
            *draw_confusions(comparison),
            *draw_layers(comparison),
        ]
    return [drawing for drawing in drawings if drawing]
