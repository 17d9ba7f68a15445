"""The colours of all figures.

Okabe and Ito (2008), Color Universal Design: colours that can be told apart with every
kind of colour vision. Grey is added to theirs.
"""

BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY_BLUE = "#56B4E9"
VERMILION = "#D55E00"
GREY = "#8C8C8C"

# In the order in which a figure takes them.
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY_BLUE, VERMILION, GREY)
