"""The meta-learner of the ensemble: how likely each member is to be the best one, given the regime known at issue."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from cryptocast.arrays import FloatArray

# Inverse strength of the penalty on the log odds: with the evidence counted in independent blocks, a regime needs some
# dozens of them to move the odds by much.
PENALTY_INVERSE = 0.1


def regime_odds(evidence: FloatArray) -> FloatArray:
    """How much likelier each member is to be the best in a regime than in all of them: (R, M), 1 where it is as likely.

    evidence (R, M): how often, in independent blocks, each member was the best in each regime; ties shared. A
    multinomial logistic regression on the regime, whose penalty pulls every odds to the common one.
    """
    regimes, members = evidence.shape
    present = evidence > 0
    if members < 2 or present.any(axis=0).sum() < 2:
        return np.ones(evidence.shape)
    regime, member = np.nonzero(present)
    model = LogisticRegression(C=PENALTY_INVERSE, max_iter=500)
    model.fit(np.eye(regimes)[regime], member, sample_weight=evidence[present])
    odds = np.zeros(evidence.shape)
    odds[:, model.classes_] = model.predict_proba(np.eye(regimes))
    common = evidence.sum(axis=1) @ odds / evidence.sum()
    return np.where(common > 0, odds / np.where(common > 0, common, 1.0), 1.0)
