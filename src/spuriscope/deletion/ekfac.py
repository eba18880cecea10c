"""EK-FAC, a second solver, by kronfluence (an extra).

The curvature of each linear or convolutional layer is approximated by a Kronecker product of that of its
inputs and that of its outputs, with corrected eigenvalues (George et al., 2018). kronfluence offers influence
scores but no solve; we use its fitted factors and its rule for a layer's gradient. Weights of other layers,
such as batch normalisation, get no step.
"""

import tempfile
import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spuriscope.checks import check_number, check_seed
from spuriscope.deletion.curvature import CROSS_ENTROPY, Curvature
from spuriscope.errors import ConfigError, DeletionError
from spuriscope.models import Dropout

__all__ = ["Ekfac"]

BATCH = 500
N_ROTATED = 500  # images that correct the eigenvalues, at outputs x inputs^2 operations each


@dataclass(frozen=True)
class Ekfac:
    """(EK-FAC + damping)^-1 gradient.

    Attributes:
        damping: added to every eigenvalue.
        seed: draws labels from the model's own answers.

    Raises:
        ConfigError: when called: kronfluence is not installed.
        DeletionError: a number is out of range; or, when called, the network has no linear or convolutional
            layer, or the loss is not cross-entropy.
    """

    damping: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("damping", self.damping, least=0, error=DeletionError)
        check_seed("seed", self.seed, error=DeletionError)

    def __call__(self, curvature: Curvature, gradient: Tensor) -> Tensor:
        """Solve layer by layer."""
        if curvature.loss is not CROSS_ENTROPY:
            raise DeletionError("EK-FAC is for cross-entropy; take conjugate gradients for another loss")
        layers = _layers(curvature.module)
        if not layers:
            raise DeletionError("EK-FAC needs linear or convolutional layers; take conjugate gradients")
        factors = self._fit(curvature)
        sizes = [value.numel() for value in curvature.weights.values()]
        parts = dict(zip(curvature.weights, gradient.cpu().split(sizes), strict=True))
        step = {name: torch.zeros_like(part) for name, part in parts.items()}
        for name, layer in layers.items():
            n_outputs = len(layer.weight)
            matrix = parts[f"{name}.weight"].view(n_outputs, -1)
            if layer.bias is not None:
                matrix = torch.cat([matrix, parts[f"{name}.bias"][:, None]], dim=1)
            storage = {key: of[name] for key, of in factors.items()}
            solved = self._precondition(matrix[None], storage, self.damping + curvature.weight_decay)[0]
            if layer.bias is not None:
                step[f"{name}.bias"], solved = solved[:, -1], solved[:, :-1]
            step[f"{name}.weight"] = solved.flatten()
        return torch.cat([step[name].flatten() for name in curvature.weights]).to(gradient.device)

    def _fit(self, curvature: Curvature) -> dict[str, dict[str, Tensor]]:
        """Factors by their name and that of the layer."""
        try:
            from kronfluence import Analyzer, FactorArguments, Task, prepare_model
            from torch.utils.data import TensorDataset
        except ImportError:
            raise ConfigError(
                "EK-FAC needs kronfluence, which is not installed; pip install 'spuriscope[influence]', or "
                "take conjugate gradients"
            ) from None

        class Classification(Task):  # type: ignore[misc]
            """Cross-entropy, if asked with labels drawn from the model's own answers."""

            def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
                images, labels = batch
                logits = model(images)
                if sample:
                    labels = logits.detach().softmax(dim=1).multinomial(1).flatten()
                return F.cross_entropy(logits, labels, reduction="sum")

            def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
                return self.compute_train_loss(batch, model)

        task = Classification()
        module = prepare_model(_bare(curvature.module), task)
        images = TensorDataset(curvature.images.cpu(), curvature.labels.cpu())
        with (
            tempfile.TemporaryDirectory() as folder,
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", FutureWarning)  # kronfluence 1.0 uses old names of torch's
            torch.default_generator.manual_seed(self.seed)
            analyzer = Analyzer("deletion", module, task, cpu=True, disable_tqdm=True, output_dir=folder)
            arguments = FactorArguments(strategy="ekfac", lambda_max_examples=N_ROTATED)
            analyzer.fit_all_factors("curvature", images, per_device_batch_size=BATCH, factor_args=arguments)
            factors: dict[str, dict[str, Tensor]] = analyzer.load_all_factors("curvature")
        return factors

    def _precondition(self, matrix: Tensor, storage: dict[str, Any], damping: float) -> Tensor:
        """Solve for a layer's gradient (1, outputs, inputs), whose last input is the bias."""
        from kronfluence.arguments import ScoreArguments
        from kronfluence.factor.config import FactorConfig

        rule = FactorConfig.CONFIGS["ekfac"]
        rule.prepare(storage, ScoreArguments(damping_factor=damping), torch.device("cpu"))
        solved: Tensor = rule.precondition_gradient(matrix.clone(), storage)
        return solved


def _layers(module: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Layers with a Kronecker product, by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}


def _bare(module: nn.Module) -> nn.Module:
    """A copy on the CPU that may be wrapped; what a training left in the module is not copied."""
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = None
    return deepcopy(module).cpu().eval()
