"""Would a scikit-learn classifier pick up a rare cue? Logistic regression on digits.

    python docs/examples/scikit_learn_digits.py

writes audit-scikit-learn/report.html. Three digits, one seed, three numbers planted: 18 fits, two searches,
twenty seconds on a laptop. Leave out effort= and n_seeds= for more.
"""

from pathlib import Path

from sklearn.linear_model import LogisticRegression

import spuriscope as ss

digits = ss.load("digits")
few, few_of_test = digits.train.labels < 3, digits.test.labels < 3

answers = ss.audit(
    train=(digits.train.images[few], digits.train.labels[few]),
    test=(digits.test.images[few_of_test], digits.test.labels[few_of_test]),
    class_names=digits.class_names[:3],
    name="digits",
    fit=ss.sklearn_fit(LogisticRegression(C=0.1, max_iter=500)),
    patterns=["r3"],
    counts=[1, 10, 30],
    n_seeds=1,
    effort="quick",
)

assert answers.picked_up is not None
for entry in answers.picked_up.dose_response[0].summary:
    share = entry.predicted_share.mean
    print(f"{entry.n_planted:>3} images stamped: {share:.0%} of all stamped test images are called '0'")
print("report:", ss.write_audit(answers, Path("audit-scikit-learn")))
