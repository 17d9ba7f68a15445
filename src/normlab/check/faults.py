"""The faults that are known by name: what is said about each, and how it is mended.

A sentence has the measured figures in braces. A mend says what to change in words; the
code is shown only to those who ask for it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Something that layers do wrong.

    Attributes:
        property: name of the property that a layer with this fault lacks.
        sentence: what is wrong, with names of figures in braces.
        mend: what to change, in words.
        code: an example of the mend.
        why: why it matters.
    """

    property: str
    sentence: str
    mend: str
    why: str
    code: str = ""


UPDATE = """\
with torch.no_grad():
    n = x.numel() / x.shape[1]
    self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean)
    self.running_var.mul_(1 - self.momentum).add_(self.momentum * var * n / (n - 1))"""
NORMALIZE = """\
axes = (0, *range(2, x.ndim))
mean = x.mean(axes, keepdim=True)
var = x.var(axes, keepdim=True, correction=0)
y = (x - mean) / torch.sqrt(var + self.eps)"""
BUFFERS = """\
self.register_buffer("running_mean", torch.zeros(num_features))
self.register_buffer("running_var", torch.ones(num_features))"""
LEARNED = """\
self.weight = nn.Parameter(torch.ones(num_features))
self.bias = nn.Parameter(torch.zeros(num_features))
# and in forward, with shape = (1, -1, *[1] * (x.ndim - 2)):
y = y * self.weight.view(shape) + self.bias.view(shape)"""
MODE = """\
if self.training:
    ...  # statistics of the batch, and the update of the running averages
else:
    ...  # the running averages"""

