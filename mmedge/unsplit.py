"""The same model as one stage: what split and unsplit runs are compared with."""

from collections.abc import Mapping
from dataclasses import replace

from mmedge.manifest import Manifest, Stage
from mmedge.policies import PortPolicy

__all__ = ["WHOLE", "ungated", "unsplit"]

WHOLE = "whole"


def unsplit(manifest: Manifest) -> Manifest:
    """The same ports and outputs with a single stage, :data:`WHOLE`, and no files."""
    ports = tuple(manifest.ports)
    made = [*(output.tensor for output in manifest.outputs.values()), *manifest.states.values()]
    outputs = tuple(dict.fromkeys(made))
    return replace(
        manifest,
        stages=(Stage(name=WHOLE, ports=ports, inputs=ports, outputs=outputs),),
        tensors={name: replace(manifest.tensors[name], window_axis=None) for name in (*ports, *outputs)},
        macs={WHOLE: sum(manifest.macs.values())},
        variants={},
        gates=None,
        policies=ungated(manifest.policies),
    )


def ungated(policies: Mapping[str, PortPolicy]) -> dict[str, PortPolicy]:
    """The same policies without the step that needs gates in the head."""
    steps = {name: tuple(step for step in policy.missing if step != "reweight") for name, policy in policies.items()}
    return {name: replace(policy, missing=steps[name]) for name, policy in policies.items()}
