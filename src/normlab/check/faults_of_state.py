"""Faults of running averages, of evaluation and of what is kept; and remarks."""

from normlab.check.fault import BUFFERS, LEARNED, MODE, UPDATE, Fault

FAULTS = {
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
    "averages_weights": Fault(
        "averages",
        "For input {case}, {name} becomes {keep:.3g} times its old value plus "
        "{got:.3g} times the {what} of the batch; it should be {wanted_keep:.3g} "
        "times and {wanted:.3g} times.",
        "Multiply the old value by 1 minus the weight of the new batch, and the "
        "statistic of the batch by that weight. A factor n / (n - 1) belongs to the "
        "variance of the batch alone.",
        "The two weights of an average must have the sum 1. Otherwise evaluation "
        "divides by another number than training, and every score is off.",
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
    "averages_disagree": Fault(
        "momentum",
        "{var_name} gives a new batch the weight {got:.3g}, and {mean_name} the weight "
        "{weight:.3g}.",
        "Give the new batch the same weight in both averages.",
        "Mean and variance of the same batches belong together.",
        UPDATE,
    ),
    "momentum_ignored": Fault(
        "momentum",
        "With momentum = {momentum:.3g} the new batch has the weight {weight:.3g}.",
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
    "corrected_twice": Fault(
        "unbiased",
        "The running variance is corrected twice: it averages the biased variance "
        "times {got:.4f} = (n / (n - 1))² for n = {n}.",
        "Correct once. torch.var divides by n - 1 unless it is told otherwise, and "
        "then needs no factor; with correction=0 the factor is n / (n - 1).",
        "With batches of 2 the difference is a factor of 2.",
        UPDATE,
    ),
    "corrected_inversely": Fault(
        "unbiased",
        "The running variance is corrected in the wrong direction: it averages the "
        "biased variance times {got:.4f} = (n - 1) / n for n = {n}.",
        "Turn the fraction over: the unbiased variance is the biased one times "
        "n / (n - 1).",
        "The biased variance is too small already, and becomes smaller still.",
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