FAULTS = {
    # construction and call
    "cannot_be_built": Fault(
        "construction",
        "{message}.",
        "Make the line run first; nothing else can be examined before.",
        "A layer that cannot be built has no properties.",
    ),
    "no_module": Fault(
        "construction",
        "{name} is not derived from torch.nn.Module.",
        "Derive the class from torch.nn.Module, call super().__init__() first, and "
        "write forward instead of __call__.",
        "A network finds parameters and buffers, moves and stores them, and switches "
        "to evaluation only in layers that are modules.",
        "class MyBatchNorm(nn.Module):\n    def __init__(self, num_features):\n"
        "        super().__init__()",
    ),
    "call_fails": Fault(
        "call",
        "Input of shape {shape} ends in an error: {error}.",
        "Follow the shapes through forward, line by line, up to this one.",
        "A layer has to take the input that its name promises.",
    ),
    "needs_more_than_input": Fault(
        "call",
        "forward needs {names} beside the input.",
        "Let forward take the input alone; the mode is in self.training, everything "
        "else belongs to the constructor.",
        "A network calls its layers with one tensor.",
        "def forward(self, x):",
    ),
    "shape_changes": Fault(
        "call",
        "Input of shape {shape} gives output of shape {got}.",
        "Look for an axis that was lost or added: keepdim, view and broadcasting are "
        "the usual places.",
        "The next layer expects the shape that the layer before had.",
    ),
    "type_changes": Fault(
        "call",
        "Input of type {expected} gives output of type {got}.",
        "Return the type that came in.",
        "The next layer has weights of the type of the input.",
        "return y.to(x.dtype)",
    ),
    "not_finite": Fault(
        "call",
        "Ordinary input of shape {shape} gives values that are not finite.",
        "Look for a division by zero, a root of a negative number, or memory that was "
        "never filled (torch.empty, torch.Tensor).",
        "One such value spreads through the whole network in the next step.",
    ),
    # output
    "wrong_axes": Fault(
        "axes",
        "For input {cases}, mean and variance are {found}; {title} has {wanted}.",
        "Average over the right axes, and keep them with size 1 so that they broadcast "
        "back to the input.",
        "Which values share their statistics is all that tells the norms apart.",
        NORMALIZE,
    ),
    "wrong_reshape": Fault(
        "axes",
        "For input {cases}, mean and variance mix the channels: the memory is read as "
        "if the channels came first, but the samples do.",
        "Move the axis of the channels to the front (transpose, movedim) before a "
        "reshape, or average over axes without any reshape.",
        "reshape and view keep the order of the values; they move no axis.",
        NORMALIZE,
    ),
    "silent_shape": Fault(
        "axes",
        "Input of shape {shape} is taken without an error and normalized along the "
        "wrong axis, because its length happens to be the number of channels; for "
        "other lengths broadcasting fails.",
        "Average over all axes but that of the channels, or refuse input that does "
        "not have the number of axes that you expect.",
        "Nobody notices an answer that is wrong only for some sizes.",
        'if x.ndim != 2:\n    raise ValueError(f"expected (N, C), got {x.shape}")',
    ),
    "unbiased_normalization": Fault(
        "output",
        "The output is too small by the factor {ratio:.4f} = sqrt((n - 1) / n) for "
        "n = {n}: it is divided by the unbiased deviation.",
        "Normalize by the biased variance, the plain mean of the squares. torch.var "
        "and torch.std divide by n - 1 unless they are told otherwise.",
        "The paper normalizes by the biased variance; the unbiased one is for the "
        "running average.",
        "var = x.var(axes, keepdim=True, correction=0)",
    ),
    "no_centering": Fault(
        "output",
        "The mean is not subtracted: after the layer, channels have means up to "
        "{mean:.3g}.",
        "Subtract the mean from the input before the division.",
        "Centring is half of what the norm does.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "centering": Fault(
        "output",
        "The mean is subtracted, which {title} does not do.",
        "Divide by the root of the mean square and leave the mean alone.",
        "Doing without the mean is the point of this norm.",
    ),
    "no_root": Fault(
        "output",
        "The input is divided by the variance, not by its root: input that is ten "
        "times larger gives output that is ten times smaller.",
        "Take the square root of variance plus eps.",
        "Only the deviation has the unit of the input.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "no_division": Fault(
        "output",
        "The input is centred but not divided by its deviation, which is {std:.3g} "
        "after the layer.",
        "Divide by the root of variance plus eps.",
        "The scale of the input has to disappear.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "running_in_training": Fault(
        "output",
        "In training the input is normalized by the running averages, not by the "
        "statistics of its batch: channels still have means up to {mean:.3g}.",
        "Use mean and variance of the batch in training; only evaluation uses the "
        "running averages.",
        "The gradient has to flow through the statistics, and the averages lag "
        "behind the weights.",
        MODE,
    ),
    "other_output": Fault(
        "output",
        "In training the output differs from {title} by up to {difference:.3g}; for "
        "input {case}, its means reach {mean:.3g} and its deviations lie between "
        "{least:.3g} and {most:.3g}.",
        "Compare each line of forward with the formula.",
        "After the norm, and before scale and shift, means are 0 and deviations 1.",
        NORMALIZE,
    ),
    "eps_outside": Fault(
        "eps",
        "eps is added to the deviation, outside of the root: a variance of {var:.0e} "
        "is divided by {got:.3g}, and should be by {wanted:.3g}.",
        "Add eps to the variance and take the root of the sum.",
        "Where the variance is small, the results differ by a factor; and the root "
        "of 0 has no gradient.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "eps_after": Fault(
        "eps",
        "eps is added to the quotient: all outputs are shifted by {shift:.3g}.",
        "Add eps to the variance, inside of the root; a pair of parentheses is "
        "missing.",
        "There it protects from nothing, and shifts the mean.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "eps_ignored": Fault(
        "eps",
        "The layer has eps = {declared:.3g}, but computes with {measured:.3g}.",
        "Use the eps of the constructor in forward.",
        "An option that does nothing misleads whoever sets it.",
    ),
    "no_eps": Fault(
        "constant",
        "A channel with one value throughout gives {got}: nothing protects the "
        "division from a variance of 0.",
        "Add a small eps to the variance, under the root.",
        "Dead units and black pixels are constant.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "constant_gradient": Fault(
        "constant",
        "A channel with one value throughout gives gradients that are not finite, "
        "though its output is.",
        "Take the root of variance plus eps; the root of 0 has no derivative.",
        "Dead units and black pixels are constant.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "cancellation": Fault(
        "precision",
        "With mean 3000 and deviation 1 the output is off by {error:.2g}: the "
        "variance is a difference of two large numbers.",
        "Average the squares of centred values, rather than subtracting the squared "
        "mean from the mean square.",
        "Most digits are lost in the difference, which may even be negative.",
        "var = (x - mean).square().mean(axes, keepdim=True)",
    ),
    "one_value_silent": Fault(
        "one_value",
        "One value per channel, input of shape {shape}, passes in training without an "
        "error and gives {got}.",
        "Raise a ValueError in training if a channel has one value only.",
        "The variance of one value is 0 and the output always the shift; a last batch "
        "of one sample would go unnoticed.",
        "if x.numel() == x.shape[1]:\n"
        '    raise ValueError(f"expected more than one value per channel, got '
        '{tuple(x.shape)}")',
    ),
    # learning
    "learned_missing": Fault(
        "learned",
        "The layer has no parameters: nothing about it is learned.",
        "Give it {wanted} for every channel, as torch.nn.Parameter.",
        "Without them the next layer can only ever see standardized values.",
        LEARNED,
    ),
    "learned_no_parameter": Fault(
        "learned",
        "{names} cannot be learned: a tensor that is no torch.nn.Parameter is in no "
        "optimizer.",
        "Wrap the tensors in torch.nn.Parameter, with requires_grad.",
        "An optimizer gets what network.parameters() gives.",
        LEARNED,
    ),
    "learned_shape": Fault(
        "learned",
        "{name} has the shape {got}; there must be one value for each of the "
        "{channels} channels.",
        "Give it as many values as there are channels.",
        "Every channel has a scale and a shift of its own.",
        LEARNED,
    ),
    "learned_start": Fault(
        "learned",
        "{name} starts with values from {least:.3g} to {most:.3g}, not with {wanted}.",
        "Start the scale with ones and the shift with zeros.",
        "The layer should begin as a norm, the same with every seed.",
        LEARNED,
    ),
    "learned_effect": Fault(
        "learned",
        "Scale and shift do not act as normalized * scale + shift: {found}.",
        "Multiply the normalized values by the scale and add the shift, each reshaped "
        "to lie along the axis of the channels.",
        "Otherwise the layer cannot undo the normalization.",
        LEARNED,
    ),
    "gradient_detached": Fault(
        "gradient",
        "The gradient treats {which} as constant: it is off by up to {error:.2g}.",
        "Let the gradient flow through the statistics of the batch; detach only what "
        "goes into the running averages.",
        "Mean and variance depend on the input, and a gradient that ignores it lets "
        "weights grow without end.",
        NORMALIZE,
    ),
    "gradient_blocked": Fault(
        "gradient",
        "No gradient reaches {what}.",
        "Compute the output with torch's operations on the input itself, outside of "
        "no_grad, without .data, .item(), .numpy() or a new tensor.",
        "Without it, nothing before this layer learns.",
    ),
    "gradient_wrong": Fault(
        "gradient",
        "The gradient differs from the numerical one: {error}.",
        "Compare backward with the derivative of forward, or let autograd derive it.",
        "Training follows the gradient, whatever it is.",
    ),
    # running averages
    "averages_missing": Fault(
        "averages",
        "Training changes nothing that the layer holds: there are no running averages "
        "that evaluation could use.",
        "Keep a running mean and a running variance in buffers, and move them in every "
        "training step.",
        "In evaluation one sample has no batch to be normalized by.",
        BUFFERS + "\n# and in forward:\n" + UPDATE,
    ),
    "averages_not_updated": Fault(
        "averages",
        "However many batches pass, {names} {are} as the constructor left them.",
        "Store the new average on self, or change the buffer in place: mul and add "
        "return a new tensor, mul_ and add_ change the old one.",
        "Evaluation would use the values of the constructor.",
        UPDATE,
    ),
    "averages_start": Fault(
        "averages",
        "{name} starts at {got:.3g}, not at {wanted}.",
        "Start the running mean at 0 and the running variance at 1.",
        "The first averages carry the start with them for dozens of batches.",
        BUFFERS,
    ),
    "averages_no_decay": Fault(
        "averages",
        "{name} only ever grows: the new batch is added, and the old value is not "
        "multiplied by 1 - momentum.",
        "Multiply the old average by 1 minus the weight of the new batch.",
        "The two weights of an average must have the sum 1.",
        UPDATE,
    ),
    "averages_other": Fault(
        "averages",
        "{name} is no average of {what}: after one batch its channels hold "
        "{got}, expected {wanted} with momentum {momentum:.3g}.",
        "Move the average towards the statistic of the batch, channel by channel.",
        "Evaluation normalizes by it.",
        UPDATE,
    ),
    "momentum_reversed": Fault(
        "momentum",
        "momentum = {momentum:.3g} is the weight of the old average, and the new batch "
        "has {weight:.3g}: the running averages are nearly those of the last batch.",
        "Swap momentum and 1 - momentum.",
        "In PyTorch momentum is the weight of the new batch; in papers and Keras it is "
        "that of the old average, and then it is 0.9 or 0.99.",
        UPDATE,
    ),
    "momentum_large": Fault(
        "momentum",
        "The new batch has the weight {weight:.3g}: the running averages are nearly "
        "those of the last batch.",
        "Give the new batch a small weight, 0.1 in PyTorch.",
        "An average over one batch is as noisy as that batch.",
        UPDATE,
    ),
    "momentum_ignored": Fault(
        "momentum",
        "The layer has momentum = {momentum:.3g}, but the new batch has the weight "
        "{weight:.3g}.",
        "Use the momentum of the constructor in the update.",
        "An option that does nothing misleads whoever sets it.",
        UPDATE,
    ),
    "biased_variance": Fault(
        "unbiased",
        "The running variance averages the biased variance: it is too small by the "
        "factor n / (n - 1) = {ratio:.4f} for n = {n}.",
        "Average the unbiased variance, with n - 1 in the denominator; normalize the "
        "batch by the biased one as before.",
        "PyTorch and the paper evaluate with the unbiased variance. With batches of 2 "
        "the difference is a factor of 2.",
        UPDATE,
    ),
    "wrong_count": Fault(
        "unbiased",
        "For input {case} the running variance is corrected by {got:.4f}; a channel "
        "has n = {n} values, so n / (n - 1) = {ratio:.4f}.",
        "Count all values of a channel: samples times positions.",
        "Every pixel is a value of its channel.",
        "n = x.numel() / x.shape[1]",
    ),
    "variance_factor": Fault(
        "unbiased",
        "The running variance moves towards {got:.4f} times the variance of the "
        "batch; the unbiased one is {ratio:.4f} times the biased one for n = {n}.",
        "Multiply the biased variance by n / (n - 1).",
        "Evaluation normalizes by it.",
        UPDATE,
    ),
    # evaluation
    "mode_from_grad": Fault(
        "mode",
        "The mode is read from torch.is_grad_enabled(): after eval() with gradients "
        "on, the layer still normalizes by the batch and moves its averages; after "
        "train() under no_grad it uses the averages.",
        "Read self.training, which train() and eval() set.",
        "Whether gradients are computed has nothing to do with the mode: frozen layers "
        "and recalibration need the other combinations.",
        MODE,
    ),
    "mode_argument": Fault(
        "mode",
        "The mode is an argument of forward, {name}, and eval() changes nothing.",
        "Read self.training, which train() and eval() set.",
        "A network passes no mode on; it calls train() and eval().",
        MODE,
    ),
    "batch_in_evaluation": Fault(
        "mode",
        "After eval() the output of a sample still depends on the others of its "
        "batch, by up to {difference:.3g}: it is normalized by the batch.",
        "Use the running averages if self.training is false.",
        "A prediction must not depend on what else is predicted.",
        MODE,
    ),
    "one_mode": Fault(
        "mode",
        "Training under torch.no_grad() does not move the running averages.",
        "Decide by self.training alone.",
        "Recalibrating the averages of a trained network runs it under no_grad.",
        MODE,
    ),
    "evaluation_unscaled": Fault(
        "evaluation",
        "In evaluation {what} is not applied.",
        "Apply scale and shift after both branches.",
        "The next layer was trained with them.",
        LEARNED,
    ),
    "other_evaluation": Fault(
        "evaluation",
        "In evaluation the output is not (x - {mean_name}) / sqrt({var_name} + eps): "
        "it differs by up to {difference:.3g}{found}.",
        "Use the running mean and the running variance in the same formula as in "
        "training.",
        "What evaluation computes must be what training aims at.",
        "y = (x - running_mean) / torch.sqrt(running_var + self.eps)",
    ),
    "updates_in_evaluation": Fault(
        "frozen",
        "Evaluation changes {names}: the score depends on what was scored before.",
        "Move the running averages only if self.training is true.",
        "Validation and test data must leave no trace in the network.",
        MODE,
    ),
    # what is kept
    "state_attribute": Fault(
        "stored",
        "{names} {are} kept in {places}, which state_dict() leaves out: a restored "
        "layer evaluates differently, by up to {difference:.3g}.",
        "Register the running averages as buffers in the constructor.",
        "Only parameters and buffers are stored in checkpoints, moved by to() and "
        "copied to other processes.",
        BUFFERS,
    ),
    "state_not_stored": Fault(
        "stored",
        "{names} {are} not stored (persistent=False): a restored layer evaluates "
        "differently, by up to {difference:.3g}.",
        "Let the buffer be persistent, which is the default.",
        "A checkpoint holds what state_dict() gives.",
        BUFFERS,
    ),
    "state_parameter": Fault(
        "stored",
        "{names} {are} registered as parameters, so an optimizer would train them and "
        "weight decay shrink them.",
        "Register it as a buffer.",
        "Running averages are measured, not learned.",
        BUFFERS,
    ),
    "state_refused": Fault(
        "stored",
        "A layer that was just built does not load the state_dict() of a trained one: "
        "{error}.",
        "Let all buffers have their final shape from the constructor on.",
        "Otherwise no checkpoint can be restored.",
        BUFFERS,
    ),
    "graph_kept": Fault(
        "graph",
        "The graph of past steps is kept through {names}: {first} operations after one "
        "step, {later} after ten.",
        "Detach what goes into the running averages, or move them under "
        "torch.no_grad().",
        "Memory grows with every step until none is left, and the layer cannot be "
        "copied.",
        UPDATE,
    ),
    "copy_fails": Fault(
        "copy",
        "After a training step, copy.deepcopy of the layer fails: {error}.",
        "Keep only plain tensors, numbers and modules on self.",
        "Keeping the best weights and averaging weights copy the network.",
    ),
    "input_overwritten": Fault(
        "input",
        "The input is changed in place, by up to {difference:.3g}.",
        "Compute into new tensors: x = x - mean, not x -= mean.",
        "Other layers, such as the shortcut of a residual block, read the same tensor.",
    ),
    "device_fixed": Fault(
        "device",
        "forward makes a tensor on a device of its own: {error}.",
        "Make it on the device of the input (device=x.device), or register it as a "
        "buffer.",
        "On a GPU this line would end the run.",
    ),
    "strides_refused": Fault(
        "strides",
        "Input that is not contiguous, such as a transposed tensor, fails: {error}.",
        "Use reshape, or statistics over axes, in place of view on the input.",
        "Convolutions in channels_last and transposes give such tensors.",
    ),
    "strides_wrong": Fault(
        "strides",
        "Input that is not contiguous gives another output, by up to {difference:.3g}.",
        "Move the axis of the channels (transpose, movedim) before a reshape; do not "
        "read memory in its order.",
        "Convolutions in channels_last and transposes give such tensors.",
    ),
    # remarks
    "half_overflow": Fault(
        "half",
        "In float16, input with a deviation of 300 gives {got}: its squares are "
        "beyond the largest number, 65504.",
        "Compute mean and variance in float32 and return the type of the input.",
        "Training in mixed precision feeds layers with 16 bits.",
        "var = x.float().var(axes, keepdim=True, correction=0)",
    ),
    "momentum_convention": Fault(
        "convention",
        "momentum = {momentum:.3g} is the weight of the old average; in PyTorch it is "
        "that of the new batch, here {weight:.3g}.",
        "Swap momentum and 1 - momentum, and let the default be 0.1.",
        "Whoever sets momentum=0.1 as for PyTorch's layer gets the opposite.",
        UPDATE,
    ),
    "vmap_fails": Fault(
        "vmap",
        "torch.vmap over stacked layers fails: {error}.",
        "Avoid .item(), decisions by values of tensors, and lerp_.",
        "Several small networks can be trained at once under vmap.",
    ),
    "compile_fails": Fault(
        "compile",
        "torch.compile(fullgraph=True) fails: {error}.",
        "Avoid .item(), decisions by values of tensors, and prints in forward.",
        "A graph that breaks at the norm loses most of the gain.",
    ),
    # anything
    "probe_fails": Fault(
        "call",
        "The layer ends in an error while it is examined ({what}): {error}.",
        "Make this case run.",
        "It occurs in training.",
    ),
}
