"""Finding a cue without being told: the class, the pattern, and the training images that brought it."""

from spuriscope.discovery.embed import Embedding, PCAEmbedding, VAEEmbedding, reconstructions, residuals
from spuriscope.discovery.group import Group
from spuriscope.discovery.probe import Probed, probe

__all__ = [
    "Embedding",
    "Group",
    "PCAEmbedding",
    "Probed",
    "VAEEmbedding",
    "probe",
    "reconstructions",
    "residuals",
]
