"""How much each sensor contributed to a decision, by running only the head against mean embeddings."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial
from time import perf_counter_ns

import numpy as np

from mmedge.backends.base import Session, Tensor
from mmedge.baseline import Baseline
from mmedge.branches import open_head
from mmedge.decode import DECIDED, activate
from mmedge.errors import InputError
from mmedge.gates import GATE_WEIGHTS
from mmedge.manifest import Manifest, Output
from mmedge.stages import StageGraph
from mmedge.types import Array

__all__ = ["Attribution", "coalitions", "leave_one_out", "shapley", "worth_of"]

MOST_EXACT = 4  # ports, beyond which 2 ** n head calls are too many

Coalition = frozenset[str]


class Attribution:
    """A :data:`mmedge.decide.Attribute`: it has a head of its own, so that what the stream holds stays as it is.

    The value of a decision is, for each output: of a classification, the winning label's value after its activation; of
    a multi-label output, the sum of the values of the labels that are on, or the highest one if none is; of a single
    number, that number; of anything else, minus the root mean square of its difference to what was decided. A port's
    contribution is its Shapley value: by how much it raises that value when it joins the others, averaged over all
    orders in which the ports can join; a port that has not joined stands at its mean embedding. Contributions add up to
    the difference of the decision and the one that is made without any sensor. With more than four ports it is only
    what is lost when this port alone is taken away, which does not add up.

    Exported heads take one sample, so the coalitions are computed one after the other: ``2 ** n - 1`` head calls for n
    ports, one less for all but the first decision of a model without states, as the decision itself was made already
    and the one without sensors stays the same; n calls with more than four ports.

    Args:
        manifest: The model.
        sessions: What computes each stage.
        baseline: Its mean embeddings.
        every: Attribute every n-th decision; 0 only when asked to.

    Attributes:
        made: How many decisions were attributed.
        head_calls: How often the head ran for it.
        work_ns: The time it took.

    Raises:
        InputError: A port has no mean embedding, or ``every`` is no such number.

    Source: L. S. Shapley, A Value for n-Person Games, 1953; E. Strumbelj and I. Kononenko, JMLR 11, 2010.
    """

    def __init__(self, manifest: Manifest, sessions: Mapping[str, Session], baseline: Baseline, every: int) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 0:
            raise InputError(f"attribution is {every!r}; expected every how many decisions, or 0 for only when asked")
        self._ports = tuple(baseline.shares)
        self._shares = baseline.shares
        self._described = manifest.outputs
        self._states = tuple(manifest.states)
        self._graph = open_head(manifest, sessions)
        self._means: dict[str, Tensor] = {}
        for port in self._ports:
            for share, mean in baseline.mean(port).items():
                self._means[share] = self._graph.another(share)
                self._means[share][...] = mean
        self._weighed = manifest.gates is not None
        self._every = every
        self._decisions = 0
        self._asked = False
        self._nothing: dict[str, Array] | None = None
        self.made = self.head_calls = self.work_ns = 0

    def ask(self) -> None:
        """Attribute the next decision, whatever its number."""
        self._asked = True

    def __call__(self, head: StageGraph) -> dict[str, dict[str, float]] | None:
        """Contributions by output and port, or None if it is not this decision's turn.

        Args:
            head: What the decision was made with, before its states advance; only read.
        """
        turn = self._every > 0 and self._decisions % self._every == 0
        self._decisions += 1
        if not turn and not self._asked:
            return None
        self._asked = False
        begin = perf_counter_ns()
        if self._weighed and (head.tensors[GATE_WEIGHTS] != self._graph.tensors[GATE_WEIGHTS]).any():
            self._graph.tensors[GATE_WEIGHTS][...] = head.tensors[GATE_WEIGHTS]
            self._nothing = None
        every = frozenset(self._ports)
        decided = {name: activate(head.tensors[output.tensor], output) for name, output in self._described.items()}
        answers = {which: decided if which == every else self._answer(head, which) for which in coalitions(self._ports)}
        share = shapley if len(self._ports) <= MOST_EXACT else leave_one_out
        found = {}
        for name, output in self._described.items():
            worth = {which: worth_of(answer[name], decided[name], output) for which, answer in answers.items()}
            found[name] = share(self._ports, worth)
        self.made += 1
        self.work_ns += perf_counter_ns() - begin
        return found

    def _answer(self, head: StageGraph, real: Coalition) -> dict[str, Array]:
        """What the model says when only some ports are real."""
        if not real and self._nothing is not None:
            return self._nothing
        graph = self._graph
        for port in self._ports:
            source = head.held if port in real else self._means
            for share in self._shares[port]:
                graph.held[share][...] = source[share]
        for state in self._states:
            graph.held[state][...] = head.held[state]
        graph.mark([*self._ports, *self._states])
        graph.run()
        self.head_calls += 1
        answer = {name: activate(graph.tensors[output.tensor], output) for name, output in self._described.items()}
        if not real and not self._states:
            self._nothing = answer
        return answer


def coalitions(ports: Sequence[str]) -> list[Coalition]:
    """The sets of ports whose answers are needed, the largest first."""
    if len(ports) > MOST_EXACT:
        every = frozenset(ports)
        return [every, *(every - {port} for port in ports)]
    return [frozenset(chosen) for size in range(len(ports), -1, -1) for chosen in combinations(ports, size)]


def shapley(ports: Sequence[str], worth: Mapping[Coalition, float]) -> dict[str, float]:
    """The exact Shapley value of each port.

    Args:
        ports: All of them, n.
        worth: Of each of the ``2 ** n`` sets of them.
    """
    count, values = len(ports), dict.fromkeys(ports, 0.0)
    for port in ports:
        for others in worth:
            if port not in others:
                weight = factorial(len(others)) * factorial(count - len(others) - 1) / factorial(count)
                values[port] += weight * (worth[others | {port}] - worth[others])
    return values


def leave_one_out(ports: Sequence[str], worth: Mapping[Coalition, float]) -> dict[str, float]:
    """What is lost without each port alone."""
    every = frozenset(ports)
    return {port: worth[every] - worth[every - {port}] for port in ports}


def worth_of(answer: Array, decided: Array, output: Output) -> float:
    """The value of an answer in the light of what was decided; see :class:`Attribution`.

    Args:
        answer: After its activation.
        decided: Likewise, by all ports.
        output: Its description.
    """
    flat, goal = answer.reshape(-1), decided.reshape(-1)
    if output.task == "classification":
        return float(flat[int(goal.argmax())])
    if output.task == "multilabel":
        on = goal > DECIDED
        return float(flat[on].sum()) if on.any() else float(flat[int(goal.argmax())])
    if output.task == "regression" and flat.size == 1:
        return float(flat[0])
    return -float(np.sqrt(np.mean(np.square(flat - goal), dtype=np.float64)))
