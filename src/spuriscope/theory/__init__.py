"""Ridge regression on a rare cue: in closed form, simulated, and on images of many pixels.

It needs only numpy, scipy and our errors. Derivation and regimes: docs/theory.md.
"""

from spuriscope.theory.images import fitted
from spuriscope.theory.model import Coefficients, RidgeModel
from spuriscope.theory.simulation import Simulation, simulate

__all__ = ["Coefficients", "RidgeModel", "Simulation", "fitted", "simulate"]
