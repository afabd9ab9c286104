"""The oracle: every box transcribed literally in NumPy float64, slow on purpose.

Nothing here knows of torch or of the rest of the package, so an error in a fast block cannot hide
in its proof. Each function follows its box line by line, in any number of dimensions: loops run
over positions, sets are sets, and no identity that is to be proven is used. Weights come as plain
dictionaries of arrays under the modules' state-dict names.
"""

from visarch.reference.weights import Weights, part

__all__ = ["Weights", "part"]
