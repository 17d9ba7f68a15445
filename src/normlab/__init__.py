"""Train networks with a swappable normalization layer and say, with statistics, what the layer did."""
