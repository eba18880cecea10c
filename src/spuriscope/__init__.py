"""Spuriscope plants, measures, finds and removes rare spurious correlations in image classifiers.

    import spuriscope as ss

    data = ss.load("mnist")
    plant = ss.Plant(ss.pattern("r3", data.shape, seed=0), target=0, n_planted=3, seed=0)
    model = ss.train(data, plant, model="mlp", recipe=ss.Recipe(epochs=8))
    ss.spurious_score(model.predict, data.test.images, plant.pattern, plant.target)

Importing the package computes nothing: a name is fetched from its module when first used. The names are
listed in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
