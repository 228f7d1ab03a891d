"""The consensus terms of one pixel in plain float64 numpy, as the equations are written."""

import itertools

import numpy as np


def plain_softmax(values):
    weights = np.exp(values - np.max(values))
    return weights / weights.sum()


def plain_value(logits, members):
    """Eq. 6: the entropy of the softmax over a set of players; 0 for fewer than two."""
    if len(members) < 2:
        return 0.0
    p = plain_softmax(logits[sorted(members)])
    return -np.sum(p * np.log(p))


def plain_consensus(logits):
    """Eq. 7 of every pair (u, v) of players, as a dictionary."""
    players, found = set(range(len(logits))), {}
    for u, v in itertools.combinations(sorted(players), 2):
        others = sorted(players - {u, v})
        total = 0.0
        for size in range(len(others) + 1):
            for chosen in map(set, itertools.combinations(others, size)):
                total += plain_value(logits, chosen | {u, v}) + plain_value(logits, chosen)
                total -= plain_value(logits, chosen | {u}) + plain_value(logits, chosen | {v})
        found[u, v] = total / 2 ** len(others)
    return found


def plain_players(teacher, student, top_n):
    """Logits of teacher and student for the teacher's top classes, likeliest first."""
    order = np.argsort(-teacher, kind="stable")[:top_n]
    return teacher[order], student[order]


def plain_ranks(values, tau):
    """Eq. 11."""
    return np.array(
        [
            1 + sum(1 / (1 + np.exp((own - values[k]) / tau)) for k in range(len(values)) if k != i)
            for i, own in enumerate(values)
        ]
    )


def plain_term(teacher, student, kind, top_n, pairs="all", tau=1.0):
    """The loss of one pixel, from logits [K] of teacher and student."""
    both = plain_players(teacher, student, top_n)
    if kind == "soft":
        target, found = map(plain_softmax, both)
        return np.sum(target * np.log(target / found))
    weak, strong = (
        np.array([j for pair, j in plain_consensus(x).items() if pairs == "all" or 0 in pair])
        for x in both
    )
    if kind == "rank":
        weak, strong = plain_ranks(weak, tau), plain_ranks(strong, tau)
        return np.sum(1 - np.minimum(weak, strong) / np.maximum(weak, strong))
    if kind == "l2":
        return np.sum((weak - strong) ** 2)
    target, found = plain_softmax(weak), plain_softmax(strong)
    entropy = -np.sum(target * np.log(target))
    return -np.sum(target * np.log(found)) - (entropy if kind == "kl" else 0)


def plain_agreement(teacher, student, top_n):
    """The share of comparisons of two pairs that come out alike in both."""
    weak, strong = (
        list(plain_consensus(x).values()) for x in plain_players(teacher, student, top_n)
    )
    comparisons = itertools.combinations(range(len(weak)), 2)
    return np.mean([(weak[a] > weak[b]) == (strong[a] > strong[b]) for a, b in comparisons])


def plain_gradient(function, logits, step=1e-6):
    """Central differences of a function of one pixel's logits [K]."""
    moves = step * np.eye(len(logits))
    return np.array([function(logits + m) - function(logits - m) for m in moves]) / (2 * step)
