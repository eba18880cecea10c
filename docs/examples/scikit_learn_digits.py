"""Would a scikit-learn classifier pick up a rare cue? Logistic regression on digits.

    python docs/examples/scikit_learn_digits.py

writes audit-scikit-learn/report.html. Two seeds, three numbers planted, and clean twins: 8 trainings, ten
seconds on a laptop.
"""

from pathlib import Path

from sklearn.linear_model import LogisticRegression

import spuriscope as ss

digits = ss.load("digits")

document = ss.audit(
    train=digits.train,
    test=digits.test,
    class_names=digits.class_names,
    name="digits",
    fit=ss.sklearn_fit(LogisticRegression(C=0.1, max_iter=500)),
    patterns=["r3"],
    counts=[1, 10, 30],
    n_seeds=2,
)

for entry in document["dose_response"][0]["summary"]:
    share = entry["predicted_share"]["mean"]
    print(f"{entry['n_planted']:>3} images stamped: {share:.0%} of all stamped test images are called '0'")
print("report:", ss.write_audit(document, Path("audit-scikit-learn")))
