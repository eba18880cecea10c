"""Finding a cue without being told: the class, the pattern, and the training images that brought it."""

from spuriscope.discovery.embed import Embedding, PCAEmbedding, VAEEmbedding, reconstructions, residuals
from spuriscope.discovery.group import Group

__all__ = ["Embedding", "Group", "PCAEmbedding", "VAEEmbedding", "reconstructions", "residuals"]
