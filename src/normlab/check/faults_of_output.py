"""Faults of the output, of what is learned and of the gradients."""

from normlab.check.fault import LEARNED, MODE, NORMALIZE, Fault

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
    "blanks_left": Fault(
        "call",
        "{blanks}.",
        "Put code in the place of every ..., pass and NotImplementedError.",
        "Nothing is computed there.",
    ),
    "no_tensor": Fault(
        "call",
        "Input of shape {shape} gives no tensor: {what}.",
        "End forward by returning the output, in every branch.",
        "The next layer expects a tensor.",
        "return y",
    ),
    "channels_fixed": Fault(
        "call",
        "{names} {have} the size {size} for {few} channels and for {many}: it does "
        "not depend on the number of channels.",
        "Use the number of channels that the constructor is given.",
        "Every layer of a network has another number of channels.",
        LEARNED,
    ),
    "channels_limited": Fault(
        "call",
        "The layer takes {few} channels. With {count} input of shape {shape} {result}.",
        "Look for a number of channels that is written out, and for squeeze, which "
        "removes every axis of length 1.",
        "Every layer of a network has another number of channels.",
    ),
    "channels_output": Fault(
        "output",
        "With {count} the output differs from {title} by up to {difference:.3g}; with "
        "{few} it does not.",
        "Look for a number of channels that is written out.",
        "Every layer of a network has another number of channels.",
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
    "mean_of_all": Fault(
        "axes",
        "For input {cases}, one mean is subtracted from all channels; {title} has "
        "{wanted}.",
        "Average over the axes that share their statistics, mean(0) for vectors; "
        "mean() without an axis averages everything.",
        "Which values share their statistics is all that tells the norms apart.",
        NORMALIZE,
    ),
    "var_of_all": Fault(
        "axes",
        "For input {cases}, all channels are divided by one deviation; {title} has "
        "{wanted}.",
        "Take the variance over the axes that share their statistics, var(0) for "
        "vectors; var() without an axis takes everything.",
        "Which values share their statistics is all that tells the norms apart.",
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
    "root_of_deviation": Fault(
        "output",
        "The input is divided by the root of the deviation: after the layer, channels "
        "have deviations from {least:.3g} to {most:.3g}.",
        "Take the variance, or leave the root away: torch.std is the root already.",
        "Only the deviation has the unit of the input.",
        "y = (x - mean) / torch.sqrt(var + self.eps)",
    ),
    "sum_for_mean": Fault(
        "output",
        "The output is too small by the factor sqrt(n) = {root:.3g} for n = {n}: the "
        "squares are added up and not averaged.",
        "Divide the sum of the squares by the number of values.",
        "The variance is a mean, and does not grow with the batch.",
        "var = (x - mean).square().mean(axes, keepdim=True)",
    ),
    "division_first": Fault(
        "output",
        "The mean is divided by the deviation and then subtracted: the input itself is "
        "not divided, and deviations after the layer reach {most:.3g}.",
        "Put parentheses around x - mean: a division comes before a subtraction.",
        "The difference has to be divided, not the mean.",
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
        "Before scale and shift, the formula alone decides the output.",
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
        "With eps = {declared:.3g} the layer computes with {measured:.3g}.",
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
        '    raise ValueError(f"one value per channel: {tuple(x.shape)}")',
    ),
    # learning
    "learned_missing": Fault(
        "learned",
        "{has}.",
        "Give it {wanted} for every channel, as torch.nn.Parameter.",
        "Without scale and shift the next layer can only ever see standardized values.",
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
}
