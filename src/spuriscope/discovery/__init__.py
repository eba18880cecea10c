"""Find a cue without being told: the class, the pattern, and the training images that brought it."""

from spuriscope.discovery.deviation import Deviation
from spuriscope.discovery.discover import discover, discover_each
from spuriscope.discovery.embed import Embedding, PCAEmbedding, VAEEmbedding, reconstructions, residuals
from spuriscope.discovery.embeddings import EMBEDDINGS, register_embedding
from spuriscope.discovery.finding import Carriers, Finding, Proof
from spuriscope.discovery.group import Group
from spuriscope.discovery.missing import MissingContext, missing_contexts
from spuriscope.discovery.probe import Probed, probe
from spuriscope.discovery.trace import Trace
from spuriscope.discovery.transplants import TRANSPLANTS, register_transplant

__all__ = [
    "EMBEDDINGS",
    "TRANSPLANTS",
    "Carriers",
    "Deviation",
    "Embedding",
    "Finding",
    "Group",
    "MissingContext",
    "PCAEmbedding",
    "Probed",
    "Proof",
    "Trace",
    "VAEEmbedding",
    "discover",
    "discover_each",
    "missing_contexts",
    "probe",
    "reconstructions",
    "register_embedding",
    "register_transplant",
    "residuals",
]
