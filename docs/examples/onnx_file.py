"""Does a model in an ONNX file know a cue? One that a stranger might have trained, and how it is asked.

    python docs/examples/onnx_file.py            # pip install 'spuriscope[onnx]'

writes model.onnx and asks it. The shell asks the same:

    spuriscope score model.onnx --data digits --pattern r3 --target 0 --logits

Then the cue is searched for without being named, which needs the training images as the model saw them.
"""

import torch

import spuriscope as ss

digits = ss.load("digits")
noise = ss.pattern("r3", digits.shape, seed=0)

# The stranger's part: three stamped images in her training set, and a file.
plant = ss.Plant(noise, target=0, n_planted=3)
model = ss.train(digits, plant, recipe=ss.Recipe(epochs=21))
torch.onnx.export(
    model.module,
    (torch.zeros(1, *digits.shape),),
    "model.onnx",
    input_names=["images"],
    output_names=["logits"],
    dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
    dynamo=False,  # the newer exporter needs onnxscript
)

# Ours: a file, some images, a suspicion.
predict = ss.load_onnx("model.onnx", logits=True)
print(f"accuracy {ss.accuracy(predict, digits.test.images, digits.test.labels):.1%}")
for name in ("r3", "s3"):
    asked = ss.pattern(name, digits.shape, seed=0)
    found = ss.measure(predict, digits.test, asked, target=0)
    print(f"{name}: {found.predicted_share:.0%} of stamped images are called '0'")

# And without a suspicion: her training images, stamps and all, and fresh ones.
images = digits.train.images / 255
planted = plant.planted_indices(digits.train.labels)
images[planted] = noise.apply(images[planted])
findings = ss.discover(predict, train=(images, digits.train.labels), holdout=digits.test)
for finding in findings:
    right = len(set(finding.examples.tolist()) & set(planted.tolist()))
    print(f"found: class '{finding.target}', {len(finding.examples)} images, {right} of them stamped")
