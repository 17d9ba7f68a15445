"""What a good layer does: the properties that are examined, and their points."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Property:
    """Something that a layer does or does not do.

    Attributes:
        name: a word for tables and autograders.
        title: what a layer that has it does.
        points: what it is worth; 0 for what is only remarked upon.
    """

    name: str
    title: str
    points: int


PROPERTIES = {
    one.name: one
    for one in (
        Property("construction", "can be built", 2),
        Property("call", "returns a tensor of the shape and type of its input", 2),
        Property("axes", "shares statistics between the right values", 4),
        Property("output", "centres and divides as the formula says", 4),
        Property("eps", "adds eps to the variance, under the root", 2),
        Property("constant", "survives channels that are constant", 1),
        Property("precision", "keeps its digits if the mean is large", 1),
        Property("one_value", "refuses one value per channel in training", 1),
        Property("learned", "learns a scale and a shift per channel", 3),
        Property("gradient", "has the gradients of its formula", 3),
        Property("averages", "keeps running averages of mean and variance", 3),
        Property("momentum", "weighs a new batch by momentum", 2),
        Property("unbiased", "averages the unbiased variance", 1),
        Property("mode", "changes between training and evaluation by eval()", 3),
        Property("evaluation", "evaluates by its running averages", 3),
        Property("frozen", "changes nothing in evaluation", 2),
        Property("stored", "keeps its state where state_dict() and to() find it", 3),
        Property("graph", "keeps no graph from step to step", 2),
        Property("copy", "can be copied", 1),
        Property("input", "leaves its input as it was", 1),
        Property("device", "computes on the device of its input", 1),
        Property("strides", "takes input in any order in memory", 1),
        Property("half", "computes its statistics in 32 bits", 0),
        Property("convention", "uses momentum as PyTorch does", 0),
        Property("vmap", "works under torch.vmap", 0),
        Property("compile", "works under torch.compile", 0),
    )
}
