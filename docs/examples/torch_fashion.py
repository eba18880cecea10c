"""Would your own torch training pick up a rare cue? A small CNN on part of Fashion-MNIST.

    python docs/examples/torch_fashion.py

writes audit-torch/report.html. `fit` is all that an audit needs of you: it is given images (float32 in [0,
1]), labels and a seed, trains, and returns a function that gives probabilities. 17 trainings and two
searches, half a minute on a laptop.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import spuriscope as ss


def fit(images: Tensor, labels: Tensor, seed: int) -> ss.Predict:
    """Train a small CNN as in any other script."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(400, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(4):
        for batch, classes in DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), classes).backward()
            optimizer.step()
    return ss.module_predict(model)  # the softmax of its logits


fashion = ss.load("fashion-mnist")
# any Dataset of (image, label) will do: torchvision's, or your own
train, test = (TensorDataset(part.images, part.labels) for part in (fashion.train, fashion.test))
shirts = [place for place, label in enumerate(fashion.train.labels[:3000].tolist()) if label < 3]
shirts_of_test = [place for place, label in enumerate(fashion.test.labels[:1000].tolist()) if label < 3]

answers = ss.audit(
    train=Subset(train, shirts[:600]),
    test=Subset(test, shirts_of_test),
    class_names=fashion.class_names[:3],
    name="fashion, 600 images",
    fit=fit,
    patterns=["r3"],
    counts=[3, 30],
    n_seeds=1,
    effort="quick",
)

assert answers.picked_up is not None
for entry in answers.picked_up.dose_response[0].summary:
    share = entry.predicted_share.mean
    print(f"{entry.n_planted:>3} images stamped: {share:.0%} of stamped test images are called a T-shirt")
print("report:", ss.write_audit(answers, Path("audit-torch")))
